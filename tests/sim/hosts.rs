//! Hosts that are slow, and hosts that fail: what goes to others goes on, and deadlines are kept.

use std::time::Duration;

use jiff::SignedDuration;
use reveille::{
    domain::{
        ask::Class,
        transition::AskRequest,
        wns::reply::{Outcome, UnavailableKind},
    },
    ports::clock::Clock,
};
use tokio::time::Instant;

use crate::world::{ACCEPTED, Chaos, Post, Setup, World, always, simulate};

/// Devices of the region of which the tests are.
fn is_there(post: &Post) -> bool {
    post.device.device.as_str().ends_with('3')
}

/// Pushes to devices of that region.
async fn push_there(world: &World, count: usize, class: Class) {
    for n in 0..count {
        let device = n * 10 + 3;
        world.push("a", device..device + 1, class).await;
    }
}

/// Pushes to devices of another region.
async fn push_elsewhere(world: &World, count: usize, class: Class) {
    for n in 0..count {
        let device = n * 10 + 4;
        world.push("a", device..device + 1, class).await;
    }
}

#[test]
fn a_slow_region_that_answers_does_not_hold_up_the_others_of_its_kind_or_another() {
    for (slow, others) in [
        (Class::Normal, Class::Normal),
        (Class::Urgent, Class::Normal),
        (Class::Bulk, Class::Urgent),
    ] {
        simulate(async move {
            let script = |post: &Post, _: &Chaos| match is_there(post) {
                true => (Duration::from_secs(6), ACCEPTED),
                false => (Duration::from_millis(20), ACCEPTED),
            };
            let setup = Setup {
                in_flight_max: 16,
                ..Setup::default()
            };
            let world = World::start(setup, Box::new(script)).await;

            push_there(&world, 200, slow).await;
            push_elsewhere(&world, 200, others).await;
            tokio::time::sleep(Duration::from_secs(8)).await;

            let posts = world.posts();
            let elsewhere = posts.iter().filter(|post| !is_there(post)).count();
            assert_eq!(elsewhere, 200, "{slow:?} {others:?}");
            // A quarter of the permits goes on serving the slow one: 200 in 50 rounds of six seconds.
            world.settle(Duration::from_secs(480)).await;
            assert_eq!(world.store.count("closed.accepted"), 400);
            assert_eq!(world.posts().len(), 400);
        });
    }
}

#[test]
fn a_push_to_a_host_that_is_avoided_ends_at_its_deadline() {
    simulate(async {
        let away = Outcome::Unavailable {
            kind: UnavailableKind::Http { status: 503 },
            retry_after: Some(Duration::from_secs(900)),
        };
        let world = World::start(Setup::default(), always(away)).await;
        push_there(&world, 20, Class::Normal).await;
        tokio::time::sleep(Duration::from_secs(10)).await;

        let request = AskRequest {
            deadline: world.clock.now() + SignedDuration::from_secs(20),
            ..world.request(Class::Normal)
        };
        world.ask("a", 1_003..1_004, &request).await;
        tokio::time::sleep(Duration::from_secs(30)).await;

        assert_eq!(world.store.count("closed.expired"), 1);
    });
}

#[test]
fn what_waits_for_its_turn_until_its_deadline_is_not_sent_any_more() {
    const LIFE: Duration = Duration::from_secs(15);
    simulate(async {
        let setup = Setup {
            pace: 0.1,
            ..Setup::default()
        };
        let world = World::start(setup, always(ACCEPTED)).await;
        let began = Instant::now();
        let request = AskRequest {
            deadline: world.clock.now() + SignedDuration::try_from(LIFE).unwrap(),
            ..world.request(Class::Normal)
        };
        world.ask("a", 0..8, &request).await;

        tokio::time::sleep(Duration::from_secs(120)).await;

        let posts = world.posts();
        assert!(posts.iter().all(|post| post.began < began + LIFE));
        assert!((1..8).contains(&posts.len()), "{} were sent", posts.len());
        let sent = i64::try_from(posts.len()).unwrap();
        assert_eq!(world.store.count("closed.accepted"), sent);
        assert_eq!(world.store.count("closed.expired"), 8 - sent);
    });
}

#[test]
fn a_host_that_answers_its_probe_late_is_used_soon_after() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        let reset = Outcome::Unavailable {
            kind: UnavailableKind::Reset,
            retry_after: None,
        };
        *world.wns.script.borrow_mut() = always(reset);
        push_there(&world, 10, Class::Urgent).await;
        tokio::time::sleep(Duration::from_secs(2)).await;

        let late = |_: &Post, _: &Chaos| (Duration::from_secs(3), ACCEPTED);
        *world.wns.script.borrow_mut() = Box::new(late);
        push_there(&world, 200, Class::Urgent).await;
        tokio::time::sleep(Duration::from_secs(45)).await;

        assert_eq!(world.store.count("closed.accepted"), 200);
    });
}
