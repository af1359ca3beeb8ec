//! Two days of a fleet in virtual time, with everything that goes wrong in two days.
//!
//! The decisions are the broker's own pure functions; the world around them (devices, WNS, the turn of the queues) is played
//! here. Optimised builds play a million devices, others a part of them; `REVEILLE_SIMULATED_DEVICES` sets another size.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reveille::domain::{
    ask::{Class, Goal},
    campaign::{
        Allowance, Campaign, Counts, Definition, Gate, Look, Order, Pace, Selection, State,
        TargetResult, Tick, Until, Wave, WaveSize, rate,
    },
    id::CampaignId,
    queue::{Lane, Queue, place},
    transition::{Attempt, Effects, check_in, register, review, settle},
    wns::{
        channel_uri::ChannelUri,
        reply::{ChannelRefusal, Outcome, Trace, UnavailableKind},
    },
};

use super::model::Tenant;

const DEVICES: usize = 1_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const END: i64 = 48 * HOUR;
const DEADLINE: i64 = 46 * HOUR;
/// The app's pace for a fleet of [`DEVICES`]; smaller fleets get a smaller one, so that they take as long.
const PER_SECOND: f64 = 900.0;
/// The world begins at six in the evening; who is off at night, is off from eight to six.
const NIGHTS: [(i64, i64); 2] = [(2 * HOUR, 12 * HOUR), (26 * HOUR, 36 * HOUR)];
const OUTAGE: (i64, i64) = (25 * MINUTE, 45 * MINUTE);
const THROTTLED_AT: i64 = 10 * MINUTE;
const THROTTLED_FOR: i64 = 15 * MINUTE;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Nature {
    Always,
    OffAtNight { cached: bool },
    DeadUntil(i64),
    NeverOn,
    NoChannel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Due,
    CheckIn,
    Renew,
}

struct World {
    tenant: Tenant,
    start: Timestamp,
    second: i64,
    campaign: Campaign,
    natures: Vec<Nature>,
    ahead: BinaryHeap<Reverse<(i64, Happens, usize)>>,
    first: VecDeque<(i64, usize)>,
    repush: VecDeque<(i64, usize)>,
    allowance: Allowance,
    per_second: f64,
    credit: f64,
    paused_until: i64,
    throttled: bool,
    posts: Vec<u16>,
    released_ahead_max: usize,
}

fn size() -> usize {
    let set = std::env::var("REVEILLE_SIMULATED_DEVICES").ok();
    let default = if cfg!(debug_assertions) {
        DEVICES / 40
    } else {
        DEVICES
    };
    set.map_or(default, |n| n.parse().expect("a number of devices"))
}

fn definition() -> Definition {
    let wave = |size, checked_in_min: &str| Wave {
        size,
        gate: Gate {
            hold: Duration::from_secs(300),
            checked_in_min: checked_in_min.parse().ok(),
            errors_max: "20%".parse().ok(),
        },
    };
    Definition {
        name: "revoke CA 7".to_owned(),
        reason: None,
        class: Class::Bulk,
        goal: Goal::CheckIn,
        until: Until::ExpiresIn(Duration::from_secs(DEADLINE.unsigned_abs())),
        pace: Pace::default(),
        waves: vec![
            wave(WaveSize::Share("1%".parse().unwrap()), "50%"),
            wave(WaveSize::Share("100%".parse().unwrap()), ""),
        ],
        selection: Selection::Listed,
    }
}

fn uri(device: usize, generation: u32) -> ChannelUri {
    ChannelUri::from_stored(&format!(
        "https://db5p.notify.windows.com/?token=AwYAAAC{device}.{generation}"
    ))
}

