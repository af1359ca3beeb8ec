//! Random lives of two campaigns over the same devices: whatever happens in whatever order, the counts add up after every
//! step, agree with a recount of the devices, and both campaigns come to their end.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use reveille::domain::{
    ask::{Class, Goal, Source},
    campaign::{
        Campaign, Counts, Definition, Gate, Order, Pace, Selection, State, TargetResult,
        TargetStatus, TargetView, Tick, Until, Wave, WaveSize,
    },
    id::CampaignId,
    queue::place,
    transition::{
        AskRequest, Attempt, Cancel, Effects, cancel, check_in, forget, open, overdue, register,
        review, settle,
    },
    wns::{
        channel_uri::ChannelUri,
        reply::{ChannelRefusal, Outcome, Trace, UnavailableKind},
    },
};

use super::model::{Tenant, device};

const DEVICES: usize = 12;

#[derive(Clone, Debug)]
enum Event {
    Register(usize, u32),
    Direct(usize, Class, Goal),
    CancelDirect(usize),
    Attempt(usize, usize),
    CheckIn(usize, i64),
    Review(usize),
    Delete(usize),
    Runner(usize, u8),
    Pause(usize),
    Resume(usize),
    CancelCampaign(usize),
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let any_device = 0..DEVICES;
    let class = proptest::sample::select(Class::ALL.to_vec());
    let goal = proptest::sample::select(vec![Goal::Accepted, Goal::CheckIn]);
    prop_oneof![
        3 => (any_device.clone(), 1_u32..4).prop_map(|(d, n)| Event::Register(d, n)),
        1 => (any_device.clone(), class, goal).prop_map(|(d, c, g)| Event::Direct(d, c, g)),
        1 => any_device.clone().prop_map(Event::CancelDirect),
        6 => (any_device.clone(), 0_usize..6).prop_map(|(d, o)| Event::Attempt(d, o)),
        3 => (any_device.clone(), -30_i64..60).prop_map(|(d, ago)| Event::CheckIn(d, ago)),
        2 => any_device.clone().prop_map(Event::Review),
        1 => any_device.prop_map(Event::Delete),
        8 => (0_usize..2, 0_u8..8).prop_map(|(c, most)| Event::Runner(c, most)),
        1 => (0_usize..2).prop_map(Event::Pause),
        2 => (0_usize..2).prop_map(Event::Resume),
        1 => (0_usize..2).prop_map(Event::CancelCampaign),
        3 => (1_i64..20_000).prop_map(Event::Wait),
    ]
}

fn outcome(n: usize) -> Outcome {
    match n {
        0 | 1 => Outcome::Accepted {
            cached: n == 1,
            stated: true,
        },
        2 => Outcome::Dropped,
        3 => Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        },
        4 => Outcome::OurFault {
            status: 400,
            description: None,
        },
        _ => Outcome::Unavailable {
            kind: UnavailableKind::Timeout,
            retry_after: None,
        },
    }
}

fn definition(goal: Goal, waves: Vec<Wave>) -> Definition {
    Definition {
        name: "revoke CA 7".to_owned(),
        reason: Some(Arc::from("revoke")),
        class: Class::Bulk,
        goal,
        until: Until::ExpiresIn(Duration::from_secs(100_000)),
        pace: Pace::default(),
        waves,
        selection: Selection::Listed,
    }
}

