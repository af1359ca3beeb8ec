use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::wns::text::TEXT_BYTES_MAX;

const ACCEPTED: Outcome = Outcome::Accepted {
    cached: false,
    stated: true,
};
const UNSTATED: Outcome = Outcome::Accepted {
    cached: false,
    stated: false,
};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Reply {
    Reply::Answered(RawReply::new(
        status,
        headers.iter().map(|(n, v)| (*n, v.as_bytes())),
    ))
}

fn outcome(status: u16, headers: &[(&str, &str)]) -> Outcome {
    classify(&answer(status, headers), now())
}

fn app_throttled(seconds: u64) -> Outcome {
    Outcome::AppThrottled {
        retry_after: Duration::from_secs(seconds),
    }
}

fn channel_throttled(seconds: Option<u64>) -> Outcome {
    Outcome::ChannelThrottled {
        retry_after: seconds.map(Duration::from_secs),
    }
}

fn unavailable(status: u16, seconds: Option<u64>) -> Outcome {
    Outcome::Unavailable {
        kind: UnavailableKind::Http { status },
        retry_after: seconds.map(Duration::from_secs),
    }
}

fn refused(cause: ChannelRefusal) -> Outcome {
    Outcome::ChannelRefused { cause }
}

fn our_fault(status: u16, description: Option<&'static str>) -> Outcome {
    Outcome::OurFault {
        status,
        description: description.map(Text::known),
    }
}

#[test]
fn every_200_is_read_by_its_words() {
    let cached = Outcome::Accepted {
        cached: true,
        stated: true,
    };
    let device = "X-WNS-DeviceConnectionStatus";
    let offline = "Device is offline and X-WNS-Cache-Policy is no-cache";
    let cases: &[(&[(&str, &str)], Outcome)] = &[
        (&[], UNSTATED),
        (&[("X-WNS-Status", "")], UNSTATED),
        (&[("X-WNS-Status", "queued")], UNSTATED),
        (&[("X-WNS-Status", "received")], ACCEPTED),
        (&[("X-WNS-NotificationStatus", "received")], ACCEPTED),
        (&[("x-wns-notificationstatus", " Received ")], ACCEPTED),
        (
            &[("X-WNS-STATUS", "received"), (device, "connected")],
            ACCEPTED,
        ),
        (
            &[("X-WNS-STATUS", "received"), (device, "disconnected")],
            cached.clone(),
        ),
        (
            &[("X-WNS-STATUS", "received"), (device, "Disconnected")],
            cached,
        ),
        (
            &[("X-WNS-STATUS", "received"), (device, "tempdisconnected")],
            ACCEPTED,
        ),
        (
            &[("X-WNS-STATUS", "received"), (device, "unknown")],
            ACCEPTED,
        ),
        (&[(device, "disconnected")], UNSTATED),
        (
            &[
                ("X-WNS-Status", "dropped"),
                ("X-WNS-Error-Description", offline),
            ],
            Outcome::Dropped,
        ),
        (
            &[
                ("X-WNS-NotificationStatus", "dropped"),
                (device, "connected"),
            ],
            Outcome::Dropped,
        ),
        (
            &[
                ("X-WNS-Status", "received"),
                ("X-WNS-NotificationStatus", "dropped"),
            ],
            Outcome::Dropped,
        ),
        (
            &[
                ("X-WNS-Status", "odd"),
                ("X-WNS-NotificationStatus", "dropped"),
            ],
            Outcome::Dropped,
        ),
        (
            &[("X-WNS-Status", "channelthrottled")],
            channel_throttled(None),
        ),
        (
            &[
                ("X-WNS-Status", "channelThrottled"),
                ("X-WNS-CONTINUE-AFTER", "120"),
            ],
            channel_throttled(Some(120)),
        ),
        (
            &[
                ("X-WNS-Status", "channelthrottled"),
                ("X-WNS-CONTINUE-AFTER", "soon"),
            ],
            channel_throttled(None),
        ),
        (
            &[("X-WNS-Status", "channelthrottled"), ("Retry-After", "60")],
            channel_throttled(Some(60)),
        ),
        (
            &[
                ("X-WNS-Status", "channelthrottled"),
                ("X-WNS-Continue-After", "0"),
            ],
            channel_throttled(Some(1)),
        ),
        (&[("X-WNS-Status", "appthrottled")], app_throttled(900)),
        (
            &[("X-WNS-Status", "revoked")],
            refused(ChannelRefusal::Gone),
        ),
    ];
    for (headers, expected) in cases {
        assert_eq!(outcome(200, headers), *expected, "{headers:?}");
    }
}

