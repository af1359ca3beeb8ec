//! Every metric of the broker. The doc comment of a field is the metric's HELP text.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::domain::{
    ask::{Class, CloseReason},
    channel::ChannelKind,
    event::EventKind,
    wns::reply::OutcomeKind,
};

use super::{
    family::{Label, Values, metrics},
    labels::{
        ActorKind, CampaignPhase, DeliveryResult, ExportResult, Horizon, MessageResult,
        PauseReason, PushState, ResultClass, StoreFault, StoreOperation, TargetPhase, TokenResult,
    },
};

/// From a nearby server's answer to the longest request timeout, in seconds.
const REQUEST_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
];
/// From one answer of a local store to a store in trouble, in seconds.
const STORE_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// From a device that is awake to one that was off for a week, in seconds.
const CHECK_IN_SECONDS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0,
];
const BATCH_ITEMS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
];

const APP: Label = bounded("app", "an app id of the configuration");
const TENANT: Label = bounded("tenant", "a tenant id");
const ROUTE: Label = bounded(
    "route",
    "a path of the API, without ids, or `other` where there is none",
);
const METHOD: Label = bounded(
    "method",
    "a method of the API, or `other` for one that it does not know",
);
const CODE: Label = bounded("code", "an HTTP status code");
const DISPATCHER: Label = bounded("dispatcher", "a number below that of the dispatchers");
const VERSION: Label = bounded("version", "the version that runs");
const FAILURE: Label = bounded("class", "a kind of failure");
const OUTCOME: Label = closed("outcome", || {
    OutcomeKind::ALL.map(OutcomeKind::label).to_vec()
});
const PRIORITY: Label = closed("priority", || Class::ALL.map(Class::as_str).to_vec());
const CLOSE_REASON: Label = closed("reason", || CloseReason::LABELS.to_vec());
const CHANNEL_STATE: Label = closed("state", || {
    ChannelKind::ALL.map(ChannelKind::as_str).to_vec()
});
const EVENT_TYPE: Label = closed("type", || EventKind::ALL.map(EventKind::as_str).to_vec());
const RESULT_CLASS: Label = closed("result", || texts(ResultClass::ALL, ResultClass::as_str));
const PAUSE_REASON: Label = closed("reason", || texts(PauseReason::ALL, PauseReason::as_str));
const TOKEN_RESULT: Label = closed("result", || texts(TokenResult::ALL, TokenResult::as_str));
const PUSH_STATE: Label = closed("state", || texts(PushState::ALL, PushState::as_str));
const HORIZON: Label = closed("within", || texts(Horizon::ALL, Horizon::as_str));
const CAMPAIGN_STATE: Label = closed("state", || texts(CampaignPhase::ALL, CampaignPhase::as_str));
const TARGET_STATE: Label = closed("state", || texts(TargetPhase::ALL, TargetPhase::as_str));
const OPERATION: Label = closed("operation", || {
    texts(StoreOperation::ALL, StoreOperation::as_str)
});
const FAULT: Label = closed("fault", || texts(StoreFault::ALL, StoreFault::as_str));
const ACTOR: Label = closed("actor", || texts(ActorKind::ALL, ActorKind::as_str));
const DELIVERY: Label = closed("result", || {
    texts(DeliveryResult::ALL, DeliveryResult::as_str)
});
const EXPORT: Label = closed("result", || texts(ExportResult::ALL, ExportResult::as_str));
const MESSAGE: Label = closed("result", || {
    texts(MessageResult::ALL, MessageResult::as_str)
});

const fn bounded(name: &'static str, words: &'static str) -> Label {
    Label {
        name,
        values: Values::Bounded(words),
    }
}

const fn closed(name: &'static str, values: fn() -> Vec<&'static str>) -> Label {
    Label {
        name,
        values: Values::Closed(values),
    }
}

fn texts<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| text(*value)).collect()
}

