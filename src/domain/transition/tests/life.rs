//! The life of a push, case by case.

use super::*;

#[test]
fn an_accepted_notification_closes_the_ask_and_the_push() {
    let mut b = Bench::with_channel();
    assert_eq!(b.direct(Goal::Accepted), Opened::Opened);
    assert_eq!(b.place(), Some((Lane::Normal, Flow::Direct, at(0))));
    assert_eq!(b.review(), Verdict::Send);

    b.settle(at(0), received());

    assert_eq!(b.closed(), [CloseReason::Accepted]);
    assert_eq!(b.record.push, None);
    assert_eq!(b.place(), None);
    assert_eq!(b.events(), ["channel.registered", "push.closed"]);
    assert_eq!(b.record.closed.unwrap().attempts, 1);
}

#[test]
fn a_check_in_goal_waits_for_the_session_and_is_pushed_again_until_then() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.settle(at(0), received());
    let quarter_and_jitter = at(990);
    assert_eq!(
        b.place(),
        Some((Lane::Repush, Flow::Direct, quarter_and_jitter))
    );

    b.now = at(60);
    b.check_in(at(59));

    assert_eq!(b.closed(), [CloseReason::CheckedIn]);
    assert_eq!(
        b.effects.closed[0].check_in_delay(),
        Some(SignedDuration::from_secs(59))
    );
    assert_eq!(b.place(), None);
}

#[test]
fn a_notification_held_by_wns_is_not_repeated_before_its_ttl() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.settle(
        at(0),
        Outcome::Accepted {
            cached: true,
            stated: true,
        },
    );
    assert_eq!(b.place(), Some((Lane::Repush, Flow::Direct, at(3_600))));
}

#[test]
fn a_session_older_than_the_ask_closes_nothing_but_skew_is_forgiven() {
    let mut b = Bench::with_channel();
    b.now = at(100);
    b.direct(Goal::CheckIn);
    b.check_in(at(94));
    assert_eq!(b.closed(), []);
    b.check_in(at(95));
    assert_eq!(b.closed(), [CloseReason::CheckedIn]);
}

#[test]
fn a_session_that_began_after_the_deadline_came_too_late_though_nobody_had_looked() {
    let deadline = at(0) + DAY;
    let second = SignedDuration::from_secs(1);
    let asked = || {
        let mut b = Bench::with_channel();
        b.ask(campaign("c1"), Class::Bulk, Goal::CheckIn);
        b.now = at(9);
        b.direct(Goal::CheckIn);
        b.now = deadline + second * 2;
        b
    };
    let unsent = CloseReason::Expired(ExpiryCause::NotSent);
    for (began, reasons) in [
        (deadline - second, [CloseReason::CheckedIn; 2]),
        (deadline, [CloseReason::CheckedIn; 2]),
        (deadline + second, [unsent, CloseReason::CheckedIn]),
    ] {
        let mut b = asked();
        b.check_in(began);
        assert_eq!(b.closed(), reasons, "{began}");
        assert_eq!(b.record.last_check_in, Some(began));
    }
}

#[test]
fn an_ask_from_the_future_was_opened_by_now_and_only_a_session_of_now_counts_for_it() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.now = at(-3_600);
    b.check_in(at(-3_606));
    assert_eq!(b.closed(), []);
    b.check_in(at(-3_600));
    assert_eq!(b.closed(), [CloseReason::CheckedIn]);
}

#[test]
fn a_session_from_the_future_began_now_and_late_reports_move_nothing_back() {
    let mut b = Bench::with_channel();
    b.now = at(10);
    b.check_in(at(500));
    assert_eq!(b.record.last_check_in, Some(at(10)));
    b.check_in(at(3));
    assert_eq!(b.record.last_check_in, Some(at(10)));
    // A late report is judged by its own session, not by the later one.
    b.now = at(20);
    b.direct(Goal::CheckIn);
    b.record.last_check_in = Some(at(19));
    b.check_in(at(3));
    assert_eq!(b.closed(), []);
}

