//! Channels that come, fall silent, are refused, die and return.

use super::*;

#[test]
fn a_push_without_a_channel_is_blocked_and_goes_out_when_one_is_registered() {
    let mut b = Bench::new();
    b.direct(Goal::Accepted);
    assert_eq!(b.place(), Some((Lane::Timer, Flow::Direct, at(0) + DAY)));
    b.now = at(500);
    assert_eq!(b.register(1), Registered::New);
    assert_eq!(b.place(), Some((Lane::Normal, Flow::Direct, at(0))));
}

#[test]
fn a_new_uri_does_not_push_a_device_that_is_awake() {
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.settle(at(0), received());
    b.now = at(100);
    let before = b.place();
    b.register(2);
    assert_eq!(b.place(), before);
}

#[test]
fn what_wns_holds_for_an_old_uri_does_not_keep_the_new_one_waiting() {
    let cached = || Outcome::Accepted {
        cached: true,
        stated: true,
    };
    let held = Attempt {
        ttl: Duration::from_hours(12),
        ..Bench::with_channel().attempt(at(0), cached())
    };
    let first_step = SignedDuration::from_secs(990);

    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    let generation = b.record.generation();
    let held = Attempt { generation, ..held };
    b.run(|step, record| ((), settle(step, record, &held)));
    assert_eq!(b.place().unwrap().2, at(12 * 3_600));
    b.now = at(3_600);
    b.register(2);
    let soon = (Lane::Repush, Flow::Direct, at(3_600) + first_step);
    assert_eq!(b.place().as_ref(), Some(&soon));
    b.now = at(3_700);
    b.register(2);
    assert_eq!(b.place(), Some(soon), "it is the same URI");

    // The answer may come after the new URI.
    let mut b = Bench::with_channel();
    b.direct(Goal::CheckIn);
    b.register(2);
    b.run(|step, record| ((), settle(step, record, &held)));
    assert_eq!(b.place().unwrap().2, at(0) + first_step);
}

#[test]
fn a_refused_channel_is_suspect_for_a_minute_and_then_dead_once() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    b.settle(
        at(0),
        Outcome::ChannelRefused {
            cause: ChannelRefusal::NotFound,
        },
    );
    assert_eq!(b.place(), Some((Lane::Timer, Flow::Direct, at(60))));

    b.now = at(60);
    assert_eq!(b.review(), Verdict::Commit);

    assert!(matches!(
        b.record.channel.as_ref().unwrap().state,
        ChannelState::Dead { .. }
    ));
    assert_eq!(
        b.events(),
        ["channel.registered", "channel.suspect", "channel.died"]
    );
    assert_eq!(b.place(), Some((Lane::Timer, Flow::Direct, at(0) + DAY)));
    b.review();
    assert_eq!(b.events().len(), 3);
}

#[test]
fn a_suspect_is_not_confirmed_while_a_wave_lasts_and_can_be_revived() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    b.settle(
        at(0),
        Outcome::ChannelRefused {
            cause: ChannelRefusal::Forbidden,
        },
    );
    b.now = at(60);
    let queue = place(&b.tenant, &b.record).unwrap().queue;
    b.run(|step, record| review(step, record, &queue, true));
    assert!(matches!(
        b.record.channel.as_ref().unwrap().state,
        ChannelState::Suspect { .. }
    ));
    assert_eq!(b.place().unwrap().2, at(120));

    let revived = b.run(|step, record| (revive(step, record, at(0)), Effects::default()));
    assert!(revived);
    assert_eq!(b.place(), Some((Lane::Normal, Flow::Direct, at(30))));
    let again = b.run(|step, record| (revive(step, record, at(0)), Effects::default()));
    assert!(!again);
}

#[test]
fn a_dead_uri_reported_again_earns_one_trial_a_day() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let gone = || Outcome::ChannelRefused {
        cause: ChannelRefusal::Gone,
    };
    b.settle(at(0), gone());
    b.now = at(60);
    b.review();
    assert_eq!(b.register(1), Registered::Unchanged);
    assert_eq!(b.place().unwrap().0, Lane::Normal);
    b.settle(at(60), gone());
    let state = b.record.channel.as_ref().unwrap().state;
    assert!(matches!(
        state,
        ChannelState::Dead {
            trial: Trial::Used(_),
            ..
        }
    ));
    b.now = at(3_600);
    b.register(1);
    assert_eq!(b.place().unwrap().0, Lane::Timer);
    b.now = at(60) + DAY;
    b.register(1);
    assert!(b.record.reachable());
}

#[test]
fn an_outcome_of_an_older_uri_never_touches_the_new_channel() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let refused = b.attempt(
        at(0),
        Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        },
    );
    b.now = at(1);
    b.register(2);
    b.run(|step, record| ((), settle(step, record, &refused)));
    assert_eq!(b.record.channel.as_ref().unwrap().state, ChannelState::Live);
    assert_eq!(b.place(), Some((Lane::Normal, Flow::Direct, at(30))));
}

#[test]
fn silences_double_and_the_word_of_wns_wins() {
    let mut b = Bench::with_channel();
    b.direct(Goal::Accepted);
    let mut silence = |retry_after| {
        let began = b.now;
        b.settle(began, Outcome::ChannelThrottled { retry_after });
        let (_, _, until) = b.place().unwrap();
        let seconds = until.duration_since(b.now).as_secs();
        b.now = until;
        seconds
    };
    assert_eq!(
        [silence(None), silence(None), silence(None)],
        [600, 1_200, 2_400]
    );
    assert_eq!(silence(Some(Duration::from_secs(77))), 77);
}

#[test]
fn a_uri_that_comes_back_gets_no_second_life() {
    let mut b = Bench::with_channel();
    let channel = |b: &Bench| b.record.channel.clone().unwrap();
    let ten_days = DAY * 10;
    b.now = at(0) + ten_days;
    b.register(2);
    assert_eq!(channel(&b).first_seen, b.now);

    // The record goes through the store between the reports.
    b.record = codec::decode(codec::encode(&b.record).as_bytes()).unwrap();
    b.now = at(0) + ten_days * 2;
    assert_eq!(b.register(1), Registered::New);
    assert_eq!(channel(&b).first_seen, at(0));
    assert_eq!(channel(&b).last_seen, b.now);
    assert_eq!(channel(&b).state, ChannelState::Live);
    assert_eq!(channel(&b).generation.0, 3);

    b.now = at(0) + ten_days * 3;
    b.register(2);
    assert_eq!(channel(&b).first_seen, at(0) + ten_days);
    b.register(3);
    assert_eq!(channel(&b).first_seen, b.now);
}
