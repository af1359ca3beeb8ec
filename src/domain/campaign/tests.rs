use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::{
    ask::{Class, Goal},
    id::CampaignId,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

fn definition(selection: Selection) -> Definition {
    Definition {
        name: "revoke CA 7".to_owned(),
        reason: None,
        class: Class::Normal,
        goal: Goal::CheckIn,
        until: Until::default(),
        pace: Pace::default(),
        waves: Vec::new(),
        selection,
    }
}

fn draft() -> Campaign {
    let id = CampaignId::new("c1").unwrap();
    Campaign::draft(id, definition(Selection::Listed), at(0))
}

fn in_state(state: State) -> Campaign {
    let mut campaign = draft();
    if state != State::Draft {
        campaign.start(at(1), None).unwrap();
    }
    campaign.state = state;
    campaign
}

fn waves(sizes: &[WaveSize]) -> Campaign {
    let mut campaign = draft();
    campaign.definition.waves = sizes
        .iter()
        .map(|size| Wave {
            size: *size,
            gate: Gate {
                hold: Duration::from_secs(60),
                checked_in_min: "50%".parse().ok(),
                errors_max: None,
            },
        })
        .collect();
    campaign.start(at(0), None).unwrap();
    campaign
}

fn counts(targets: u64, waiting: u64, open: u64) -> Counts {
    let mut counts = Counts::default();
    (counts.targets, counts.waiting, counts.open) = (targets, waiting, open);
    counts
}

fn told(campaign: &Campaign) -> Vec<&'static str> {
    let events = campaign.news.iter().map(|n| n.event().unwrap());
    events.map(|e| e.kind.as_str()).collect()
}

fn becomes(tick: Tick) -> Campaign {
    match tick {
        Tick::Becomes(campaign) => *campaign,
        Tick::Does(duties) => panic!("nothing changes, but {duties:?}"),
    }
}

fn does(tick: Tick) -> Duties {
    match tick {
        Tick::Does(duties) => duties,
        Tick::Becomes(campaign) => panic!("becomes {campaign:?}"),
    }
}

#[test]
fn every_state_takes_what_fits_and_refuses_the_rest() {
    type Verb = fn(&mut Campaign, Timestamp) -> Result<(), Refusal>;
    let verbs: [(&str, Verb); 4] = [
        ("start", |campaign, now| campaign.start(now, None)),
        ("pause", Campaign::pause),
        ("resume", Campaign::resume),
        ("cancel", Campaign::cancel),
    ];
    let table = [
        (State::Draft, ["running", "-", "-", "cancelled"]),
        (
            State::Preparing,
            ["preparing", "paused", "preparing", "cancelled"],
        ),
        (
            State::Running,
            ["running", "paused", "running", "cancelled"],
        ),
        (State::Paused, ["-", "paused", "running", "cancelled"]),
        (State::Finished, ["-", "-", "-", "-"]),
        (State::Cancelled, ["-", "-", "-", "cancelled"]),
    ];
    for (state, wanted) in table {
        for ((name, verb), wanted) in verbs.iter().zip(wanted) {
            let mut campaign = in_state(state);
            let became = match verb(&mut campaign, at(2)) {
                Ok(()) => campaign.state.as_str(),
                Err(_) => "-",
            };
            assert_eq!(became, wanted, "{state}: {name}");
        }
    }
}

#[test]
fn a_campaign_is_read_back_as_it_was_written() {
    let mut campaign = waves(&[
        WaveSize::Share("1%".parse().unwrap()),
        WaveSize::Targets(500),
    ]);
    campaign.definition.selection = Selection::LeftOf {
        campaign: CampaignId::new("c0").unwrap(),
        states: vec![TargetStatus::Expired, TargetStatus::CheckedIn],
    };
    campaign.pause(at(3)).unwrap();
    let text = serde_json::to_string(&campaign).unwrap();
    assert_eq!(serde_json::from_str::<Campaign>(&text).unwrap(), campaign);
    assert!(text.contains("\"1%\"") && text.contains("\"7d\""), "{text}");
}