#[test]
fn an_attempt_serves_the_asks_it_was_made_for_though_the_clock_was_set_back() {
    let hour = SignedDuration::from_hours(1);
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.ask(campaign("c1"), Class::Bulk, Goal::Accepted);
    let asks = b.record.asked();
    b.now = at(1) - hour;
    let attempt = Attempt {
        asks,
        ..b.attempt(at(1) - hour, received())
    };

    b.run(|step, record| ((), settle(step, record, &attempt)));

    assert_eq!(b.closed(), [CloseReason::Accepted], "the campaign's");
    let (lane, _, due) = b.place().unwrap();
    assert_eq!((lane, due), (Lane::Repush, at(991) - hour));
    b.check_in(at(1) - hour);
    assert_eq!(b.closed()[1..], [CloseReason::CheckedIn], "the direct one");
}

#[test]
fn an_attempt_does_not_serve_what_was_over_when_it_began() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.ask(campaign("c1"), Class::Bulk, Goal::Accepted);
    let push = b.record.push.as_mut().unwrap();
    push.asks[1].deadline = at(30);
    let attempt = Attempt {
        asks: b.record.asked(),
        ..b.attempt(at(31), received())
    };
    b.now = at(32);

    b.run(|step, record| ((), settle(step, record, &attempt)));

    assert_eq!(b.closed(), [CloseReason::Expired(ExpiryCause::NotSent)]);
}

#[test]
fn an_ask_that_is_repeated_while_the_attempt_is_on_its_way_is_satisfied_anew_on_any_clock() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let attempt = Attempt {
        asks: b.record.asked(),
        ..b.attempt(at(-3_600), received())
    };
    b.now = at(-3_599);
    b.direct(Goal::Accepted);

    b.run(|step, record| ((), settle(step, record, &attempt)));

    assert_eq!(b.closed(), []);
}

#[test]
fn an_attempt_that_began_before_the_ask_does_not_serve_it() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    b.now = at(5);
    assert_eq!(
        b.ask(campaign("c1"), Class::Bulk, Goal::Accepted),
        Opened::Merged
    );
    b.now = at(6);

    b.settle(at(1), received());

    assert_eq!(b.closed(), [CloseReason::Accepted]);
    let push = b.record.push.as_ref().unwrap();
    assert_eq!(push.asks[0].source, campaign("c1"));
    // Not before the minimum interval since the POST.
    assert_eq!(b.place().unwrap().2, at(31));
}

#[test]
fn a_repeated_direct_ask_is_satisfied_anew_with_the_stricter_terms_of_both() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.settle(at(0), received());
    b.now = at(40);
    assert_eq!(
        b.ask(Source::Direct, Class::Urgent, Goal::Accepted),
        Opened::Merged
    );

    let ask = &b.record.push.as_ref().unwrap().asks[0];
    assert_eq!(
        (ask.class, ask.goal, ask.phase),
        (Class::Urgent, Goal::CheckIn, Phase::Waiting)
    );
    assert_eq!(b.place(), Some((Lane::Urgent, Flow::Direct, at(40))));
}

#[test]
fn merging_within_the_minimum_interval_waits_for_its_end() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.settle(at(0), received());
    b.now = at(2);
    b.ask(Source::Direct, Class::Normal, Goal::CheckIn);
    assert_eq!(b.place().unwrap().2, at(30));
    b.ask(Source::Direct, Class::Urgent, Goal::CheckIn);
    assert_eq!(b.place().unwrap().2, at(5));
}

#[test]
fn the_deadline_closes_an_ask_with_what_stood_in_its_way() {
    let expire = |mut b: Bench| {
        b.now = at(0) + DAY;
        assert_eq!(b.review(), Verdict::Commit);
        b.closed()
    };
    let mut none = Bench::new();
    none.direct(Goal::Accepted);
    assert_eq!(expire(none), [CloseReason::Expired(ExpiryCause::NoChannel)]);

    let mut dead = Bench::with_channel();
    dead.direct(Goal::Accepted);
    dead.settle(
        at(1),
        Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        },
    );
    assert_eq!(
        expire(dead),
        [CloseReason::Expired(ExpiryCause::DeadChannel)]
    );

    let mut silent = Bench::with_channel();
    silent.direct(Goal::Accepted);
    silent.settle(
        at(1),
        Outcome::ChannelThrottled {
            retry_after: Some(Duration::from_hours(24)),
        },
    );
    assert_eq!(
        expire(silent),
        [CloseReason::Expired(ExpiryCause::Throttled)]
    );

    let mut quiet = Bench::with_channel();
    quiet.direct(Goal::CheckIn);
    quiet.settle(at(1), received());
    assert_eq!(
        expire(quiet),
        [CloseReason::Expired(ExpiryCause::NoCheckIn)]
    );

    let mut outage = Bench::with_channel();
    outage.direct(Goal::Accepted);
    let kind = UnavailableKind::Timeout;
    outage.settle(
        at(1),
        Outcome::Unavailable {
            kind,
            retry_after: None,
        },
    );
    assert_eq!(
        expire(outage),
        [CloseReason::Expired(ExpiryCause::Unavailable)]
    );

    let mut queued = Bench::with_channel();
    queued.direct(Goal::Accepted);
    assert_eq!(expire(queued), [CloseReason::Expired(ExpiryCause::NotSent)]);
}

