//! Whose turn it is, in small and over long runs.

use std::collections::BTreeMap;

use super::*;
use crate::actors::ready::Place;

const PLENTY: Permits = Permits {
    free: 1_000,
    reserved: 100,
};

fn offer(name: &str) -> Offer {
    let queue: Queue = name.parse().unwrap();
    Offer {
        queue: Arc::new(queue),
        place: Place { app: 0, share: 1 },
    }
}

fn offers(names: &[&str]) -> Vec<Offer> {
    names.iter().map(|name| offer(name)).collect()
}

fn room(n: usize) -> Room {
    Room {
        urgent: n,
        first: n,
        repush: n,
        first_wait: false,
    }
}

fn text(plan: &[Share]) -> Vec<String> {
    plan.iter()
        .map(|share| format!("{} {}", share.queue, share.limit))
        .collect()
}

/// Serves queues that never run dry, and counts who got how much.
fn serve(offers: &[Offer], room: Room, turns: usize) -> BTreeMap<String, usize> {
    let mut fair = Fair::default();
    let mut served = BTreeMap::new();
    for turn in 0..turns {
        for share in plan(offers, &[room], PLENTY, &fair, turn) {
            let weight = offers
                .iter()
                .find(|o| o.queue == share.queue)
                .unwrap()
                .place
                .share;
            fair.charge(&share.queue, share.limit, weight);
            *served.entry(share.queue.to_string()).or_default() += share.limit;
        }
    }
    served
}

#[test]
fn urgent_comes_before_normal_before_bulk() {
    let due = offers(&["a:bulk:direct", "a:normal:direct", "a:urgent:direct"]);
    let plan = plan(&due, &[room(1)], PLENTY, &Fair::default(), 0);
    assert_eq!(text(&plan), ["a:urgent:direct 1", "a:normal:direct 1"]);
}

#[test]
fn repushes_get_a_tenth_while_first_pushes_wait() {
    let due = offers(&["a:repush:direct", "a:normal:direct"]);
    let both = plan(&due, &[room(100)], PLENTY, &Fair::default(), 0);
    assert_eq!(text(&both), ["a:normal:direct 100", "a:repush:direct 10"]);
    let alone = plan(&due[..1], &[room(100)], PLENTY, &Fair::default(), 0);
    assert_eq!(text(&alone), ["a:repush:direct 100"]);
    let behind = Room {
        first_wait: true,
        ..room(100)
    };
    let behind = plan(&due[..1], &[behind], PLENTY, &Fair::default(), 0);
    assert_eq!(text(&behind), ["a:repush:direct 10"]);
}

#[test]
fn the_last_permits_are_kept_for_urgent_pushes() {
    let due = offers(&["a:bulk:direct", "a:urgent:direct"]);
    let permits = Permits {
        free: 100,
        reserved: 100,
    };
    let plan = plan(&due, &[room(50)], permits, &Fair::default(), 0);
    assert_eq!(text(&plan), ["a:urgent:direct 45"]);
}

#[test]
fn timers_need_no_room_and_take_a_quarter_of_the_permits_at_most() {
    let due = offers(&["a:timer:direct"]);
    let plan = plan(
        &due,
        &[room(0)],
        Permits {
            free: 100,
            reserved: 10,
        },
        &Fair::default(),
        0,
    );
    assert_eq!(text(&plan), ["a:timer:direct 25"]);
}

#[test]
fn an_app_without_room_gets_nothing_and_does_not_hold_up_the_other() {
    let mut due = offers(&["a:urgent:direct", "a:bulk:direct", "b:bulk:direct"]);
    due[2].place.app = 1;
    let plan = plan(
        &due,
        &[Room::default(), room(5)],
        PLENTY,
        &Fair::default(),
        0,
    );
    assert_eq!(text(&plan), ["b:bulk:direct 5"]);
}

#[test]
fn tenants_are_served_by_their_weights_whatever_their_campaigns() {
    let mut due = offers(&[
        "big:bulk:c/1",
        "big:bulk:c/2",
        "big:bulk:c/3",
        "small:bulk:direct",
    ]);
    due[3].place.share = 2;
    let served = serve(&due, room(1), 3_000);
    let big: usize = served
        .iter()
        .filter(|(name, _)| name.starts_with("big"))
        .map(|(_, n)| n)
        .sum();
    assert!((990..=1_010).contains(&big), "{served:?}");
    assert!(served.values().all(|n| *n >= 330), "{served:?}");
}

#[test]
fn a_tenant_with_normal_pushes_does_not_starve_one_with_bulk_ones() {
    let served = serve(
        &offers(&["a:normal:direct", "b:bulk:direct"]),
        room(1),
        1_000,
    );
    assert!(served.values().all(|n| *n == 500), "{served:?}");
}

#[test]
fn a_tenant_that_was_away_does_not_save_up_its_turns() {
    let mut fair = Fair::default();
    let (a, b) = (offer("a:bulk:direct"), offer("b:bulk:direct"));
    fair.charge(&a.queue, 1_000, 1);
    fair.charge(&a.queue, 1, 1);
    let mut served = BTreeMap::new();
    for turn in 0..100 {
        for share in plan(&[a.clone(), b.clone()], &[room(1)], PLENTY, &fair, turn) {
            fair.charge(&share.queue, share.limit, 1);
            *served.entry(share.queue.tenant.to_string()).or_insert(0) += share.limit;
        }
    }
    assert!(served["b"] - served["a"] <= 2, "{served:?}");
}

#[test]
fn urgent_pushes_without_end_leave_a_tenth_for_the_rest() {
    let due = offers(&["a:urgent:direct", "b:bulk:direct"]);
    let plan = plan(
        &due,
        &[room(100)],
        Permits {
            free: 100,
            reserved: 10,
        },
        &Fair::default(),
        0,
    );
    let bulk: usize = plan
        .iter()
        .filter(|s| s.queue.lane == Lane::Bulk)
        .map(|s| s.limit)
        .sum();
    assert_eq!(text(&plan)[0], "a:urgent:direct 90");
    assert_eq!(
        bulk, 0,
        "the permits that are left are kept for urgent ones"
    );
    let plan = super::plan(&due, &[room(100)], PLENTY, &Fair::default(), 0);
    assert_eq!(text(&plan), ["a:urgent:direct 90", "b:bulk:direct 100"]);
}