impl World {
    fn new(devices: usize) -> Self {
        let start = Timestamp::from_second(1_760_032_800).unwrap();
        let mut tenant = Tenant::new(devices, start);
        let id = CampaignId::new("revoke").unwrap();
        let mut natures = Vec::with_capacity(devices);
        let mut ahead = BinaryHeap::new();
        for index in 0..devices {
            let nature = nature(&mut tenant);
            natures.push(nature);
            if nature == Nature::NoChannel {
                tenant.edit(index, |_, _| ((), Effects::default()));
            } else {
                tenant.edit(index, |step, record| register(step, record, uri(index, 1)));
            }
            if let Nature::DeadUntil(at) = nature {
                ahead.push(Reverse((at, Happens::Renew, index)));
            }
            tenant.enrol(&id, index);
        }
        let mut campaign = Campaign::draft(id, definition(), start);
        campaign.start(start, None).unwrap();
        let posts = vec![0; devices];
        let per_second = (PER_SECOND * devices as f64 / DEVICES as f64).max(1.0);
        Self {
            tenant,
            start,
            second: 0,
            campaign,
            natures,
            ahead,
            first: VecDeque::new(),
            repush: VecDeque::new(),
            allowance: Allowance::default(),
            per_second,
            credit: 0.0,
            paused_until: 0,
            throttled: false,
            posts,
            released_ahead_max: 0,
        }
    }

    fn run(&mut self) {
        for second in 0..END {
            self.second = second;
            self.tenant.now = self.start + SignedDuration::from_secs(second);
            let releasing = self.campaign.prepared_at.is_some() && second < 2 * HOUR;
            if releasing || second % MINUTE == 0 {
                self.tick();
            }
            self.happen();
            self.send();
        }
    }

    fn tick(&mut self) {
        let counts = self.tenant.counts(&self.campaign.id);
        assert!(counts.add_up(), "at {} s: {counts:?}", self.second);
        let campaign = self.campaign.clone();
        let duties = match campaign.tick(&counts, self.tenant.now) {
            Tick::Becomes(next) => {
                self.campaign = *next;
                return;
            }
            Tick::Does(duties) => duties,
        };
        let overdue = self.first.front().map_or(0, |(at, _)| self.second - at);
        let most = self.allowance.look(&Look {
            elapsed: Duration::from_secs(self.second.unsigned_abs()),
            pace: &campaign.definition.pace,
            app_per_second: self.per_second,
            backlog: Duration::from_secs(overdue.max(0).unsigned_abs()),
            repush_due: !self.repush.is_empty(),
            sessions: counts.sessions(self.tenant.now),
            slowed: false,
        });
        let most = most.min(duties.release);
        let order = Order {
            campaign: &campaign,
            wave: campaign.wave_of_release(counts.targets),
            paused: &HashSet::new(),
        };
        let released = self.tenant.release(&order, usize::try_from(most).unwrap());
        self.allowance.spend(released.len() as u64);
        for index in released {
            self.plan(index);
        }
        if let Some(sweep) = duties.sweep {
            self.tenant.sweep(&campaign, sweep);
        }
    }

    /// Notes when the device's turn comes.
    fn plan(&mut self, index: usize) {
        let record = self.tenant.slots[index].record.as_ref();
        if let Some(due) = record.and_then(|r| place(&self.tenant.id, r)) {
            let wait = due.at.duration_since(self.start).as_secs_f64().ceil() as i64;
            let at = wait.max(self.second);
            self.ahead.push(Reverse((at, Happens::Due, index)));
        }
    }

    fn happen(&mut self) {
        while let Some(Reverse((at, what, index))) = self.ahead.peek().copied() {
            if at > self.second {
                return;
            }
            self.ahead.pop();
            match what {
                Happens::Due => self.come_due(index),
                Happens::CheckIn => {
                    let now = self.tenant.now;
                    self.tenant.edit(index, |step, record| {
                        ((), check_in(step, record, now).effects)
                    });
                    self.plan(index);
                }
                Happens::Renew => {
                    self.natures[index] = Nature::Always;
                    self.tenant
                        .edit(index, |step, record| register(step, record, uri(index, 2)));
                    self.plan(index);
                }
            }
        }
    }

    /// Where the device waits, if its turn has come.
    fn turn(&self, index: usize) -> Option<Queue> {
        let record = self.tenant.slots[index].record.as_ref()?;
        let due = place(&self.tenant.id, record)?;
        (due.at <= self.tenant.now).then_some(due.queue)
    }

