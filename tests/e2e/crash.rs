//! kill -9 in the middle: nothing accepted is lost, and repeats are bounded by what was leased.

use std::time::Duration;

use reveille::sandbox::{Behaviour, Delay};

use crate::rig::{Rig, TENANT, until};

const DEVICES: u32 = 20_000;
const KILLS: u64 = 5;
/// In flight for each of two dispatchers.
const IN_FLIGHT: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn every_device_is_woken_although_the_broker_is_killed_again_and_again() {
    // given a fleet of open pushes and a WNS that takes 20 ms
    let behaviour = Behaviour {
        latency: Delay::fixed(Duration::from_millis(20)),
        ..Behaviour::default()
    };
    let mut rig = Rig::new(DEVICES, behaviour);
    rig.extra = format!("[limits]\ndispatchers = 2\nin_flight_max = {IN_FLIGHT}\n");
    rig.start().await;
    rig.register_all().await;
    let opened = rig.push_all("priority=bulk").await;
    assert_eq!(opened["opened"], DEVICES, "{opened}");

    // when the broker is killed at random moments
    let mut arrived = 0;
    for kill in 0..KILLS {
        let more = rand::random_range(1..3_000);
        until("more notifications arrive", async || {
            rig.sandbox.ledger().requests > arrived + more
        })
        .await;
        rig.kill();
        let now = rig.sandbox.ledger().requests;
        eprintln!("kill {kill} after {} notifications", now - arrived);
        arrived = now;
        rig.start().await;
    }
    rig.until_all_closed().await;

    // then every device has been woken, and no more was repeated than was leased
    let ledger = rig.sandbox.ledger();
    assert_eq!(ledger.devices.accepted, u64::from(DEVICES));
    let repeats = ledger.requests - u64::from(DEVICES);
    let leased = KILLS * 2 * IN_FLIGHT;
    assert!(
        repeats <= leased,
        "{repeats} repeats, at most {leased} were leased at the kills"
    );
    assert!(
        ledger.violations.values().all(|n| *n == 0),
        "{:?}",
        ledger.violations
    );
    let tenant = rig.get(&format!("/v1/tenants/{TENANT}")).await;
    // Some devices checked in before the broker that had woken them could note it.
    let closed = |reason: &str| tenant["closed"][reason].as_u64().unwrap();
    assert_eq!(
        closed("accepted") + closed("checked_in"),
        u64::from(DEVICES),
        "{tenant}"
    );
}