#[test]
fn our_fault_rejects_unless_it_is_a_wave() {
    let fault = || Outcome::OurFault {
        status: 400,
        description: None,
    };
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let mut attempt = b.attempt(at(0), fault());
    attempt.wave = true;
    b.run(|step, record| ((), settle(step, record, &attempt)));
    assert_eq!(b.closed(), []);
    b.settle(at(0), fault());
    assert_eq!(b.closed(), [CloseReason::Rejected]);
}

#[test]
fn an_outage_is_not_counted_against_the_push() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let kind = UnavailableKind::Http { status: 503 };
    b.settle(
        at(0),
        Outcome::Unavailable {
            kind,
            retry_after: Some(Duration::from_secs(120)),
        },
    );
    let push = b.record.push.as_ref().unwrap();
    assert_eq!(
        (push.attempts, push.failures, push.next_at),
        (0, 1, at(120))
    );
}

#[test]
fn cancelling_the_direct_ask_leaves_the_campaigns_and_all_ends_the_push() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    b.ask(campaign("c1"), Class::Bulk, Goal::CheckIn);
    b.run(|step, record| ((), cancel(step, record, &Cancel::Direct)));
    assert_eq!(b.closed(), [CloseReason::Cancelled(CancelCause::Request)]);
    assert!(b.record.push.is_some());
    b.run(|step, record| ((), cancel(step, record, &Cancel::All)));
    assert_eq!(b.record.push, None);
}

#[test]
fn held_asks_neither_send_nor_lead_and_expire_as_held() {
    let mut b = Bench::with_channel();
    b.ask(campaign("c1"), Class::Urgent, Goal::Accepted);
    b.ask(campaign("c2"), Class::Bulk, Goal::Accepted);
    let Source::Campaign(c1) = campaign("c1") else {
        unreachable!()
    };
    assert!(b.run(|step, record| (hold(step, record, &c1, true), Effects::default())));
    let (lane, flow, _) = b.place().unwrap();
    assert_eq!((lane, flow), (Lane::Bulk, Flow::from(&campaign("c2"))));
    let Source::Campaign(c2) = campaign("c2") else {
        unreachable!()
    };
    b.run(|step, record| (hold(step, record, &c2, true), Effects::default()));
    assert_eq!(b.place().unwrap().0, Lane::Timer);
    b.now = at(0) + DAY;
    b.review();
    assert_eq!(b.closed(), [CloseReason::Expired(ExpiryCause::Held); 2]);
}

#[test]
fn a_push_carries_at_most_sixteen_asks() {
    let mut b = Bench::with_channel();
    for n in 0..16 {
        b.ask(campaign(&format!("c{n}")), Class::Bulk, Goal::Accepted);
    }
    let request = AskRequest {
        source: Source::Direct,
        class: Class::Urgent,
        goal: Goal::Accepted,
        deadline: at(9),
        reason: None,
        trace: None,
    };
    let rules = b.rules.clone();
    let step = Step {
        rules: &rules,
        device: &b.device,
        now: b.now,
        jitter: 0.0,
    };
    assert_eq!(
        open(&step, &mut b.record, request),
        Err(OpenError::TooManyAsks)
    );
}

#[test]
fn a_settled_attempt_without_a_push_leaves_its_ids_only() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    b.check_in(at(0));
    let before = b.effects.clone();
    b.settle(at(0), received());
    assert_eq!(b.effects.closed, before.closed);
    assert_eq!(
        b.record.last_attempt.as_ref().unwrap().outcome.as_ref(),
        "accepted"
    );
    assert_eq!(b.record.push, None);
}