#[test]
fn what_a_selection_names_is_released_while_the_rest_is_being_listed() {
    let mut campaign = draft();
    campaign.definition.selection = Selection::All;
    campaign.start(at(0), None).unwrap();
    assert_eq!(campaign.state, State::Preparing);
    assert_eq!(told(&campaign), ["campaign.started"]);
    let duties = does(campaign.tick(&counts(5, 5, 0), at(1)));
    assert_eq!((duties.prepare, duties.release), (true, 5));
    // All that are listed have ended: that is not the end.
    let duties = does(campaign.tick(&counts(5, 0, 0), at(1)));
    assert_eq!((duties.prepare, duties.release), (true, 0));

    campaign.pause(at(2)).unwrap();
    let duties = does(campaign.tick(&counts(5, 5, 0), at(2)));
    assert_eq!((duties.prepare, duties.release), (true, 0));
    campaign.resume(at(3)).unwrap();
    assert_eq!(campaign.state, State::Preparing);
    campaign.prepared(at(4));
    let duties = does(campaign.tick(&counts(9, 9, 0), at(5)));
    assert_eq!((duties.prepare, duties.release), (false, 9));
}

#[test]
fn every_target_is_listed_though_the_campaign_is_paused_or_its_deadline_is_over() {
    let over = at(8 * 24 * 3_600);
    for paused in [false, true] {
        let mut campaign = draft();
        campaign.definition.selection = Selection::All;
        campaign.start(at(0), None).unwrap();
        if paused {
            campaign.pause(at(1)).unwrap();
        }
        // What is listed so far has ended or not: the rest is listed first, and nothing is released.
        for listed in [counts(0, 0, 0), counts(5, 3, 2)] {
            let duties = does(campaign.tick(&listed, over));
            let listing = Duties {
                prepare: true,
                ..Duties::default()
            };
            assert_eq!(duties, listing, "paused: {paused}");
        }

        assert!(campaign.preparing());
        campaign.prepared(over);
        assert!(!campaign.preparing());
        let state = if paused {
            State::Paused
        } else {
            State::Running
        };
        assert_eq!((campaign.state, campaign.pause.is_some()), (state, paused));
        let duties = does(campaign.tick(&counts(9, 9, 0), over));
        assert_eq!((duties.prepare, duties.sweep), (false, Some(Sweep::Expire)));
    }
}

#[test]
fn a_wave_goes_no_further_while_targets_are_listed_than_it_does_in_the_end() {
    let sizes = [
        WaveSize::Share("1%".parse().unwrap()),
        WaveSize::Targets(600),
    ];
    let mut campaign = waves(&sizes);
    (campaign.state, campaign.prepared_at) = (State::Preparing, None);
    for (listed, waiting, released) in [(512, 512, 6), (512, 506, 0), (10_000, 9_994, 94)] {
        let duties = does(campaign.tick(&counts(listed, waiting, 0), at(1)));
        assert_eq!((duties.prepare, duties.release), (true, released));
        assert_eq!(campaign.wave_of_release(listed), 1);
    }
    // Its gate is held when the targets are complete, however long the wave has been released.
    let duties = does(campaign.tick(&counts(10_000, 9_900, 100), at(900)));
    assert_eq!((duties.prepare, duties.release), (true, 0));
    campaign.prepared(at(901));
    let held = becomes(campaign.tick(&counts(10_000, 9_900, 100), at(901)));
    assert_eq!(held.judge_at, Some(at(961)));

    // A number that turns out to be more than there is is judged by nobody.
    let mut campaign = waves(&[WaveSize::Targets(600)]);
    (campaign.state, campaign.prepared_at) = (State::Preparing, None);
    assert_eq!(campaign.wave_of_release(512), 1);
    campaign.prepared(at(2));
    assert_eq!(campaign.wave_of_release(512), 0);
}

#[test]
fn a_gate_waits_until_its_notifications_are_out() {
    let campaign = waves(&[WaveSize::Targets(40)]);
    let held = becomes(campaign.tick(&counts(1_000, 960, 40), at(10)));
    assert_eq!(held.held_up(AHEAD * 2, at(69)), None, "it is not due");
    let again = held.held_up(AHEAD * 2, at(70)).unwrap();
    assert_eq!(again.judge_at, Some(at(130)));
    assert_eq!(again.held_up(AHEAD, at(130)), None, "what was due is sent");
}

