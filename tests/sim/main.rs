//! The real actors on paused time, with a WNS and a token endpoint that follow a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod away;
mod hosts;
mod sessions;
mod store;
mod waves;
mod world;

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use reveille::domain::{
    app_state::AppState,
    ask::{Class, Goal},
    channel::ChannelKind,
    id::AppId,
    transition::AskRequest,
    wns::reply::{ChannelRefusal, Outcome, UnavailableKind},
};
use reveille::ports::documents::Documents;
use tokio::time::Instant;

use store::state_document;
use world::{ACCEPTED, Odds, Post, Setup, World, always, moody, simulate};

const HOUR: Duration = Duration::from_hours(1);

/// No second holds more starts than the pace, save for the limiter's small burst.
fn assert_paced(posts: &[Post], per_second: f64) {
    let burst = (per_second * 0.02).ceil() + 1.0;
    let mut began: Vec<Instant> = posts.iter().map(|post| post.began).collect();
    began.sort();
    for (at, start) in began.iter().enumerate() {
        let end = began.partition_point(|other| *other < *start + Duration::from_secs(1));
        assert!(
            (end - at) as f64 <= per_second + burst,
            "{} starts in a second",
            end - at
        );
    }
}

#[test]
fn every_device_is_woken_once_and_every_permit_comes_back() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;

        world.push("a", 0..1_000, Class::Bulk).await;
        world.settle(Duration::from_secs(10)).await;

        let posts = world.posts();
        let woken: HashSet<_> = posts.iter().map(|post| post.device.clone()).collect();
        assert_eq!((posts.len(), woken.len()), (1_000, 1_000));
        assert_paced(&posts, 500.0);
        assert_eq!(world.store.count("closed.accepted"), 1_000);
        assert_eq!(world.tokens[0].fetches.lock().unwrap().len(), 1);
        assert_eq!(world.actors.drain(Duration::from_secs(1)).await, 0);
    });
}

#[test]
fn a_slow_pace_is_used_up_and_not_exceeded() {
    for pace in [0.5, 2.0, 10.0, 40.0] {
        simulate(async {
            let setup = Setup {
                pace,
                ..Setup::default()
            };
            let world = World::start(setup, always(ACCEPTED)).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.push("a", 0..5_000, Class::Bulk).await;

            tokio::time::sleep(Duration::from_secs(100)).await;

            let posts = world.posts();
            assert_paced(&posts, pace);
            let sent = posts.len() as f64 / 100.0;
            assert!(sent >= pace * 0.9, "{sent} a second at a pace of {pace}");
        });
    }
}

#[test]
fn an_idle_broker_sends_an_urgent_push_within_five_milliseconds() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;

        let mut slowest = Duration::ZERO;
        for n in 0..50 {
            world.push("a", n..n + 1, Class::Urgent).await;
            let opened = Instant::now();
            world.settle(Duration::from_secs(5)).await;
            let began = world.posts().last().unwrap().began;
            slowest = slowest.max(began.saturating_duration_since(opened));
            tokio::time::sleep(Duration::from_secs(3)).await;
        }

        assert!(slowest <= Duration::from_millis(5), "{slowest:?}");
    });
}

#[test]
fn an_urgent_push_overtakes_a_bulk_run() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        world.push("a", 0..5_000, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(2)).await;

        let mut slowest = Duration::ZERO;
        for n in 10_000..10_020 {
            world.push("a", n..n + 1, Class::Urgent).await;
            let opened = Instant::now();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let device = world.device("a", n);
            let began = world
                .posts()
                .iter()
                .find(|post| post.device == device)
                .unwrap()
                .began;
            slowest = slowest.max(began.saturating_duration_since(opened));
        }

        assert!(slowest <= Duration::from_millis(25), "{slowest:?}");
    });
}

#[test]
fn an_attempt_whose_commit_was_applied_and_its_answer_lost_is_settled_once_and_confirmed() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        let request = AskRequest {
            goal: Goal::CheckIn,
            ..world.request(Class::Normal)
        };
        let lossy = Odds {
            store_fails: 0.1,
            answer_lost: 0.5,
            ..Odds::default()
        };
        world.chaos.set(lossy);
        world.ask("a", 0..200, &request).await;

        tokio::time::sleep(Duration::from_mins(3)).await;
        // Claims whose answer was lost come back when their leases have ended.
        world.chaos.set(Odds::default());
        tokio::time::sleep(Duration::from_mins(3)).await;

        let posts = world.posts();
        for n in 0..200 {
            let device = world.device("a", n);
            let made = posts.iter().filter(|post| post.device == device).count();
            let noted = world.store.record(&device).unwrap().push.unwrap().attempts;
            assert_eq!((made, noted), (1, 1), "{device:?}");
        }
        assert_eq!(world.store.doubtful(), 0);
    });
}

