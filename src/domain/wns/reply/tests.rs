use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::wns::text::TEXT_BYTES_MAX;

/// `status | headers, separated by semicolons | outcome`
const TABLE: &str = "
200 |                                                                              | accepted unstated
200 | X-WNS-Status:                                                                | accepted unstated
200 | X-WNS-Status: queued                                                         | accepted unstated
200 | X-WNS-Status: received                                                       | accepted
200 | X-WNS-NotificationStatus: received                                           | accepted
200 | x-wns-notificationstatus: Received                                           | accepted
200 | X-WNS-STATUS: received; X-WNS-DEVICECONNECTIONSTATUS: connected              | accepted
200 | X-WNS-Status: received; X-WNS-DeviceConnectionStatus: disconnected           | accepted cached
200 | X-WNS-Status: received; X-WNS-DeviceConnectionStatus: Disconnected           | accepted cached
200 | X-WNS-Status: received; X-WNS-DeviceConnectionStatus: tempdisconnected       | accepted
200 | X-WNS-Status: received; X-WNS-DeviceConnectionStatus: unknown                | accepted
200 | X-WNS-DeviceConnectionStatus: disconnected                                   | accepted unstated
200 | X-WNS-Status: dropped; X-WNS-Error-Description: Device is offline            | dropped
200 | X-WNS-NotificationStatus: dropped; X-WNS-DeviceConnectionStatus: connected   | dropped
200 | X-WNS-Status: received; X-WNS-NotificationStatus: dropped                    | dropped
200 | X-WNS-Status: odd; X-WNS-NotificationStatus: dropped                         | dropped
200 | X-WNS-Status: channelthrottled                                               | channel_throttled
200 | X-WNS-Status: channelThrottled; X-WNS-CONTINUE-AFTER: 120                    | channel_throttled 120s
200 | X-WNS-Status: channelthrottled; X-WNS-CONTINUE-AFTER: soon                   | channel_throttled
200 | X-WNS-Status: channelthrottled; Retry-After: 60                              | channel_throttled 60s
200 | X-WNS-Status: channelthrottled; X-WNS-Continue-After: 0                      | channel_throttled 1s
200 | X-WNS-Status: appthrottled                                                   | app_throttled 900s
200 | X-WNS-Status: revoked                                                        | channel_refused gone
201 |                                                                              | accepted unstated
207 | X-WNS-Status: dropped                                                        | dropped
299 | X-WNS-Status: received                                                       | accepted
300 |                                                                              | redirected 300
301 | Location: https://evil.example/                                              | redirected 301
302 |                                                                              | redirected 302
304 |                                                                              | redirected 304
307 |                                                                              | redirected 307
399 |                                                                              | redirected 399
400 |                                                                              | our_fault 400
400 | X-WNS-Error-Description: Ttl value conflicts with X-WNS-Cache-Policy.        | our_fault 400 Ttl value conflicts with X-WNS-Cache-Policy.
401 | WWW-Authenticate: Bearer                                                     | token_refused
402 |                                                                              | our_fault 402
403 |                                                                              | channel_refused forbidden
403 | X-WNS-Error-Description: Channel URL incompatible with caller app            | channel_refused forbidden
403 | X-WNS-Error-Description: app that is not in allowed receiving apps list      | domain_blocked 403
403 | X-WNS-Status: DOMAINBLOCKED                                                  | domain_blocked 403
404 |                                                                              | channel_refused not_found
404 | X-WNS-Error-Description: blocked                                             | channel_refused not_found
405 |                                                                              | our_fault 405
406 |                                                                              | app_throttled 900s
406 | Retry-After: 30                                                              | app_throttled 30s
406 | X-WNS-Status: channelthrottled                                               | channel_throttled
407 |                                                                              | unavailable http 407
408 |                                                                              | unavailable http 408
409 |                                                                              | our_fault 409
410 |                                                                              | channel_refused gone
410 | X-WNS-Status: revoked; X-WNS-Error-Description: Revoked channel URL          | channel_refused gone
410 | X-WNS-Error-Description: sending domain has been blocked by WNS              | domain_blocked 410
410 | X-WNS-NotificationStatus: Domain Blocked                                     | domain_blocked 410
411 |                                                                              | our_fault 411
412 |                                                                              | our_fault 412
413 |                                                                              | our_fault 413
418 |                                                                              | our_fault 418
421 |                                                                              | unavailable http 421
425 |                                                                              | unavailable http 425
429 | Retry-After: 0                                                               | app_throttled 1s
429 | Retry-After: 86401                                                           | app_throttled 86400s
429 | Retry-After: 99999999999999999999                                            | app_throttled 86400s
429 | Retry-After: -5                                                              | app_throttled 900s
429 | Retry-After: Sun, 22 Nov 2026 12:01:00 GMT                                   | app_throttled 60s
429 | X-WNS-Status: channelthrottled                                               | channel_throttled
451 |                                                                              | our_fault 451
499 |                                                                              | our_fault 499
500 |                                                                              | unavailable http 500
500 | X-WNS-Status: AppThrottled                                                   | app_throttled 900s
503 | Retry-After: 120                                                             | unavailable http 503 120s
503 | Retry-After: Sun, 22 Nov 2026 12:01:00 GMT                                   | unavailable http 503 60s
503 | X-WNS-Status: received                                                       | unavailable http 503
599 |                                                                              | unavailable http 599
600 |                                                                              | unavailable http 600
999 | X-WNS-Status: appthrottled; Retry-After: 5                                   | app_throttled 5s
999 |                                                                              | unavailable http 999
65535 |                                                                            | unavailable http 65535
199 |                                                                              | unavailable http 199
101 |                                                                              | unavailable http 101
0   |                                                                              | unavailable http 0
";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn raw(status: u16, headers: &[(&str, &str)]) -> RawReply {
    RawReply::new(status, headers.iter().map(|(n, v)| (*n, v.as_bytes())))
}

