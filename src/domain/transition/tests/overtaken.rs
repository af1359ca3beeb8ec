//! Notifications whose answer came after the session that they led to.

use super::*;
use crate::domain::{counter::Counter, delay::DelayBucket};

#[test]
fn a_session_that_overtakes_the_reply_leaves_the_attempt_to_its_target() {
    let mut b = Bench::with_channel();
    b.ask(campaign("c1"), Class::Bulk, Goal::CheckIn);
    let claimed = b.record.clone();
    let attempt = b.attempt(at(1), received());
    b.now = at(2);
    b.check_in(at(2));
    assert_eq!(b.effects.closed[0].attempts, 0);
    assert_eq!(b.effects.closed[0].check_in_delay(), None);

    b.now = at(3);
    let before = b.record.clone();
    let credit = |b: &mut Bench| {
        let claimed = claimed.clone();
        b.settle(at(1), received());
        credit_late(&mut b.record, &claimed, &attempt)
    };
    let effects = credit(&mut b);

    let amended = &effects.amended[0];
    assert_eq!((amended.attempts, amended.accepted_at), (1, Some(at(1))));
    assert_eq!(amended.checked_in_at, Some(at(2)));
    assert_eq!(effects.attempted.len(), 1);
    let second = SignedDuration::from_secs(1);
    assert_eq!(effects.delays, [(CampaignId::new("c1").unwrap(), second)]);
    let before = Before {
        revision: Some(Revision(1)),
        record: Some(&before),
    };
    let after = After {
        record: Some(b.record.clone()),
        revision: Revision(2),
        effects,
    };
    let key = DeviceKey::new(b.tenant.clone(), b.device.clone());
    let item = compose(key, before, after, None);
    let id = CampaignId::new("c1").unwrap();
    let counted = (Counter::Delay(id, DelayBucket::of(second)), 1);
    assert!(item.moves.iter().any(|m| *m == counted), "{item:?}");
    assert_eq!(b.closed(), [CloseReason::CheckedIn], "it has ended once");
    assert_eq!(
        credit(&mut b),
        Effects::default(),
        "a repeat credits nothing"
    );
}

#[test]
fn a_session_that_overtakes_the_reply_to_a_repeated_push_came_from_the_first() {
    let mut b = Bench::with_channel();
    b.ask(campaign("c1"), Class::Bulk, Goal::CheckIn);
    b.settle(at(0), received());
    b.now = at(990);
    let claimed = b.record.clone();
    let attempt = b.attempt(b.now, received());
    b.check_in(b.now);
    let ended = b.effects.closed[0].clone();
    assert_eq!(ended.accepted_at, Some(at(0)));

    b.settle(attempt.began_at, received());
    let effects = credit_late(&mut b.record, &claimed, &attempt);

    assert_eq!(effects.amended[0].accepted_at, ended.accepted_at);
    assert_eq!(effects.amended[0].attempts, 2);
    assert_eq!(effects.delays, [], "it has been counted");
}

#[test]
fn a_session_that_overtakes_the_reply_changes_nothing_of_what_had_expired() {
    let mut b = Bench::with_channel();
    b.ask(campaign("c1"), Class::Bulk, Goal::CheckIn);
    b.now = at(9);
    b.ask(campaign("c2"), Class::Bulk, Goal::CheckIn);
    b.now = at(0) + DAY;
    let claimed = b.record.clone();
    let attempt = b.attempt(b.now, received());
    b.now += SignedDuration::from_secs(1);
    b.check_in(b.now);

    b.settle(attempt.began_at, received());
    let credited = credit_late(&mut b.record, &claimed, &attempt).amended;

    let sources: Vec<_> = credited.iter().map(|c| &c.ask.source).collect();
    assert_eq!(sources, [&campaign("c2")]);
}
