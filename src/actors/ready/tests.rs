//! What is offered to a plan, and when.

use super::*;
use crate::domain::{
    id::TenantId,
    queue::{Flow, Lane},
};

const PLACE: Place = Place { app: 0, share: 1 };

fn queue(tenant: &str) -> Queue {
    Queue {
        tenant: TenantId::new(tenant).unwrap(),
        lane: Lane::Normal,
        flow: Flow::Direct,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn due(view: &ReadyView, seconds: i64) -> Vec<String> {
    let (offers, _) = view.due(at(seconds), |_, _| true);
    offers
        .iter()
        .map(|offer| offer.queue.tenant.to_string())
        .collect()
}

fn view(queues: &[(&str, i64)]) -> Arc<ReadyView> {
    let view = ReadyView::new(2);
    for (tenant, earliest) in queues {
        view.announce(queue(tenant), at(*earliest), PLACE);
    }
    view
}

#[test]
fn queues_are_offered_when_they_are_due_longest_due_first() {
    let view = view(&[("b", 20), ("a", 10), ("c", 30)]);
    assert_eq!(due(&view, 9), [""; 0]);
    assert_eq!(due(&view, 20), ["a", "b"]);
    assert_eq!(view.due(at(20), |_, _| true).1, Some(at(30)));
}

#[test]
fn a_queue_that_is_being_claimed_is_left_alone_until_it_shows_to_be_deep() {
    let view = view(&[("a", 0)]);
    let first = view.claiming(&Arc::new(queue("a")));
    assert_eq!(due(&view, 1), [""; 0]);
    first.found(Found::Full);
    let _second = view.claiming(&Arc::new(queue("a")));
    assert_eq!(due(&view, 1), ["a"]);
}

#[test]
fn an_exhausted_queue_is_dropped_until_it_is_announced_again() {
    let view = view(&[("a", 0)]);
    view.claiming(&Arc::new(queue("a"))).found(Found::Exhausted);
    assert_eq!(due(&view, 100), [""; 0]);
    view.announce(queue("a"), at(50), PLACE);
    assert_eq!(due(&view, 100), ["a"]);
}

#[test]
fn an_announcement_during_a_claim_is_not_lost() {
    let view = view(&[("a", 0)]);
    let claiming = view.claiming(&Arc::new(queue("a")));
    view.announce(queue("a"), at(5), PLACE);
    claiming.found(Found::Exhausted);
    assert_eq!(due(&view, 5), ["a"]);
}

#[test]
fn a_claim_that_came_to_nothing_leaves_the_queue_due() {
    let view = view(&[("a", 0)]);
    drop(view.claiming(&Arc::new(queue("a"))));
    assert_eq!(due(&view, 0), ["a"]);
}

#[test]
fn a_new_look_replaces_all_but_what_was_announced_since() {
    let view = view(&[("old", 0), ("kept", 0)]);
    let look = view.look();
    view.announce(queue("new"), at(1), PLACE);
    view.replace(look, vec![(queue("kept"), at(2), PLACE)]);
    assert_eq!(due(&view, 9), ["new", "kept"]);
}

#[test]
fn however_many_wait_for_one_app_and_lane_the_others_are_seen_at_once() {
    let view = ReadyView::new(1);
    for n in 0..3_000 {
        view.announce(queue(&format!("t{n}")), at(0), PLACE);
    }
    let urgent = Queue {
        lane: Lane::Urgent,
        ..queue("t7")
    };
    view.announce(urgent.clone(), at(9), PLACE);
    let other = Place { app: 1, share: 1 };
    view.announce(queue("other"), at(9), other);

    let (offers, _) = view.due(at(9), |_, _| true);
    assert!(offers.iter().any(|offer| *offer.queue == urgent));
    assert!(offers.iter().any(|offer| offer.place == other));
    let (offers, _) = view.due(at(9), |app, _| app == 1);
    assert_eq!(offers.len(), 1);
}

#[test]
fn more_queues_than_a_plan_looks_at_have_their_turns() {
    let view = ReadyView::new(1);
    let count = 2 * OFFERS_MAX + 7;
    for n in 0..count {
        view.announce(queue(&format!("t{n}")), at(0), PLACE);
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let offered = due(&view, 1);
        assert_eq!(offered.len(), OFFERS_MAX);
        seen.extend(offered);
    }
    assert_eq!(seen.len(), count);
}
