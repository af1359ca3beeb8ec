//! What whole brokers ask of Redis: commands a push when busy, commands a second when idle.

use std::time::{Duration, Instant};

use crate::{
    redis_monitor::Monitor,
    redis_server::RedisServer,
    rig::{Chaos, Plan, TENANT},
};

const BROKERS: usize = 2;
/// Tenants beside the one whose devices are pushed.
const TENANTS: usize = 60;
/// Most commands a push.
const PER_PUSH_MAX: f64 = 0.1;
/// Most commands a second of one idle broker.
const IDLE_MAX: f64 = 2.0;
/// Most commands a second of one busy broker, however little a slow machine lets it do: shares, looks, samples.
const BESIDES_MAX: f64 = 5.0;

#[tokio::test(flavor = "multi_thread")]
async fn brokers_send_a_tenth_of_a_command_a_push_when_busy_and_two_a_second_when_idle() {
    // given brokers and their devices, and a pace that lets claims be large
    const DEVICES: u32 = 12_000;
    let redis = RedisServer::start(&[]);
    let tenant = |id: String| format!("[[tenants]]\nid = \"{id}\"\napp = \"{TENANT}\"\n");
    let others = (0..TENANTS).map(|n| format!("{TENANT}-{n}"));
    let tenants: String = others
        .clone()
        .chain([TENANT.to_owned()])
        .map(tenant)
        .collect();
    let chaos = Chaos::start(&Plan {
        devices: DEVICES,
        brokers: BROKERS,
        pace: 20_000,
        in_flight: 128,
        store: &format!("url = \"redis://127.0.0.1:{}\"\n{tenants}", redis.port),
    })
    .await;
    chaos.register_all().await;
    for tenant in others {
        chaos.register_one_of(&tenant).await;
    }

    // when every device is pushed, and the brokers then have nothing to do
    let (monitor, begun) = (Monitor::of(&redis), Instant::now());
    chaos.push_all().await;
    chaos.until_woken(u64::from(DEVICES)).await;
    let (busy, took) = (monitor.sent().len(), begun.elapsed());
    chaos.until_all_closed(0).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let begun = Instant::now();
    drop(monitor.sent());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (idle, rested) = (monitor.sent(), begun.elapsed());

    // then both cost little
    let besides = BESIDES_MAX * BROKERS as f64 * took.as_secs_f64();
    let each = (busy as f64 - besides) / f64::from(DEVICES);
    let a_second = idle.len() as f64 / rested.as_secs_f64() / BROKERS as f64;
    println!(
        "{busy} commands for {DEVICES} pushes in {took:?}: {each:.3} each; idle {a_second:.2} a second"
    );
    assert!(each <= PER_PUSH_MAX, "{each:.3} commands a push");
    assert!(
        a_second > 0.0 && a_second <= IDLE_MAX,
        "{a_second:.2}: {idle:#?}"
    );
}