#[test]
fn the_documented_statuses_mean_what_the_table_says() {
    let description = |text| [("X-WNS-Error-Description", text)];
    assert_eq!(
        outcome(
            400,
            &description("Ttl value conflicts with X-WNS-Cache-Policy.")
        ),
        our_fault(400, Some("Ttl value conflicts with X-WNS-Cache-Policy."))
    );
    assert_eq!(
        outcome(401, &[("WWW-Authenticate", "Bearer")]),
        Outcome::TokenRefused
    );
    assert_eq!(outcome(403, &[]), refused(ChannelRefusal::Forbidden));
    assert_eq!(
        outcome(
            403,
            &description("Channel URL incompatible with caller app")
        ),
        refused(ChannelRefusal::Forbidden)
    );
    assert_eq!(outcome(404, &[]), refused(ChannelRefusal::NotFound));
    assert_eq!(outcome(405, &[]), our_fault(405, None));
    assert_eq!(outcome(406, &[]), app_throttled(900));
    assert_eq!(outcome(410, &[]), refused(ChannelRefusal::Gone));
    assert_eq!(
        outcome(
            410,
            &[
                ("X-WNS-Status", "revoked"),
                ("X-WNS-Error-Description", "Revoked channel URL")
            ]
        ),
        refused(ChannelRefusal::Gone)
    );
    assert_eq!(outcome(413, &[]), our_fault(413, None));
    assert_eq!(outcome(429, &[("Retry-After", "30")]), app_throttled(30));
    assert_eq!(outcome(500, &[]), unavailable(500, None));
    assert_eq!(
        outcome(503, &[("Retry-After", "120")]),
        unavailable(503, Some(120))
    );
    assert_eq!(
        outcome(503, &[("Retry-After", "Sun, 22 Nov 2026 12:01:00 GMT")]),
        unavailable(503, Some(60))
    );
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        assert_eq!(
            outcome(status, &[("Location", "https://evil.example/")]),
            Outcome::Redirected { status }
        );
    }
}

#[test]
fn a_recorded_406_pauses_the_app_and_keeps_every_id() {
    let reply = answer(
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

    assert_eq!(classify(&reply, now()), app_throttled(900));
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
fn a_blocked_sender_is_not_a_dead_channel() {
    for (status, words) in [
        (410, "Sending domain has been blocked by WNS"),
        (410, "Domain Blocked"),
        (
            403,
            "Request targets an app that is not in allowed receiving apps list by WNS.",
        ),
        (403, "DOMAINBLOCKED"),
    ] {
        for header in ["X-WNS-Error-Description", "X-WNS-Status"] {
            assert_eq!(
                outcome(status, &[(header, words)]),
                Outcome::DomainBlocked { status },
                "{words}"
            );
        }
    }
    assert_eq!(
        outcome(404, &[("X-WNS-Error-Description", "blocked")]),
        refused(ChannelRefusal::NotFound)
    );
}

#[test]
fn a_throttle_word_wins_over_its_status_and_the_wait_is_bounded() {
    for status in [200, 400, 403, 406, 410, 429, 500, 503, 999] {
        assert_eq!(
            outcome(status, &[("X-WNS-Status", "AppThrottled")]),
            app_throttled(900),
            "{status}"
        );
    }
    for (value, seconds) in [
        ("0", 1),
        ("86401", 86_400),
        ("99999999999999999999", 86_400),
        ("-5", 900),
        ("soon", 900),
    ] {
        assert_eq!(
            outcome(429, &[("Retry-After", value)]),
            app_throttled(seconds),
            "{value}"
        );
    }
    assert_eq!(
        outcome(406, &[("X-WNS-Status", "channelthrottled")]),
        channel_throttled(None)
    );
    assert_eq!(
        outcome(503, &[("X-WNS-Status", "channelthrottled")]),
        unavailable(503, None)
    );
}

#[test]
fn an_undocumented_status_is_handled_by_its_class() {
    for status in [201, 202, 204, 207, 226, 299] {
        assert_eq!(outcome(status, &[]), UNSTATED);
        assert_eq!(
            outcome(status, &[("X-WNS-Status", "dropped")]),
            Outcome::Dropped
        );
    }
    for status in [
        402, 409, 411, 412, 414, 415, 417, 418, 422, 426, 431, 451, 499,
    ] {
        assert_eq!(outcome(status, &[]), our_fault(status, None));
    }
    for status in [
        0,
        1,
        100,
        101,
        103,
        199,
        407,
        408,
        421,
        425,
        501,
        502,
        504,
        511,
        599,
        600,
        999,
        u16::MAX,
    ] {
        assert_eq!(outcome(status, &[]), unavailable(status, None));
    }
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
        let Outcome::Unavailable {
            kind,
            retry_after: None,
        } = classify(&reply, now())
        else {
            panic!("{failure:?} is not unavailable");
        };
        assert_eq!(kind.label(), label);
        assert_eq!(reply.detail(), Trace::default());
    }
}

#[test]
fn labels_are_distinct_and_every_kind_is_listed() {
    let labels: HashSet<_> = OutcomeKind::ALL.iter().map(|kind| kind.label()).collect();

    assert_eq!(labels.len(), OutcomeKind::ALL.len());
    assert!(labels.contains(outcome(200, &[]).label()));
    let causes = [
        ChannelRefusal::Forbidden,
        ChannelRefusal::NotFound,
        ChannelRefusal::Gone,
    ];
    assert_eq!(
        causes.map(ChannelRefusal::label),
        ["forbidden", "not_found", "gone"]
    );
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
    assert_eq!(classify(&Reply::Answered(reply), now()), UNSTATED);
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
