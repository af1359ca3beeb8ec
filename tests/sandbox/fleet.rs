//! The devices behind the sandbox's channels: what they report to a broker when woken.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use reveille::sandbox::{Behaviour, CheckIns, Delay, FleetConfig, SandboxConfig, Share};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    bench::{Bench, config},
    endpoint::Endpoint,
};

/// A check-in as a broker sees it.
#[derive(Debug)]
struct CheckIn {
    path: String,
    authorization: String,
    line: Value,
}

/// A broker that only takes check-ins, after it has answered with some failures.
struct Broker {
    url: String,
    taken: UnboundedReceiver<CheckIn>,
    _endpoint: Endpoint,
}

type Failures = Arc<Mutex<VecDeque<u16>>>;

impl Broker {
    async fn start(failures: &[u16]) -> Self {
        let (give, taken) = unbounded_channel();
        let failures: Failures = Arc::new(Mutex::new(failures.iter().copied().collect()));
        let answer = move |request| answer(request, give.clone(), failures.clone());
        let endpoint = Endpoint::start(answer).await;
        Self {
            url: format!("http://{}", endpoint.address),
            taken,
            _endpoint: endpoint,
        }
    }

    async fn next(&mut self) -> CheckIn {
        let next = tokio::time::timeout(Duration::from_secs(20), self.taken.recv());
        next.await.expect("a check-in within 20 s").unwrap()
    }
}