#[test]
fn a_short_hold_is_no_longer_than_its_notifications_wait() {
    for (hold, waits) in [(0, 0.5), (2, 1.0), (8, 4.0), (600, 5.0)] {
        let mut campaign = waves(&[WaveSize::Targets(40)]);
        campaign.definition.waves[0].gate.hold = Duration::from_secs(hold);
        let held = becomes(campaign.tick(&counts(1_000, 960, 40), at(10)));
        let due = held.judge_at.unwrap();
        assert!(due > at(10));
        let enough = Duration::from_secs_f64(waits);
        assert_eq!(held.held_up(enough, due), None, "{hold}");
        let again = held.held_up(enough + Duration::from_millis(1), due);
        assert!(again.is_some_and(|c| c.judge_at > Some(due)), "{hold}");
    }
}

#[test]
fn a_cancelled_campaign_has_nothing_left_to_those_who_look() {
    let (mut counts, cancelled) = (counts(100, 40, 30), 3);
    (counts.awaiting, counts.blocked, counts.held) = (5, 4, 1);
    (counts.closed[1], counts.closed[cancelled]) = (18, 2);
    assert!(counts.add_up());
    let seen = counts.clone().seen(State::Cancelled);
    assert!(seen.add_up());
    assert_eq!(seen.unfinished(), 0);
    assert_eq!((seen.closed[1], seen.closed[cancelled]), (18, 82));
    assert_eq!(counts.clone().seen(State::Running), counts);
    assert_eq!(counts.clone().seen(State::Paused).held, 31);
}

#[test]
fn waves_are_cumulative_and_each_gate_is_judged_once_after_its_hold() {
    let campaign = waves(&[WaveSize::Targets(40), WaveSize::Targets(100)]);
    assert_eq!(
        does(campaign.tick(&counts(1_000, 1_000, 0), at(1))).release,
        40
    );
    assert_eq!(campaign.wave_of_release(1_000), 1);

    let held = becomes(campaign.tick(&counts(1_000, 960, 40), at(10)));
    assert_eq!(held.judge_at, Some(at(70)));
    assert_eq!(does(held.tick(&counts(1_000, 960, 40), at(69))).release, 0);

    let passed = [
        ("campaign.c1.wave1_checked_in", 30),
        ("campaign.c1.wave1_open", 10),
    ];
    let mut named = passed.map(|(n, v)| (n.to_owned(), v)).to_vec();
    named.extend(
        [
            ("campaign.c1.targets", 1_000),
            ("campaign.c1.waiting", 960),
            ("campaign.c1.open", 10),
        ]
        .map(|(n, v)| (n.to_owned(), v)),
    );
    named.push(("campaign.c1.checked_in".to_owned(), 30));
    let seen = Counts::read(&campaign.id, &named.into_iter().collect());
    let next = becomes(held.tick(&seen, at(70)));
    assert_eq!(
        (next.state, next.wave, next.gates.len()),
        (State::Running, 1, 1)
    );
    assert_eq!(next.gates[0].verdict, Verdict::Passed);
    assert_eq!(does(next.tick(&seen, at(71))).release, 60);
    assert_eq!(next.wave_of_release(1_000), 2);
}

#[test]
fn after_the_last_wave_all_others_follow_without_a_gate() {
    let mut campaign = waves(&[WaveSize::Targets(10)]);
    campaign.wave = 1;
    assert_eq!(does(campaign.tick(&counts(50, 40, 0), at(1))).release, 40);
    assert_eq!(campaign.wave_of_release(50), 0);
}

#[test]
fn a_wave_that_goes_no_further_is_passed_over() {
    let sizes = [
        WaveSize::Targets(40),
        WaveSize::Share("1%".parse().unwrap()),
        WaveSize::Targets(80),
    ];
    let mut campaign = waves(&sizes);
    campaign.judge_at = Some(at(60));
    let next = becomes(campaign.tick(&counts(1_000, 960, 5), at(60)));
    assert_eq!(next.wave, 2);
}