/// An outcome as the table writes it.
fn show(outcome: &Outcome) -> String {
    let seconds = |wait: &Option<Duration>| {
        wait.map(|w| format!("{}s", w.as_secs()))
            .unwrap_or_default()
    };
    let data = match outcome {
        Outcome::Accepted { cached, stated } => match (cached, stated) {
            (false, true) => String::new(),
            (true, true) => "cached".to_owned(),
            (false, false) => "unstated".to_owned(),
            (true, false) => "cached but unstated".to_owned(),
        },
        Outcome::Dropped | Outcome::TokenRefused => String::new(),
        Outcome::ChannelThrottled { retry_after } => seconds(retry_after),
        Outcome::ChannelRefused { cause } => cause.label().to_owned(),
        Outcome::DomainBlocked { status } | Outcome::Redirected { status } => status.to_string(),
        Outcome::AppThrottled { retry_after } => seconds(&Some(*retry_after)),
        Outcome::OurFault {
            status,
            description,
        } => {
            format!("{status} {}", description.clone().unwrap_or_default())
        }
        Outcome::Unavailable { kind, retry_after } => match kind {
            UnavailableKind::Http { status } => format!("http {status} {}", seconds(retry_after)),
            UnavailableKind::Timeout
            | UnavailableKind::Connect
            | UnavailableKind::Dns
            | UnavailableKind::Tls
            | UnavailableKind::Reset
            | UnavailableKind::Proxy
            | UnavailableKind::Protocol => format!("{} {}", kind.label(), seconds(retry_after)),
        },
    };
    format!("{} {data}", outcome.label()).trim_end().to_owned()
}

#[test]
fn every_reply_of_the_table_means_what_the_table_says() {
    for row in TABLE.trim().lines() {
        let mut cells = row.split('|').map(str::trim);
        let (status, headers, expected) = (
            cells.next().unwrap(),
            cells.next().unwrap(),
            cells.next().unwrap(),
        );
        let headers: Vec<_> = headers
            .split(';')
            .filter_map(|h| h.trim().split_once(':'))
            .collect();

        let reply = Reply::Answered(raw(status.parse().unwrap(), &headers));

        assert_eq!(show(&classify(&reply, now())), expected, "{row}");
    }
}