struct World {
    tenant: Tenant,
    campaigns: [Campaign; 2],
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_second(1_760_000_000).unwrap();
        let mut tenant = Tenant::new(DEVICES, now);
        let gate = Gate {
            hold: Duration::from_secs(60),
            checked_in_min: None,
            errors_max: None,
        };
        let wave = Wave {
            size: WaveSize::Targets(3),
            gate,
        };
        let draft = |name: &str, goal, waves| {
            let id = CampaignId::new(name).unwrap();
            Campaign::draft(id, definition(goal, waves), now)
        };
        let campaigns = [
            draft("a", Goal::CheckIn, vec![wave]),
            draft("b", Goal::Accepted, Vec::new()),
        ];
        for campaign in &campaigns {
            for index in 0..DEVICES {
                tenant.enrol(&campaign.id, index);
                tenant.enrol(&campaign.id, index);
            }
        }
        let mut world = Self { tenant, campaigns };
        for campaign in &mut world.campaigns {
            campaign.start(now, None).unwrap();
        }
        world
    }

    fn apply(&mut self, event: &Event) {
        let now = self.tenant.now;
        let t = &mut self.tenant;
        match event {
            Event::Register(d, n) => {
                let uri = ChannelUri::from_stored(&format!("https://a.notify.windows.com/{n}"));
                t.edit(*d, |step, record| register(step, record, uri));
            }
            Event::Direct(d, class, goal) => {
                let request = AskRequest {
                    source: Source::Direct,
                    class: *class,
                    goal: *goal,
                    deadline: now + SignedDuration::from_secs(9_000),
                    reason: None,
                    trace: None,
                };
                t.edit(*d, |step, record| open(step, record, request).unwrap());
            }
            Event::CancelDirect(d) => {
                t.edit(*d, |step, record| {
                    ((), cancel(step, record, &Cancel::Direct))
                });
            }
            Event::Attempt(d, o) => attempt(t, *d, outcome(*o)),
            Event::CheckIn(d, ago) => {
                let at = now - SignedDuration::from_secs(*ago);
                t.edit(*d, |step, record| ((), check_in(step, record, at).effects));
            }
            Event::Review(d) => {
                let due = t.slots[*d].record.as_ref().and_then(|r| place(&t.id, r));
                if let Some(due) = due {
                    t.edit(*d, |step, record| review(step, record, &due.queue, false));
                }
            }
            Event::Delete(d) => t.forget(*d, forget),
            Event::Runner(c, most) => self.run(*c, usize::from(*most)),
            Event::Pause(c) => drop(self.campaigns[*c].pause(now)),
            Event::Resume(c) => drop(self.campaigns[*c].resume(now)),
            Event::CancelCampaign(c) => drop(self.campaigns[*c].cancel(now)),
            Event::Wait(seconds) => t.now = now + SignedDuration::from_secs(*seconds),
        }
    }

    /// One tick of a campaign's runner, with room for `most` targets.
    fn run(&mut self, c: usize, most: usize) {
        let counts = self.counts(c);
        let paused: HashSet<CampaignId> = self
            .campaigns
            .iter()
            .filter(|c| c.state == State::Paused)
            .map(|c| c.id.clone())
            .collect();
        let campaign = self.campaigns[c].clone();
        match campaign.tick(&counts, self.tenant.now) {
            Tick::Becomes(next) => self.campaigns[c] = *next,
            Tick::Does(duties) => {
                let order = Order {
                    campaign: &campaign,
                    wave: campaign.wave_of_release(counts.targets),
                    paused: &paused,
                };
                let most = most.min(usize::try_from(duties.release).unwrap());
                self.tenant.release(&order, most);
                if let Some(sweep) = duties.sweep {
                    self.tenant.sweep(&campaign, sweep);
                }
            }
        }
    }

    fn counts(&self, c: usize) -> Counts {
        self.tenant.counts(&self.campaigns[c].id)
    }

    /// Counts every target by looking at its device, and compares.
    fn check(&self) {
        for campaign in &self.campaigns {
            let counts = self.tenant.counts(&campaign.id);
            assert!(counts.add_up(), "{counts:?}");
            let counts = counts.seen(campaign.state);
            assert!(counts.add_up(), "{counts:?}");
            let mut seen = Counts::default();
            for index in self.tenant.targets(&campaign.id) {
                seen.targets += 1;
                let status = self.status(campaign, index);
                *match status {
                    "waiting" => &mut seen.waiting,
                    "open" => &mut seen.open,
                    "held" => &mut seen.held,
                    "awaiting" => &mut seen.awaiting,
                    "blocked" => &mut seen.blocked,
                    "accepted" => &mut seen.closed[0],
                    "checked_in" => &mut seen.closed[1],
                    "expired" => &mut seen.closed[2],
                    "cancelled" => &mut seen.closed[3],
                    "rejected" => &mut seen.closed[4],
                    other => panic!("{other}"),
                } += 1;
            }
            let of = |c: &Counts| (c.targets, c.waiting, c.open, c.held, c.awaiting, c.blocked);
            assert_eq!((of(&seen), seen.closed), (of(&counts), counts.closed));
        }
    }

    fn status(&self, campaign: &Campaign, index: usize) -> &'static str {
        let waits = self.tenant.waits(&campaign.id, index);
        if let Some(result) = self.tenant.result(&campaign.id, index) {
            assert!(!waits, "ended and waiting");
            return TargetResult::parse(result).unwrap().0.as_str();
        }
        let record = self.tenant.slots[index].record.as_ref();
        let mut running = campaign.clone();
        running.state = State::Running;
        let asked = TargetView::unfinished(device(index), &running, record);
        assert_eq!(
            asked.status == TargetStatus::Waiting,
            waits,
            "asked or waiting"
        );
        let view = TargetView::unfinished(device(index), campaign, record);
        view.status.as_str()
    }
}

fn attempt(t: &mut Tenant, index: usize, outcome: Outcome) {
    let now = t.now;
    t.edit(index, |step, record| {
        let attempt = Attempt {
            began_at: now,
            asks: record.asked(),
            generation: record.generation(),
            outcome,
            trace: Trace::default(),
            ms_cv: Arc::from("cv"),
            ttl: Duration::from_secs(3_600),
            wave: false,
        };
        let effects = if record.push.is_some() {
            settle(step, record, &attempt)
        } else {
            Effects::default()
        };
        ((), effects)
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn counts_add_up_after_every_step_and_every_campaign_ends(
        events in proptest::collection::vec(event(), 1..160),
    ) {
        let mut world = World::new();
        for event in &events {
            world.apply(event);
            world.check();
        }
        // After the deadline nothing is left to wait for, whatever state the campaigns are in.
        world.tenant.now += SignedDuration::from_secs(200_000);
        for index in 0..DEVICES {
            world.tenant.edit(index, |step, record| ((), overdue(step, record)));
        }
        for _ in 0..8 {
            for c in 0..2 {
                world.run(c, 0);
                world.check();
            }
        }
        for campaign in &world.campaigns {
            prop_assert!(campaign.closed() && campaign.swept, "{campaign:?}");
            prop_assert_eq!(world.tenant.counts(&campaign.id).unfinished(), 0);
        }
    }
}

#[test]
fn a_paused_campaign_lets_go_of_pushes_that_others_wait_for() {
    let mut world = World::new();
    world.apply(&Event::Register(0, 1));
    for _ in 0..DEVICES {
        world.run(0, DEVICES);
    }
    world.apply(&Event::Pause(0));
    world.run(0, 0);
    let queue = |world: &World| {
        let record = world.tenant.slots[0].record.as_ref().unwrap();
        place(&world.tenant.id, record).unwrap().queue.to_string()
    };

    // The other campaign asks for the same devices, later and with the same urgency.
    world.apply(&Event::Wait(1));
    for _ in 0..DEVICES {
        world.run(1, DEVICES);
    }

    assert_eq!(queue(&world), "contoso:bulk:c/b");
    world.apply(&Event::Resume(0));
    world.run(0, 0);
    assert_eq!(world.counts(0).held, 0);
    world.check();
}
