//! Pushes that are repeated keep to their campaign's cap on open sessions, and wait while the console wants less.

use jiff::SignedDuration;
use reveille::{
    domain::{
        ask::Source,
        campaign::{Campaign, Definition, Pace, Selection, Until},
        id::{CampaignId, TenantId},
    },
    ports::{clock::Clock, documents::Precondition},
    service::slow_down,
};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const DEVICES: usize = 1_000;
const CAP: u64 = 100;

fn campaign() -> CampaignId {
    CampaignId::new("renew").unwrap()
}

/// Writes the campaign with this cap, as a console does.
async fn cap(world: &World, max: Option<u64>) {
    let definition = Definition {
        name: "renew".to_owned(),
        reason: None,
        class: Class::Bulk,
        goal: Goal::CheckIn,
        until: Until::ExpiresIn(10 * HOUR),
        pace: Pace {
            per_second: None,
            open_sessions_max: max,
        },
        waves: Vec::new(),
        selection: Selection::Listed,
    };
    let campaign = Campaign::draft(campaign(), definition, world.clock.now());
    let bytes = serde_json::to_vec(&campaign).unwrap();
    let put = world
        .store
        .put("campaign/a/renew", bytes.into(), Precondition::Any, None);
    put.await.unwrap();
}

/// A world in which all devices have been woken once, and none has come.
async fn woken(max: Option<u64>) -> World {
    let world = World::start(Setup::default(), always(ACCEPTED)).await;
    cap(&world, max).await;
    let request = AskRequest {
        source: Source::Campaign(campaign()),
        goal: Goal::CheckIn,
        deadline: world.clock.now() + SignedDuration::from_hours(10),
        ..world.request(Class::Bulk)
    };
    world.ask("a", 0..DEVICES, &request).await;
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.posts().len(), DEVICES);
    world
}

fn repeated(world: &World) -> Vec<Instant> {
    let mut began: Vec<Instant> = world.posts()[DEVICES..].iter().map(|p| p.began).collect();
    began.sort();
    began
}

/// The most that began within a minute.
fn most_in_a_minute(began: &[Instant]) -> usize {
    let within = |(at, start): (usize, &Instant)| {
        began.partition_point(|other| *other < *start + MINUTE) - at
    };
    began.iter().enumerate().map(within).max().unwrap_or(0)
}

#[test]
fn repushes_open_no_more_sessions_than_the_campaign_may_have() {
    simulate(async {
        let world = woken(Some(CAP)).await;

        tokio::time::sleep(35 * MINUTE).await;

        let began = repeated(&world);
        assert_eq!(began.len(), DEVICES, "each was repeated once by now");
        let most = most_in_a_minute(&began);
        assert!(most <= CAP as usize, "{most} within a minute");
        assert!(most >= CAP as usize * 7 / 10, "{most} within a minute");
    });
}

#[test]
fn without_a_cap_repushes_go_as_soon_as_they_are_due() {
    simulate(async {
        let world = woken(None).await;

        tokio::time::sleep(8 * MINUTE).await;

        let began = repeated(&world);
        assert_eq!(began.len(), DEVICES);
        assert!(most_in_a_minute(&began) > DEVICES / 2);
    });
}

#[test]
fn a_console_that_wants_less_gets_no_repushes_until_then_and_a_cap_that_is_lifted_holds_none_up() {
    simulate(async {
        let world = woken(Some(1)).await;
        let tenant = TenantId::new("a").unwrap();
        let now = world.clock.now();
        let asked = slow_down::ask(&*world.store, &tenant, now, 10 * MINUTE);
        asked.await.unwrap();
        tokio::time::sleep(9 * MINUTE).await;
        assert_eq!(repeated(&world), []);

        tokio::time::sleep(3 * MINUTE).await;
        let few = repeated(&world).len();
        assert!((1..=3).contains(&few), "{few} one at a time");

        cap(&world, None).await;
        tokio::time::sleep(MINUTE).await;
        assert_eq!(repeated(&world).len(), DEVICES);
    });
}