#[test]
fn whatever_happens_every_ask_ends_in_exactly_one_state() {
    for seed in 1..=4 {
        simulate(async {
            let odds = Odds {
                panic: 0.002,
                store_fails: 0.02,
                answer_lost: 0.01,
            };
            let setup = Setup {
                seed,
                apps: vec!["a", "b"],
                token_outages: 0.3,
                ..Setup::default()
            };
            let world = World::start(setup, moody()).await;
            world.push("a", 0..300, Class::Bulk).await;
            world.chaos.set(odds);
            world.push("b", 0..300, Class::Normal).await;
            world.push("a", 300..320, Class::Urgent).await;

            world.settle(4 * HOUR).await;

            world.chaos.set(Odds::default());
            assert!(
                world.chaos.panics.load(Ordering::Relaxed) > 0,
                "seed {seed} had no panic"
            );
            assert_eq!(world.store.count("closed."), 620, "seed {seed}");
            assert_eq!(world.store.count("pushes."), 0, "seed {seed}");
            assert_eq!(world.wns.to_dead.borrow().len(), 0, "seed {seed}");
            let posts = world.posts();
            for app in ["a", "b"] {
                let of_app: Vec<Post> = posts
                    .iter()
                    .filter(|p| p.device.tenant.as_str() == app)
                    .cloned()
                    .collect();
                assert_paced(&of_app, 500.0);
            }
            let overlapped = world
                .tokens
                .iter()
                .any(|t| t.overlapped.load(Ordering::SeqCst));
            assert!(!overlapped, "seed {seed}");
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert_eq!(
                world.actors.drain(Duration::from_secs(30)).await,
                0,
                "seed {seed}"
            );
            assert_eq!(world.store.leased(), 0, "seed {seed}");
        });
    }
}

#[test]
fn a_throttled_app_pauses_for_as_long_as_wns_asks_and_the_other_goes_on() {
    simulate(async {
        let setup = Setup {
            apps: vec!["a", "b"],
            ..Setup::default()
        };
        let script = |post: &Post, _: &world::Chaos| {
            let throttled = post.device.tenant.as_str() == "a"
                && post.token == "t1"
                && post.began.elapsed() == Duration::ZERO;
            let outcome = if throttled {
                Outcome::AppThrottled {
                    retry_after: Duration::from_secs(900),
                }
            } else {
                ACCEPTED
            };
            (Duration::from_millis(20), outcome)
        };
        let world = World::start(setup, Box::new(script)).await;

        let began = Instant::now();
        world.push("a", 0..2_000, Class::Bulk).await;
        world.push("b", 0..2_000, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(10)).await;

        let posts = world.posts();
        let of = |app: &str| {
            posts
                .iter()
                .filter(|p| p.device.tenant.as_str() == app)
                .count()
        };
        assert_eq!(of("b"), 2_000);
        assert!(
            of("a") <= 64,
            "{} went out before the first answer",
            of("a")
        );
        *world.wns.script.borrow_mut() = always(ACCEPTED);
        tokio::time::sleep(Duration::from_secs(880)).await;
        assert_eq!(world.posts().len(), posts.len());
        world.settle(HOUR).await;
        let first = world.posts()[posts.len()].began - began;
        assert!((900..905).contains(&first.as_secs()), "{first:?}");
        let paced: Vec<Post> = world.posts().split_off(posts.len());
        // Cut to 70 %, and grown again to no more than 85 % within the hour.
        assert_paced(&paced, 425.0);
        let second =
            paced.partition_point(|post| post.began < paced[0].began + Duration::from_secs(1));
        assert!(second <= 358, "{second}");
        assert_eq!(world.store.events("app.throttled").len(), 1);
        assert_eq!(world.store.events("app.resumed").len(), 1);
        let state = world
            .store
            .get(&state_document(&AppId::new("a").unwrap()))
            .await
            .unwrap()
            .unwrap();
        let state: AppState = serde_json::from_slice(&state.bytes).unwrap();
        assert!(state.limit.is_some());
    });
}

#[test]
fn a_refused_token_is_renewed_once_for_all_and_each_push_is_sent_once_more() {
    simulate(async {
        let script = |post: &Post, _: &world::Chaos| {
            let outcome = if post.token == "t1" {
                Outcome::TokenRefused
            } else {
                ACCEPTED
            };
            (Duration::from_millis(20), outcome)
        };
        let world = World::start(Setup::default(), Box::new(script)).await;

        world.push("a", 0..500, Class::Bulk).await;
        world.settle(Duration::from_secs(200)).await;

        let posts = world.posts();
        let refused = posts
            .iter()
            .filter(|post| post.outcome == Outcome::TokenRefused)
            .count();
        assert!(refused <= 64, "{refused} went out with the refused token");
        assert_eq!(posts.len() - refused, 500);
        assert_eq!(world.tokens[0].fetches.lock().unwrap().len(), 2);
        assert_eq!(world.store.count("closed.accepted"), 500);
    });
}