    fn come_due(&mut self, index: usize) {
        let Some(queue) = self.turn(index) else {
            return;
        };
        match queue.lane {
            Lane::Urgent | Lane::Normal | Lane::Bulk => self.first.push_back((self.second, index)),
            Lane::Repush => self.repush.push_back((self.second, index)),
            Lane::Timer => {
                self.tenant
                    .edit(index, |step, record| review(step, record, &queue, false));
                self.plan(index);
            }
        }
    }

    fn send(&mut self) {
        if self.second >= self.paused_until {
            self.released_ahead_max = self.released_ahead_max.max(self.first.len());
        }
        let down = (OUTAGE.0..OUTAGE.1).contains(&self.second);
        // While WNS is down the breaker lets probes through only.
        let rate = if down { 2.0 } else { self.per_second };
        self.credit = (self.credit + rate).min(rate.max(1.0));
        let mut repushes = (rate / 10.0).max(1.0) as usize;
        while self.credit >= 1.0 && self.second >= self.paused_until {
            let next = match self.first.pop_front() {
                Some((_, index)) => Some(index),
                None => self.repush.pop_front().map(|(_, index)| index),
            };
            let Some(index) = next else { return };
            self.post(index);
            if repushes > 0 && !self.first.is_empty() {
                repushes -= 1;
                if let Some((_, index)) = self.repush.pop_front() {
                    self.post(index);
                }
            }
        }
    }

    fn post(&mut self, index: usize) {
        let Some(queue) = self.turn(index) else {
            return;
        };
        let now = self.tenant.now;
        let (verdict, _) = {
            let record = self.tenant.slots[index].record.as_mut().unwrap();
            let mut looked = record.clone();
            let device = super::model::device(index);
            let step = reveille::domain::transition::Step {
                rules: &self.tenant.rules,
                device: &device,
                now,
                jitter: 0.0,
            };
            review(&step, &mut looked, &queue, false)
        };
        if verdict == reveille::domain::transition::Verdict::Commit {
            self.tenant
                .edit(index, |step, record| review(step, record, &queue, false));
            self.plan(index);
            return;
        }
        self.credit -= 1.0;
        let outcome = self.answer(index);
        if !matches!(
            outcome,
            Outcome::Unavailable { .. } | Outcome::AppThrottled { .. }
        ) {
            self.posts[index] += 1;
        }
        self.tenant.edit(index, |step, record| {
            let attempt = Attempt {
                began_at: now,
                asks: record.asked(),
                generation: record.generation(),
                outcome,
                trace: Trace::default(),
                ms_cv: Arc::from(""),
                ttl: Duration::from_secs(12 * 3_600),
                wave: false,
            };
            ((), settle(step, record, &attempt))
        });
        self.plan(index);
    }

    /// What WNS says, and what the device does.
    fn answer(&mut self, index: usize) -> Outcome {
        let second = self.second;
        if (OUTAGE.0..OUTAGE.1).contains(&second) {
            return Outcome::Unavailable {
                kind: UnavailableKind::Timeout,
                retry_after: None,
            };
        }
        if second >= THROTTLED_AT && !self.throttled {
            self.throttled = true;
            self.paused_until = second + THROTTLED_FOR;
            return Outcome::AppThrottled {
                retry_after: Duration::from_secs(THROTTLED_FOR.unsigned_abs()),
            };
        }
        let accepted = |cached| Outcome::Accepted {
            cached,
            stated: true,
        };
        let night = NIGHTS
            .iter()
            .find(|(from, to)| (*from..*to).contains(&second));
        match (self.natures[index], night) {
            (Nature::DeadUntil(_), _) => Outcome::ChannelRefused {
                cause: ChannelRefusal::Gone,
            },
            (Nature::NeverOn, _) => accepted(true),
            (Nature::OffAtNight { cached: false }, Some(_)) => Outcome::Dropped,
            (Nature::OffAtNight { cached: true }, Some((_, morning))) => {
                self.session(index, *morning);
                accepted(true)
            }
            (Nature::Always | Nature::OffAtNight { .. } | Nature::NoChannel, _) => {
                // Some notifications are lost on the last mile.
                if self.tenant.random() < 0.97 {
                    self.session(index, second);
                }
                accepted(false)
            }
        }
    }