metrics! {
    /// Handles of every metric.
    pub(super) struct Families {
        /// Notifications sent to WNS, by what came of them.
        attempts: IntCounter = "reveille_attempts_total", [APP, OUTCOME];
        /// Notifications sent to WNS, by priority and whether they are tried again.
        attempt_results: IntCounter = "reveille_attempt_results_total", [APP, PRIORITY, RESULT_CLASS];
        /// Time from sending a notification to the end of WNS's answer.
        attempt_duration: Histogram = "reveille_attempt_duration_seconds", [APP], REQUEST_SECONDS;
        /// Notifications on the wire.
        attempts_in_flight: IntGauge = "reveille_attempts_in_flight", [APP];
        /// Requests a second that the app may send now.
        pace: Gauge = "reveille_pace_per_second", [APP];
        /// Requests a second that the app may reach.
        pace_ceiling: Gauge = "reveille_pace_ceiling_per_second", [APP];
        /// 1 while the app sends nothing, for this reason.
        app_paused: IntGauge = "reveille_app_paused", [APP, PAUSE_REASON];
        /// Times that the app was paused, for this reason.
        app_pauses: IntCounter = "reveille_app_pauses_total", [APP, PAUSE_REASON];
        /// Pushes of the app's tenants whose time has come and that nobody has taken yet.
        app_pushes_due: IntGauge = "reveille_app_pushes_due", [APP];
        /// Open pushes of tenants whose app is not in this broker's configuration.
        pushes_unserved: IntGauge = "reveille_pushes_unserved", [];
        /// Pushes put off because the breaker of their channel's host is open. They count as scheduled, and not by the age of the
        /// oldest due push, until the host is tried again.
        pushes_put_off: IntCounter = "reveille_pushes_put_off_total", [APP];
        /// WNS hosts that the app's breaker keeps away from.
        breakers_open: IntGauge = "reveille_breakers_open", [APP];
        /// When the app's access token expires; 0 while there is none.
        token_expiry: IntGauge = "reveille_token_expiry_timestamp_seconds", [APP];
        /// 1 after the token endpoint refused the app's credential, until it grants a token. One from before serves until it ends.
        credential_refused: IntGauge = "reveille_credential_refused", [APP];
        /// Requests for an access token, by how they ended.
        token_refreshes: IntCounter = "reveille_token_refreshes_total", [APP, TOKEN_RESULT];
        /// When the app's secret expires, as configured; 0 if that is not known.
        secret_expiry: IntGauge = "reveille_secret_expiry_timestamp_seconds", [APP];
        /// Open pushes, by the most urgent ask.
        pushes_open: IntGauge = "reveille_pushes_open", [TENANT, PRIORITY];
        /// Open pushes, by what they wait for. Those that are leased are what this broker holds: add them up over brokers; the
        /// others are the same on all brokers.
        pushes: IntGauge = "reveille_pushes", [TENANT, PUSH_STATE];
        /// For how long the oldest due push has been due; 0 if none is. What only a host's breaker puts off is not due.
        push_oldest_due: Gauge = "reveille_push_oldest_due_seconds", [TENANT];
        /// Asks that have ended, by reason.
        asks_closed: IntCounter = "reveille_asks_closed_total", [TENANT, CLOSE_REASON];
        /// Check-ins that consoles reported.
        check_ins: IntCounter = "reveille_checkins_total", [TENANT];
        /// Time from the notification that WNS took to the check-in that answers it.
        check_in_delay: Histogram = "reveille_checkin_delay_seconds", [TENANT], CHECK_IN_SECONDS;
        /// How far a reported check-in last lay in the future: the console's clock is ahead by at least this.
        check_in_skew: Gauge = "reveille_checkin_skew_seconds", [TENANT];
        /// Devices, by the state of their channel.
        channels: IntGauge = "reveille_channels", [TENANT, CHANNEL_STATE];
        /// Channels that expire within this time unless the device renews them.
        channels_expiring: IntGauge = "reveille_channels_expiring", [TENANT, HORIZON];
        /// Campaigns, by state.
        campaigns: IntGauge = "reveille_campaigns", [TENANT, CAMPAIGN_STATE];
        /// Targets of the running and paused campaigns together, by state.
        campaign_targets: IntGauge = "reveille_campaign_targets", [TENANT, TARGET_STATE];
        /// Time for a call to the store, whether it succeeded or not. Waiting for news is no call.
        store_duration: Histogram = "reveille_store_operation_duration_seconds", [OPERATION], STORE_SECONDS;
        /// Calls to the store that failed.
        store_errors: IntCounter = "reveille_store_errors_total", [OPERATION, FAULT];
        /// Changes in one commit.
        store_batch: Histogram = "reveille_store_commit_batch_items", [], BATCH_ITEMS;
        /// Notifications that a dispatcher may still put on the wire.
        permits_available: IntGauge = "reveille_dispatcher_permits_available", [DISPATCHER];
        /// Events written to the feeds.
        feed_events: IntCounter = "reveille_feed_events_total", [EVENT_TYPE];
        /// Webhooks that are switched off.
        webhooks_disabled: IntGauge = "reveille_webhooks_disabled", [TENANT];
        /// Requests to webhooks, by how they ended; under disabled, webhooks that were switched off.
        webhook_deliveries: IntCounter = "reveille_webhook_deliveries_total", [TENANT, DELIVERY];
        /// Age of the oldest event that the tenant's webhooks have not taken yet; 0 if they have all.
        webhook_lag: Gauge = "reveille_webhook_lag_seconds", [TENANT];
        /// Messages of inboxes, by what became of them.
        inbox_messages: IntCounter = "reveille_inbox_messages_total", [TENANT, MESSAGE];
        /// Age of the oldest message that the tenant's inbox holds; 0 if it is empty.
        inbox_lag: Gauge = "reveille_inbox_lag_seconds", [TENANT];
        /// Events written to outboxes.
        outbox_events: IntCounter = "reveille_outbox_events_total", [TENANT];
        /// Requests that the message API has answered.
        http_requests: IntCounter = "reveille_http_requests_total", [METHOD, ROUTE, CODE];
        /// Time from the head of a request to the end of its answer.
        http_duration: Histogram = "reveille_http_request_duration_seconds", [ROUTE], REQUEST_SECONDS;
        /// Requests that the message API is answering.
        http_in_flight: IntGauge = "reveille_http_requests_in_flight", [];
        /// Actors that were built anew after a panic or a stop.
        actor_restarts: IntCounter = "reveille_actor_restarts_total", [ACTOR];
        /// Time since the actor that is farthest behind made progress; healthy ones stay below a minute.
        actor_progress_age: Gauge = "reveille_actor_progress_age_seconds", [ACTOR];
        /// Panics anywhere in the process.
        panics: IntCounter = "reveille_panics_total", [];
        /// Requests to the collector of traces, by how they ended.
        trace_exports: IntCounter = "reveille_trace_exports_total", [EXPORT];
        /// Log lines about failures that were counted and not written.
        log_lines_suppressed: IntCounter = "reveille_log_lines_suppressed_total", [FAILURE];
        /// Always 1; the label tells what runs.
        build_info: IntGauge = "reveille_build_info", [VERSION];
    }
}
