//! The cap on open sessions: what it does to the estimate, and to pushes that are repeated.

use reveille::{
    domain::{
        ask::Goal,
        campaign::{Selection, State},
        id::CampaignId,
    },
    service::campaign::Report,
};

use super::world::{World, definition, local};

async fn capped(world: &World, sessions: u64, targets: usize) -> CampaignId {
    let mut capped = definition(Selection::Listed, Goal::CheckIn);
    capped.pace.open_sessions_max = Some(sessions);
    world.started(capped, targets).await
}

#[tokio::test(start_paused = true)]
async fn the_estimate_knows_the_cap_and_how_soon_devices_have_come_so_far() {
    local(async {
        let world = World::new(100).await;
        let id = capped(&world, 20, 100).await;
        let left = |report: &Report| {
            let by = report.released_by.expect("it runs");
            by.duration_since(world.now()).as_secs()
        };
        let _shift = world.shift(&id);

        // Nobody has come yet, so each twenty may take as long as sessions are counted.
        let begun = world.until(&id, |r| r.counts.released() == 20).await;
        assert_eq!(left(&begun), 3 * 70);

        let woken = world.accept_open(&id).await;
        world.pass(5);
        for n in woken {
            world.check_in(n).await;
        }
        let going = world.until(&id, |r| r.counts.released() == 40).await;
        assert_eq!(left(&going), 2 * 5);
        assert_eq!(going.campaign.state, State::Running);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_push_counts_as_an_open_session_until_its_device_comes_or_its_minute_is_over() {
    let world = World::new(3).await;
    let id = capped(&world, 20, 3).await;
    local(async {
        let _shift = world.shift(&id);
        world.until(&id, |r| r.counts.open == 3).await;
    })
    .await;
    let open = async || world.report(&id).await.counts.sessions(world.now());
    for n in 0..3 {
        world.accept(n).await;
    }
    assert_eq!(open().await, 3);
    world.pass(900);
    assert_eq!(open().await, 0);

    for n in 0..2 {
        world.accept(n).await;
    }
    assert_eq!(open().await, 2);
    world.pass(5);
    world.check_in(0).await;
    assert_eq!(open().await, 1);
    world.pass(75);
    assert_eq!(open().await, 0);

    // One that comes late makes no room that was not taken.
    world.pass(5);
    world.check_in(1).await;
    world.accept(2).await;
    assert_eq!(open().await, 1);
    let counters = world.store.counters(&world.tenant, "campaign.").await;
    let negative = counters.unwrap().into_iter().find(|(_, count)| *count < 0);
    assert_eq!(negative, None);
}