    /// What two days have come to, for whoever runs it by hand.
    fn summary(&self, counts: &Counts) -> String {
        let posts: u64 = self.posts.iter().map(|n| u64::from(*n)).sum();
        let most = self.posts.iter().max().copied().unwrap_or(0);
        let seconds = |share| {
            let delay = counts.delays.percentile(share);
            delay.map_or(0.0, |d: SignedDuration| d.as_secs_f64().round())
        };
        format!(
            "{} devices: {} checked in, {} expired; {posts} POSTs that WNS answered, {most} at most to one device; from push to \
             check-in p50 {} s, p90 {} s, p99 {} s; at most {} released ahead",
            self.posts.len(),
            counts.closed_as("checked_in"),
            counts.closed_as("expired"),
            seconds(0.5),
            seconds(0.9),
            seconds(0.99),
            self.released_ahead_max,
        )
    }

    fn session(&mut self, index: usize, from: i64) {
        let wait = 1 + (self.tenant.random() * 60.0) as i64;
        self.ahead
            .push(Reverse((from + wait, Happens::CheckIn, index)));
    }
}

fn nature(tenant: &mut Tenant) -> Nature {
    let dice = tenant.random();
    if dice < 0.12 {
        let cached = dice < 0.09;
        return Nature::OffAtNight { cached };
    }
    if dice < 0.15 {
        let renewed = HOUR + (tenant.random() * (40 * HOUR) as f64) as i64;
        return Nature::DeadUntil(renewed);
    }
    if dice < 0.1525 {
        return Nature::NeverOn;
    }
    if dice < 0.155 {
        return Nature::NoChannel;
    }
    Nature::Always
}

#[test]
fn every_device_that_can_be_reached_within_two_days_is_woken() {
    let devices = size();
    let mut world = World::new(devices);
    let never = |n: &Nature| matches!(n, Nature::NeverOn | Nature::NoChannel);
    let lost = world.natures.iter().filter(|n| never(n)).count();
    let natures = world.natures.clone();

    world.run();

    let counts = world.tenant.counts(&world.campaign.id);
    println!("{}", world.summary(&counts));
    assert!(counts.add_up(), "{counts:?}");
    assert_eq!(world.campaign.state, State::Finished);
    assert_eq!(world.campaign.gates.len(), 1, "the first wave was judged");
    assert_eq!(counts.closed_as("checked_in"), (devices - lost) as u64);
    assert_eq!(counts.closed_as("expired"), lost as u64);
    assert_eq!(counts.delays.count(), (devices - lost) as u64);
    assert!(counts.delays.percentile(0.5).unwrap() < SignedDuration::from_secs(90));
    for (index, nature) in natures.iter().enumerate() {
        let result = world.tenant.result(&world.campaign.id, index).unwrap();
        let (_, result) = TargetResult::parse(result).unwrap();
        let posts = world.posts[index];
        match nature {
            Nature::NeverOn => assert_eq!(result.cause.as_deref(), Some("no_check_in")),
            Nature::NoChannel => {
                assert_eq!(result.cause.as_deref(), Some("no_channel"));
                assert_eq!(posts, 0);
            }
            Nature::Always => assert!((1..=9).contains(&posts), "{index}: {posts} POSTs"),
            Nature::DeadUntil(_) => assert!((1..=9).contains(&posts), "{index}: {posts} POSTs"),
            // Without a cache WNS drops what a sleeping device would get: the backoff ends at half an hour.
            Nature::OffAtNight { .. } => assert!((1..=40).contains(&posts), "{index}: {posts}"),
        }
    }
    // A pause would find no more than this released and not sent.
    let ahead = rate(&Pace::default(), world.per_second) * 7.0 + 2.0;
    assert!(
        (world.released_ahead_max as f64) <= ahead,
        "{} released ahead",
        world.released_ahead_max
    );
}