#[test]
fn an_app_whose_fresh_tokens_are_refused_is_held_and_probed_with_single_requests() {
    simulate(async {
        let world = World::start(Setup::default(), always(Outcome::TokenRefused)).await;

        let began = Instant::now();
        world.push("a", 0..500, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(290)).await;
        let before = world.posts().len();
        assert!(before <= 128, "{before}");
        tokio::time::sleep(Duration::from_secs(3_600)).await;

        let probes: Vec<u64> = world.posts()[before..]
            .iter()
            .map(|post| (post.began - began).as_secs() / 60)
            .collect();
        let times: BTreeMap<u64, usize> =
            probes.iter().fold(BTreeMap::new(), |mut times, minute| {
                *times.entry(*minute).or_insert(0) += 1;
                times
            });
        // One probe is one push, sent at most twice: with the token, and with a renewed one.
        assert!(
            times.len() <= 4 && times.values().all(|n| *n <= 2),
            "{times:?}"
        );
        *world.wns.script.borrow_mut() = always(ACCEPTED);
        world.settle(2 * HOUR).await;
        assert_eq!(world.store.events("app.held").len(), 1);
        assert_eq!(world.store.events("app.resumed").len(), 1);
    });
}

#[test]
fn a_dead_region_does_not_hold_up_the_others() {
    simulate(async {
        let script = |post: &Post, _: &world::Chaos| {
            if post.device.device.as_str().ends_with("3") {
                let kind = UnavailableKind::Timeout;
                return (
                    Duration::from_secs(15),
                    Outcome::Unavailable {
                        kind,
                        retry_after: None,
                    },
                );
            }
            (Duration::from_millis(20), ACCEPTED)
        };
        let world = World::start(Setup::default(), Box::new(script)).await;

        world.push("a", 0..3_000, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(30)).await;

        assert_eq!(world.store.count("closed.accepted"), 2_700);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let to_dead = world
            .posts()
            .iter()
            .filter(|p| p.device.device.as_str().ends_with("3"))
            .count();
        assert!(
            to_dead <= 200,
            "{to_dead} requests to a host that does not answer"
        );
    });
}

#[test]
fn a_refused_credential_stops_the_app_until_it_is_mended() {
    simulate(async {
        let setup = Setup {
            token_life: Duration::from_secs(600),
            ..Setup::default()
        };
        let world = World::start(setup, always(ACCEPTED)).await;
        world.tokens[0].refuses.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(700)).await;

        world.push("a", 0..10, Class::Normal).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.posts().len(), 0);
        assert!(
            world.actors.status()[0]
                .trouble()
                .unwrap()
                .contains("invalid_client")
        );

        world.tokens[0].refuses.store(false, Ordering::SeqCst);
        assert!(world.actors.refresh_token(&AppId::new("a").unwrap()));
        world.settle(Duration::from_secs(10)).await;
        assert_eq!(world.actors.status()[0].trouble(), None);
    });
}

#[test]
fn tokens_are_renewed_once_a_life() {
    simulate(async {
        let setup = Setup {
            token_life: Duration::from_secs(3_600),
            ..Setup::default()
        };
        let world = World::start(setup, always(ACCEPTED)).await;

        tokio::time::sleep(HOUR).await;

        let fetches = world.tokens[0].fetches.lock().unwrap().len();
        // The first one, and one ahead of its end.
        assert_eq!(fetches, 2);
    });
}

#[test]
fn while_the_store_fails_outcomes_are_kept_and_nothing_is_repeated() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        world.push("a", 0..300, Class::Bulk).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.chaos.set(Odds {
            store_fails: 1.0,
            ..Odds::default()
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.chaos.set(Odds::default());

        world.settle(Duration::from_secs(100)).await;

        assert_eq!(world.posts().len(), 300);
        assert_eq!(world.store.count("closed.accepted"), 300);
    });
}

#[test]
fn draining_finishes_what_is_on_the_wire_and_gives_the_rest_back() {
    simulate(async {
        let script = |_: &Post, _: &world::Chaos| (Duration::from_secs(2), ACCEPTED);
        let world = World::start(Setup::default(), Box::new(script)).await;
        world.push("a", 0..1_000, Class::Bulk).await;
        tokio::time::sleep(Duration::from_millis(500)).await;

        assert_eq!(world.actors.drain(Duration::from_secs(5)).await, 0);

        let posts = world.posts().len();
        assert!(posts <= 128, "{posts}");
        assert_eq!(world.store.count("closed.accepted"), posts as i64);
        assert_eq!(world.store.leased(), 0);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.posts().len(), posts);
    });
}
