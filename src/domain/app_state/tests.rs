use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn probing() -> Backoff {
    Backoff::new(SignedDuration::from_mins(5), SignedDuration::from_hours(1)).unwrap()
}

fn apply(state: &mut AppState, seconds: i64, change: Change) -> Option<EventKind> {
    state.apply(&change, at(seconds), &probing())
}

fn gate(state: &AppState, now: Timestamp) -> Gate {
    state.gate(&Decided::default(), now)
}

fn throttle(seconds: u64) -> Change {
    Change::Throttled {
        pause: Duration::from_secs(seconds),
        per_second: 100.0,
    }
}

#[test]
fn a_throttle_shuts_the_gate_until_its_end_and_is_told_once() {
    let mut state = AppState::default();
    assert_eq!(
        apply(&mut state, 0, throttle(900)),
        Some(EventKind::AppThrottled)
    );
    assert_eq!(apply(&mut state, 1, throttle(60)), None);
    assert_eq!(gate(&state, at(899)), Gate::Shut(Some(at(900))));
    assert_eq!(
        apply(&mut state, 899, Change::Looked { resumed_at: None }),
        None
    );
    assert_eq!(
        apply(&mut state, 900, Change::Looked { resumed_at: None }),
        Some(EventKind::AppResumed)
    );
    assert_eq!(gate(&state, at(900)), Gate::Open);
    assert_eq!(
        state.limit,
        Some(Limit {
            per_second: 100.0,
            at: at(0)
        })
    );
}

#[test]
fn throttles_of_one_episode_only_prolong_it() {
    let mut state = AppState::default();
    apply(&mut state, 0, throttle(60));
    apply(&mut state, 1, throttle(900));
    assert_eq!(gate(&state, at(2)), Gate::Shut(Some(at(901))));
    assert_eq!(state.limit.unwrap().at, at(0));
}

#[test]
fn a_throttle_lasts_a_second_at_least_and_a_day_at_most() {
    for (asked, lasts) in [(0, 1), (10, 10), (1_000_000, 86_400)] {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(asked));
        assert_eq!(gate(&state, at(0)), Gate::Shut(Some(at(lasts))));
    }
}

#[test]
fn a_hold_is_probed_after_five_minutes_and_then_ever_more_rarely() {
    let mut state = AppState::default();
    assert_eq!(
        apply(&mut state, 0, Change::Held(HoldReason::Wave)),
        Some(EventKind::AppHeld)
    );
    assert_eq!(
        apply(&mut state, 1, Change::Held(HoldReason::TokenRefused)),
        None
    );
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Gate::Shut(Some(until)) = gate(&state, at(now)) else {
            panic!("shut")
        };
        waits.push(until.duration_since(at(now)).as_mins());
        now += until.duration_since(at(now)).as_secs();
        assert_eq!(gate(&state, at(now)), Gate::Probe);
        apply(&mut state, now, Change::ProbeFailed);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    assert_eq!(
        apply(&mut state, now, Change::ProbePassed),
        Some(EventKind::AppResumed)
    );
    assert_eq!(gate(&state, at(now)), Gate::Open);
}

#[test]
fn a_throttle_and_a_hold_last_no_longer_when_the_clock_is_set_back() {
    let mut state = AppState::default();
    apply(&mut state, 0, throttle(900));
    apply(&mut state, 0, Change::Held(HoldReason::Wave));
    apply(&mut state, 300, Change::ProbeFailed);
    let looked = Change::Looked { resumed_at: None };
    assert!(!state.is_ahead(at(-60)), "clocks of brokers differ");
    apply(&mut state, -60, looked.clone());
    assert_eq!(gate(&state, at(-60)), Gate::Shut(Some(at(900))));

    assert!(state.is_ahead(at(-3_600)));
    assert_eq!(apply(&mut state, -3_600, looked), None);

    assert!(!state.is_ahead(at(-3_600)));
    assert_eq!(gate(&state, at(-3_600)), Gate::Shut(Some(at(-2_700))));
    assert_eq!(state.hold.unwrap().probe_at, at(-3_000));
}

#[test]
fn a_resumption_before_the_clock_was_set_back_does_not_end_what_begins_after_it() {
    let resumed = Decided {
        resumed_at: Some(at(0)),
        ..Decided::default()
    };
    assert_eq!(resumed.without_ahead(at(-60)), resumed);
    let decided = resumed.without_ahead(at(-3_600));
    let mut state = AppState::default();
    apply(&mut state, -3_500, throttle(900));
    assert_eq!(
        state.gate(&decided, at(-3_500)),
        Gate::Shut(Some(at(-2_600)))
    );
}

#[test]
fn a_pause_by_hand_wins() {
    let mut state = AppState::default();
    apply(&mut state, 0, throttle(900));
    let decided = Decided {
        paused: true,
        ..Decided::default()
    };
    assert_eq!(state.gate(&decided, at(90_000)), Gate::Shut(None));
}

#[test]
fn whoever_lets_an_app_go_on_ends_what_began_before() {
    let mut state = AppState::default();
    apply(&mut state, 0, throttle(900));
    apply(&mut state, 1, Change::Held(HoldReason::DomainBlocked));
    let resumed_at = Some(at(2));
    let decided = Decided {
        resumed_at,
        ..Decided::default()
    };
    assert_eq!(state.gate(&decided, at(2)), Gate::Open);
    assert_eq!(state.hold(&decided), None);

    assert_eq!(apply(&mut state, 3, Change::Looked { resumed_at }), None);

    assert_eq!((state.throttle.clone(), state.hold.clone()), (None, None));
    assert!(state.believes_waves(at(3)), "it was none");
    apply(&mut state, 4, throttle(900));
    assert_eq!(state.gate(&decided, at(4)), Gate::Shut(Some(at(904))));
}

#[test]
fn whoever_lets_a_wave_go_on_hears_of_none_for_an_hour() {
    let mut state = AppState::default();
    apply(&mut state, 0, Change::Held(HoldReason::Wave));
    let resumed_at = Some(at(2));
    apply(&mut state, 3, Change::Looked { resumed_at });

    assert_eq!(
        [3_601, 3_602].map(|then| state.believes_waves(at(then))),
        [false, true]
    );
    assert!(state.believes_waves(at(-3_600)), "the clock was set back");
}

#[test]
fn a_wave_whose_probe_was_answered_well_is_not_called_again_for_an_hour() {
    let mut state = AppState::default();
    assert!(state.doubts_channels(at(0)));
    apply(&mut state, 0, Change::Held(HoldReason::Wave));
    apply(&mut state, 300, Change::ProbePassed);
    assert_eq!(
        (
            state.doubts_channels(at(300 + 3_599)),
            state.doubts_channels(at(300 + 3_600))
        ),
        (false, true)
    );
    assert!(state.doubts_channels(at(-3_600)), "the clock was set back");

    let mut state = AppState::default();
    apply(&mut state, 0, Change::Held(HoldReason::TokenRefused));
    apply(&mut state, 300, Change::ProbePassed);
    assert!(
        state.doubts_channels(at(301)),
        "it says nothing of channels"
    );
}

#[test]
fn it_survives_as_json_and_older_documents_are_read() {
    let mut state = AppState::default();
    apply(&mut state, 0, throttle(900));
    apply(&mut state, 0, Change::Held(HoldReason::TokenRefused));
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<AppState>(&text).unwrap(), state);
    assert_eq!(
        serde_json::from_str::<AppState>("{}").unwrap(),
        AppState::default()
    );
}
