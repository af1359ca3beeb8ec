//! What whole brokers ask of Redis: commands a push when busy, commands a second when idle.

use std::time::{Duration, Instant};

use crate::{
    redis_cluster::RedisCluster,
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
/// Time in which what came before is finished with.
const SETTLING: Duration = Duration::from_secs(6);
/// Time in which the commands of idle brokers are counted: that of the rarest look.
const RESTING: Duration = Duration::from_secs(30);

/// Brokers that have registered and pushed devices of many tenants.
async fn start(store: &str, devices: u32) -> Chaos {
    let tenant = |id: String| format!("[[tenants]]\nid = \"{id}\"\napp = \"{TENANT}\"\n");
    let others = (0..TENANTS).map(|n| format!("{TENANT}-{n}"));
    let tenants: String = others
        .clone()
        .chain([TENANT.to_owned()])
        .map(tenant)
        .collect();
    let chaos = Chaos::start(&Plan {
        devices,
        brokers: BROKERS,
        pace: 20_000,
        in_flight: 128,
        store: &format!("{store}\n{tenants}"),
    })
    .await;
    chaos.register_all().await;
    for tenant in others {
        chaos.register_one_of(&tenant).await;
    }
    chaos
}

/// What comes to these servers from brokers that have nothing to do, and how much that is a second and broker.
async fn idle(chaos: &Chaos, monitors: &[Monitor]) -> (Vec<String>, f64) {
    chaos.until_all_closed(0).await;
    tokio::time::sleep(SETTLING).await;
    let begun = Instant::now();
    monitors.iter().for_each(|monitor| drop(monitor.sent()));
    tokio::time::sleep(RESTING).await;
    let (sent, rested) = (monitors.iter().flat_map(Monitor::sent), begun.elapsed());
    let sent: Vec<String> = sent.collect();
    let a_second = sent.len() as f64 / rested.as_secs_f64() / BROKERS as f64;
    (sent, a_second)
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_send_a_tenth_of_a_command_a_push_when_busy_and_two_a_second_when_idle() {
    // given brokers and their devices, and a pace that lets claims be large
    const DEVICES: u32 = 12_000;
    let redis = RedisServer::start(&[]);
    let store = format!("url = \"redis://127.0.0.1:{}\"", redis.port);
    let chaos = start(&store, DEVICES).await;

    // when every device is pushed, and the brokers then have nothing to do
    let (monitor, begun) = (Monitor::of(&redis), Instant::now());
    chaos.push_all().await;
    chaos.until_woken(u64::from(DEVICES)).await;
    let (busy, took) = (monitor.sent().len(), begun.elapsed());
    let (sent, a_second) = idle(&chaos, &[monitor]).await;

    // then both cost little
    let besides = BESIDES_MAX * BROKERS as f64 * took.as_secs_f64();
    let each = (busy as f64 - besides) / f64::from(DEVICES);
    println!(
        "{busy} commands for {DEVICES} pushes in {took:?}: {each:.3} each; idle {a_second:.2} a second"
    );
    assert!(each <= PER_PUSH_MAX, "{each:.3} commands a push");
    assert!(
        a_second > 0.0 && a_second <= IDLE_MAX,
        "{a_second:.2}: {sent:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_brokers_send_a_cluster_two_commands_a_second_whatever_the_number_of_shards() {
    // given brokers over a cluster, in whose 64 shards there are devices
    const DEVICES: u32 = 500;
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\ntopology = \"cluster\"",
        cluster.masters[0].port
    );
    let chaos = start(&store, DEVICES).await;
    chaos.push_all().await;
    chaos.until_woken(u64::from(DEVICES)).await;

    // when they have nothing to do
    let monitors: Vec<Monitor> = cluster.masters.iter().map(Monitor::of).collect();
    let (sent, a_second) = idle(&chaos, &monitors).await;

    // then they ask for little
    println!("idle on a cluster: {a_second:.2} a second");
    assert!(
        a_second > 0.0 && a_second <= IDLE_MAX,
        "{a_second:.2}: {sent:#?}"
    );
}