async fn answer(
    request: Request<Incoming>,
    give: UnboundedSender<CheckIn>,
    failures: Failures,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if let Some(code) = failures.lock().unwrap().pop_front() {
        let mut response = Response::new(Full::default());
        *response.status_mut() = code.try_into().unwrap();
        return response;
    }
    assert_eq!(parts.headers["content-type"], "application/x-ndjson");
    for line in body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let authorization = parts
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        let check_in = CheckIn {
            path: parts.uri.path().to_owned(),
            authorization: authorization.unwrap_or_default(),
            line: serde_json::from_slice(line).unwrap(),
        };
        give.send(check_in).unwrap();
    }
    Response::new(Full::from(r#"{"closed":1,"channels_updated":0}"#))
}

fn prompt() -> CheckIns {
    CheckIns {
        delay: Delay::fixed(Duration::from_millis(1)),
        ..CheckIns::default()
    }
}

fn reporting_to(broker: &Broker, devices: u32, behaviour: Behaviour) -> SandboxConfig {
    let key = Some("k-1".to_owned().into());
    SandboxConfig {
        fleet: Some(FleetConfig {
            url: broker.url.clone(),
            key,
        }),
        behaviour,
        ..config(devices)
    }
}

#[tokio::test]
async fn a_woken_device_checks_in_once_the_broker_takes_it() {
    let mut broker = Broker::start(&[503, 500]).await;
    let behaviour = Behaviour {
        check_in: prompt(),
        ..Behaviour::default()
    };
    let bench = Bench::start(reporting_to(&broker, 2, behaviour));
    let token = bench.token().await;
    bench.push(2, &token).await;

    let check_in = broker.next().await;

    assert_eq!(check_in.path, "/v1/tenants/contoso/check-ins");
    assert_eq!(check_in.authorization, "Bearer k-1");
    assert_eq!(check_in.line["device"], "device-0000002");
    assert!(check_in.line["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(check_in.line.get("channel_uri"), None);
    let fleet = bench.sandbox.ledger().fleet;
    assert_eq!((fleet.sessions, fleet.retries, fleet.refused), (1, 2, 0));
    assert_eq!(bench.device(2).check_ins, 1);
    assert_eq!(bench.sandbox.ledger().devices.checked_in, 1);
}

#[tokio::test]
async fn notifications_before_a_session_start_one_session_only() {
    let mut broker = Broker::start(&[]).await;
    let check_in = CheckIns {
        delay: Delay::fixed(Duration::from_secs(1)),
        ..CheckIns::default()
    };
    let bench = Bench::start(reporting_to(
        &broker,
        1,
        Behaviour {
            check_in,
            ..Behaviour::default()
        },
    ));
    let token = bench.token().await;
    for _ in 0..5 {
        bench.push(1, &token).await;
    }
    assert_eq!(bench.sandbox.ledger().fleet.planned, 1);

    broker.next().await;

    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.fleet.sessions, ledger.fleet.planned), (1, 0));
    assert_eq!(bench.device(1).accepted, 5);
}

#[tokio::test]
async fn a_session_may_report_a_new_channel_while_the_old_one_still_works() {
    let mut broker = Broker::start(&[]).await;
    let check_in = CheckIns {
        renew: Share::ALL,
        ..prompt()
    };
    let bench = Bench::start(reporting_to(
        &broker,
        1,
        Behaviour {
            check_in,
            ..Behaviour::default()
        },
    ));
    let (token, old) = (bench.token().await, bench.uri(1));
    bench.push(1, &token).await;

    let check_in = broker.next().await;

    let new = check_in.line["channel_uri"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(new, bench.uri(1));
    assert_eq!(
        bench
            .notification(new, &token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        bench
            .notification(&old, &token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_device_with_a_dead_channel_reports_a_new_one_when_it_polls() {
    let mut broker = Broker::start(&[]).await;
    let check_in = CheckIns {
        poll: Some("50ms".parse().unwrap()),
        ..prompt()
    };
    let behaviour = Behaviour {
        dead: Share::ALL,
        check_in,
        ..Behaviour::default()
    };
    let bench = Bench::start(reporting_to(&broker, 1, behaviour));
    let token = bench.token().await;
    assert!(bench.push(1, &token).await.0 >= 404);

    let check_in = broker.next().await;

    let new = check_in.line["channel_uri"].as_str().unwrap();
    assert_eq!(
        bench
            .notification(new, &token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn an_offline_device_returns_takes_its_notification_and_checks_in() {
    let mut broker = Broker::start(&[]).await;
    let behaviour = Behaviour {
        offline: Share::ALL,
        offline_for: Some("20ms".parse().unwrap()),
        check_in: prompt(),
        ..Behaviour::default()
    };
    let bench = Bench::start(reporting_to(&broker, 1, behaviour));
    let token = bench.token().await;
    bench.push(1, &token).await;

    let check_in = broker.next().await;

    assert_eq!(check_in.line["device"], "device-0000001");
    assert!(bench.device(1).online);
    assert_eq!(bench.sandbox.ledger().delivered_late, 1);
}

#[tokio::test]
async fn devices_that_never_check_in_never_do() {
    let mut broker = Broker::start(&[]).await;
    let check_in = CheckIns {
        never: Share::ratio(0.5),
        ..prompt()
    };
    let bench = Bench::start(reporting_to(
        &broker,
        40,
        Behaviour {
            check_in,
            ..Behaviour::default()
        },
    ));
    let token = bench.token().await;
    for number in 1..=40 {
        bench.push(number, &token).await;
    }
    // What is planned now becomes a session while it is counted.
    while bench.sandbox.ledger().fleet.planned > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sessions = bench.sandbox.ledger().fleet.sessions;

    assert!((8..=32).contains(&sessions), "{sessions}");
    for _ in 0..sessions {
        broker.next().await;
    }
    assert_eq!(bench.sandbox.ledger().devices.checked_in, sessions);
}

#[tokio::test]
async fn check_ins_that_the_broker_refuses_are_counted_and_not_repeated() {
    let mut broker = Broker::start(&[403]).await;
    let bench = Bench::start(reporting_to(
        &broker,
        2,
        Behaviour {
            check_in: prompt(),
            ..Behaviour::default()
        },
    ));
    let token = bench.token().await;
    bench.push(1, &token).await;
    while bench.sandbox.ledger().fleet.refused == 0 {
        tokio::task::yield_now().await;
    }
    bench.push(2, &token).await;

    assert_eq!(broker.next().await.line["device"], "device-0000002");
    let fleet = bench.control("GET", "ledger", Value::Null).await["fleet"].clone();
    assert_eq!(
        (&fleet["refused"], &fleet["sessions"]),
        (&json!(1), &json!(2))
    );
}