#[test]
fn a_recorded_406_pauses_the_app_and_keeps_every_id() {
    let raw = raw(
        406,
        &[
            ("Retry-After", "900"),
            ("X-WNS-NOTIFICATIONSTATUS", "appthrottled"),
            ("X-WNS-STATUS", "appthrottled"),
            ("X-WNS-MSG-ID", "331FA2FC1F350267"),
            ("X-WNS-DEBUG-TRACE", "SG2PEPF0005589B"),
            ("MS-CV", "u0eXrGcPLUmF1wQY.0"),
            ("Content-Length", "0"),
        ],
    );

    let reply = Reply::Answered(raw);
    assert_eq!(show(&classify(&reply, now())), "app_throttled 900s");
    let text = |text| Some(Text::known(text));
    let expected = Trace {
        status: text("appthrottled"),
        notification_status: text("appthrottled"),
        msg_id: text("331FA2FC1F350267"),
        debug_trace: text("SG2PEPF0005589B"),
        ms_cv: text("u0eXrGcPLUmF1wQY.0"),
        ..Trace::default()
    };
    assert_eq!(reply.detail(), expected);
    assert_eq!(reply.into_detail(), expected);
}

#[test]
fn a_failed_transport_is_unavailable_by_its_kind() {
    for (failure, label) in [
        (TransportFailure::Timeout, "timeout"),
        (TransportFailure::Connect, "connect"),
        (TransportFailure::Dns, "dns"),
        (TransportFailure::Tls, "tls"),
        (TransportFailure::Reset, "reset"),
        (TransportFailure::Proxy, "proxy"),
        (TransportFailure::Protocol, "protocol"),
    ] {
        let reply = Reply::Failed(failure);
        assert_eq!(
            show(&classify(&reply, now())),
            format!("unavailable {label}")
        );
        assert_eq!(reply.detail(), Trace::default());
    }
}

#[test]
fn labels_are_distinct_and_every_kind_is_listed() {
    let labels: HashSet<_> = OutcomeKind::ALL.iter().map(|kind| kind.label()).collect();

    assert_eq!(labels.len(), OutcomeKind::ALL.len());
}

#[test]
fn unknown_words_and_bytes_are_kept_as_text() {
    let long = [b'x'; 5_000];
    let reply = RawReply::new(
        200,
        [
            ("X-WNS-Status", b"\xff\xfe".as_slice()),
            ("x-wns-deviceconnectionstatus", b"half asleep"),
            ("X-WNS-Error-Description", &long),
            ("X-WNS-Msg-ID", b""),
            ("X-WNS-Msg-ID", b"second"),
            ("X-WNS-Msg-ID", b"third"),
        ],
    );

    assert_eq!(
        reply.trace.status.as_ref().unwrap().as_str(),
        "\u{fffd}\u{fffd}"
    );
    assert_eq!(
        reply.trace.device_status.as_ref().unwrap().as_str(),
        "half asleep"
    );
    assert_eq!(
        reply.trace.description.as_ref().unwrap().as_str().len(),
        TEXT_BYTES_MAX
    );
    assert_eq!(reply.trace.msg_id.as_ref().unwrap().as_str(), "second");
    assert_eq!(
        show(&classify(&Reply::Answered(reply), now())),
        "accepted unstated"
    );
}

proptest! {
    #[test]
    fn any_answer_has_a_class_and_a_bounded_wait(
        status in any::<u16>(),
        headers in proptest::collection::vec(
            ("(?i)x-wns-status|x-wns-notificationstatus|retry-after|x-wns-continue-after|x-wns-error-description",
             prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "received|dropped|channelthrottled|appthrottled|revoked|[0-9]{1,20}".prop_map(String::into_bytes),
             ]), 0..6),
    ) {
        let raw = RawReply::new(status, headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
        let outcome = classify(&Reply::Answered(raw), now());
        let wait = match &outcome {
            Outcome::ChannelThrottled { retry_after } | Outcome::Unavailable { retry_after, .. } => *retry_after,
            Outcome::AppThrottled { retry_after } => Some(*retry_after),
            Outcome::Accepted { .. } | Outcome::Dropped => {
                prop_assert!((200..300).contains(&status));
                None
            }
            Outcome::TokenRefused | Outcome::ChannelRefused { .. } | Outcome::DomainBlocked { .. }
            | Outcome::OurFault { .. } | Outcome::Redirected { .. } => None,
        };
        prop_assert!(wait.is_none_or(|wait| (RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&wait)));
        prop_assert!(OutcomeKind::ALL.contains(&outcome.kind()));
    }
}
