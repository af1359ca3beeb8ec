//! What whole brokers ask of Redis: commands a push when busy, commands a second when idle.

use std::time::Duration;

use crate::{
    redis_monitor::Monitor,
    redis_server::RedisServer,
    rig::{Chaos, Plan},
};

/// Most commands a push.
const PER_PUSH_MAX: f64 = 0.1;
/// Most commands a second of one idle broker.
const IDLE_PER_SECOND_MAX: usize = 2;
const BROKERS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn brokers_send_a_tenth_of_a_command_a_push_when_busy_and_two_a_second_when_idle() {
    // given brokers and their devices
    const DEVICES: u32 = 6_000;
    const IDLE_SECONDS: usize = 15;
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::start(&Plan {
        devices: DEVICES,
        brokers: BROKERS,
        pace: 3_000,
        in_flight: 64,
        store: &format!("url = \"redis://127.0.0.1:{}\"", redis.port),
    })
    .await;
    chaos.register_all().await;

    // when every device is pushed, and the brokers then have nothing to do
    let monitor = Monitor::of(&redis);
    chaos.push_all().await;
    chaos.until_woken(u64::from(DEVICES)).await;
    let busy = monitor.sent();
    chaos.until_all_closed(0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(monitor.sent());
    tokio::time::sleep(Duration::from_secs(IDLE_SECONDS as u64)).await;
    let idle = monitor.sent();

    for (n, l) in [("busy", &busy), ("idle", &idle)] {
        std::fs::write(
            format!("/tmp/mon-{n}.log"),
            l.iter()
                .map(|l| l.chars().take(300).collect::<String>())
                .collect::<Vec<_>>()
                .join("\n"),
        )
        .unwrap();
    }
    // then both cost little
    let each = busy.len() as f64 / f64::from(DEVICES);
    println!(
        "{each:.3} commands a push, {} of {BROKERS} brokers in {IDLE_SECONDS} idle seconds",
        idle.len()
    );
    assert!(each <= PER_PUSH_MAX, "{each:.3} commands a push");
    let most = IDLE_PER_SECOND_MAX * BROKERS * IDLE_SECONDS;
    assert!(
        !idle.is_empty() && idle.len() <= most,
        "{}: {idle:#?}",
        idle.len()
    );
}