#[test]
fn a_failed_gate_pauses_and_a_resume_goes_on_behind_it() {
    let mut campaign = waves(&[WaveSize::Targets(40), WaveSize::Targets(100)]);
    campaign.judge_at = Some(at(60));
    let named = [
        ("campaign.c1.wave1_open", 40),
        ("campaign.c1.open", 40),
        ("campaign.c1.targets", 1_000),
        ("campaign.c1.waiting", 960),
    ];
    let seen = Counts::read(
        &campaign.id,
        &named.map(|(n, v)| (n.to_owned(), v)).into_iter().collect(),
    );

    let mut paused = becomes(campaign.tick(&seen, at(60)));

    assert_eq!(paused.state, State::Paused);
    assert_eq!(paused.pause.as_ref().unwrap().cause, PauseCause::Gate);
    assert_eq!(
        told(&paused),
        [
            "campaign.started",
            "campaign.gate_failed",
            "campaign.paused"
        ]
    );
    paused.resume(at(61)).unwrap();
    assert_eq!(does(paused.tick(&seen, at(62))).release, 60);
}

#[test]
fn the_time_of_a_pause_is_no_part_of_a_gates_hold() {
    // given a wave that is released at 10 and judged a minute later
    let campaign = waves(&[WaveSize::Targets(40), WaveSize::Targets(100)]);
    let mut held = becomes(campaign.tick(&counts(1_000, 960, 40), at(10)));

    // when it stands still from 20 to 520, so that its targets are neither sent nor check in
    held.pause(at(20)).unwrap();
    held.pause(at(30)).unwrap();
    held.resume(at(520)).unwrap();

    // then 50 seconds are left
    assert_eq!(held.judge_at, Some(at(570)));
    assert_eq!(does(held.tick(&counts(1_000, 960, 40), at(569))).release, 0);
    held.resume(at(600)).unwrap();
    assert_eq!(held.judge_at, Some(at(570)), "it ran");
}

#[test]
fn the_deadline_ends_every_state_that_can_end() {
    let over = at(8 * 24 * 3_600);
    for state in [State::Running, State::Paused] {
        let mut campaign = draft();
        campaign.start(at(0), None).unwrap();
        campaign.state = state;
        let duties = does(campaign.tick(&counts(9, 3, 6), over));
        assert_eq!(
            (duties.release, duties.sweep),
            (0, Some(Sweep::Expire)),
            "{state}"
        );
        let done = becomes(campaign.tick(&counts(9, 0, 0), over));
        assert_eq!((done.state, done.active()), (State::Finished, true));
    }
    let mut late = draft();
    late.definition.until = Until::Deadline(at(5));
    assert_eq!(late.start(at(5), None), Err(Refusal::TooLate));
}

#[test]
fn a_cancelled_campaign_is_swept_until_nothing_is_left() {
    let mut campaign = draft();
    campaign.start(at(0), None).unwrap();
    campaign.cancel(at(1)).unwrap();
    assert!(campaign.parked());
    assert_eq!(
        does(campaign.tick(&counts(5, 2, 1), at(2))).sweep,
        Some(Sweep::Cancel)
    );
    let done = becomes(campaign.tick(&counts(5, 0, 0), at(3)));
    assert!(done.swept && !done.parked());
    assert_eq!(does(done.tick(&counts(5, 0, 0), at(4))), Duties::default());
}

#[test]
fn news_are_left_to_whoever_made_them_for_a_while() {
    let mut campaign = draft();
    campaign.start(at(0), None).unwrap();
    let age = SignedDuration::from_secs(2);
    assert!(!campaign.news_before(at(1), age));
    assert!(campaign.news_before(at(2), age));
}

#[test]
fn the_order_of_release_is_mixed_but_always_the_same() {
    let id = CampaignId::new("c1").unwrap();
    let device = |n: usize| crate::domain::id::DeviceId::new(&format!("dev-{n:06}")).unwrap();
    let mut order: Vec<usize> = (0..10_000).collect();
    order.sort_by_key(|n| score(&id, &device(*n)));
    assert_ne!(order, (0..10_000).collect::<Vec<_>>());
    // The first tenth is spread over the whole list.
    let first_half = order[..1_000].iter().filter(|n| **n < 5_000).count();
    assert!((400..600).contains(&first_half), "{first_half}");
    assert_eq!(score(&id, &device(7)), score(&id, &device(7)));
    assert!((0..10_000).all(|n| (0..1 << 52).contains(&score(&id, &device(n)))));
}
