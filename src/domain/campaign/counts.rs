//! Where a campaign's targets stand, read from the store's counters.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{result::TargetStatus, state::State, wave::SAMPLES_MIN};
use crate::domain::{
    ask::CloseReason,
    counter::WakeSlot,
    delay::{DelayBucket, Delays},
    id::CampaignId,
};

/// What a gate looks at: a wave's targets that were reachable at their release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveCounts {
    /// All of them.
    pub reachable: u64,
    /// Those that have checked in.
    pub checked_in: u64,
    /// Those for which an attempt has come to something.
    pub sent: u64,
    /// Those that were rejected or lost their channel.
    pub errors: u64,
}

/// All counters of a campaign at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All targets.
    pub targets: u64,
    /// Not yet released.
    pub waiting: u64,
    /// Released, to be sent.
    pub open: u64,
    /// Held by a pause.
    pub held: u64,
    /// Accepted by WNS, not checked in.
    pub awaiting: u64,
    /// Without a usable channel.
    pub blocked: u64,
    /// Ended, by [`CloseReason::LABELS`], in that order.
    pub closed: [u64; 5],
    /// POSTs that WNS answered for its targets.
    pub attempts: u64,
    /// From push to check-in.
    pub delays: Delays,
    waves: BTreeMap<u8, WaveCounts>,
    woken: BTreeMap<WakeSlot, u64>,
}

impl Counts {
    /// The prefix of all counters of a campaign.
    #[must_use]
    pub fn prefix(id: &CampaignId) -> String {
        format!("campaign.{id}.")
    }

    /// The prefix of those that [`Counts::sessions`] looks at.
    #[must_use]
    pub fn prefix_of_sessions(id: &CampaignId) -> String {
        format!("campaign.{id}.woken_")
    }

    /// Reads the counters of the campaign `id`; what else there is, is passed over.
    #[must_use]
    pub fn read(id: &CampaignId, counters: &BTreeMap<String, i64>) -> Self {
        let prefix = Self::prefix(id);
        let mut counts = Self::default();
        for (name, value) in counters {
            let Some(name) = name.strip_prefix(&prefix) else {
                continue;
            };
            counts.note(name, u64::try_from(*value).unwrap_or(0));
        }
        counts
    }

    fn note(&mut self, name: &str, value: u64) {
        if let Some(bucket) = name
            .strip_prefix("delay_")
            .and_then(|n| n.parse::<u16>().ok())
        {
            self.delays.add(DelayBucket(bucket), value);
        } else if let Some(slot) = name.strip_prefix("woken_").and_then(|n| n.parse().ok()) {
            self.woken.insert(WakeSlot(slot), value);
        } else if let Some((wave, state)) = wave_of(name) {
            self.waves.entry(wave).or_default().note(state, value);
        } else if let Some(at) = CloseReason::LABELS.iter().position(|l| *l == name) {
            self.closed[at] = value;
        } else if let Some(counter) = self.counter(name) {
            *counter = value;
        }
    }

    fn counter(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "targets" => &mut self.targets,
            "waiting" => &mut self.waiting,
            "open" => &mut self.open,
            "held" => &mut self.held,
            "awaiting" => &mut self.awaiting,
            "blocked" => &mut self.blocked,
            "attempts" => &mut self.attempts,
            _ => return None,
        })
    }

    /// Targets that have not ended.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.waiting + self.open + self.held + self.awaiting + self.blocked
    }

    /// Targets whose asks are open.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.open + self.held + self.awaiting + self.blocked
    }

    /// Targets that have left the waiting list.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.targets.saturating_sub(self.waiting)
    }

    /// Targets that ended for `reason`, one of [`CloseReason::LABELS`].
    #[must_use]
    pub fn closed_as(&self, reason: &str) -> u64 {
        let at = CloseReason::LABELS.iter().position(|l| *l == reason);
        at.map_or(0, |at| self.closed[at])
    }

    /// Whether every target is in exactly one state.
    #[must_use]
    pub fn add_up(&self) -> bool {
        self.targets == self.unfinished() + self.closed.iter().sum::<u64>()
    }

    /// The counts of a campaign in `state` as people see them: what could be sent is held while it is paused, and what has
    /// not ended is cancelled with it.
    #[must_use]
    pub fn seen(mut self, state: State) -> Self {
        match state {
            State::Paused => self.held += std::mem::take(&mut self.open),
            State::Cancelled => {
                let cancelled = TargetStatus::Cancelled.as_str();
                let at = CloseReason::LABELS.iter().position(|l| *l == cancelled);
                self.closed[at.expect("a target may end as cancelled")] += self.unfinished();
                (self.waiting, self.open, self.held) = (0, 0, 0);
                (self.awaiting, self.blocked) = (0, 0);
            }
            State::Draft | State::Preparing | State::Running | State::Finished => {}
        }
        self
    }

    /// Targets that were told to wake within the last minute and have not checked in.
    #[must_use]
    pub fn sessions(&self, now: Timestamp) -> u64 {
        let recent = self.woken.iter().filter(|(slot, _)| slot.may_be_open(now));
        recent.map(|(_, count)| count).sum()
    }

    /// How long a target's session has counted as open, on the average of those whose time is over; the longest that one may
    /// count, while too few are to say. Devices that came without a notification say nothing.
    #[must_use]
    pub fn session(&self, now: Timestamp) -> Duration {
        let checked_in = self.delays.count();
        let unprompted = self.closed_as("checked_in").saturating_sub(checked_in);
        let over = self
            .released()
            .saturating_sub(self.sessions(now) + unprompted)
            .max(checked_in);
        if over < SAMPLES_MIN {
            return WakeSlot::COUNTED;
        }
        let silent = (over - checked_in) as f64 * WakeSlot::COUNTED.as_secs_f64();
        let all = silent + self.delays.seconds_up_to(WakeSlot::COUNTED);
        Duration::from_secs_f64(all / over as f64)
    }

    /// The oldest slot whose counter is of no use any more.
    #[must_use]
    pub fn slot_to_drop(&self, now: Timestamp) -> Option<WakeSlot> {
        let (slot, _) = self.woken.first_key_value()?;
        slot.is_over(now).then_some(*slot)
    }

    /// What the gate of a wave, from 1, looks at.
    #[must_use]
    pub fn wave(&self, wave: u8) -> WaveCounts {
        self.waves.get(&wave).copied().unwrap_or_default()
    }
}

/// `wave<n>_<state>`.
fn wave_of(name: &str) -> Option<(u8, &str)> {
    let (wave, state) = name.strip_prefix("wave")?.split_once('_')?;
    Some((wave.parse().ok()?, state))
}

impl WaveCounts {
    fn note(&mut self, state: &str, value: u64) {
        self.reachable += value;
        match state {
            "open" | "held" | "cancelled" | "expired" => {}
            "checked_in" => {
                self.checked_in += value;
                self.sent += value;
            }
            "rejected" | "blocked" => {
                self.errors += value;
                self.sent += value;
            }
            _ => self.sent += value,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn counters(entries: &[(&str, i64)]) -> BTreeMap<String, i64> {
        let named = entries.iter().map(|(name, n)| ((*name).to_owned(), *n));
        named.collect()
    }

    #[test]
    fn counters_are_read_by_name_and_others_passed_over() {
        let id = CampaignId::new("c1").unwrap();
        let read = Counts::read(
            &id,
            &counters(&[
                ("campaign.c1.targets", 10),
                ("campaign.c1.waiting", 3),
                ("campaign.c1.awaiting", 2),
                ("campaign.c1.checked_in", 4),
                ("campaign.c1.expired", 1),
                ("campaign.c1.attempts", 7),
                ("campaign.c1.delay_3", 4),
                ("campaign.c1.wave1_checked_in", 4),
                ("campaign.c1.wave1_blocked", 1),
                ("campaign.c1.wave1_open", 1),
                ("campaign.c11.open", 99),
                ("channels.live", 99),
            ]),
        );
        assert_eq!((read.targets, read.waiting, read.awaiting), (10, 3, 2));
        assert_eq!((read.closed_as("checked_in"), read.released()), (4, 7));
        assert_eq!((read.attempts, read.delays.count()), (7, 4));
        assert!(read.add_up());
        let wave = read.wave(1);
        assert_eq!((wave.reachable, wave.checked_in), (6, 4));
        assert_eq!((wave.sent, wave.errors), (5, 1));
        assert_eq!(read.wave(2), WaveCounts::default());
    }

    #[test]
    fn a_session_lasts_as_long_as_those_before_it_and_the_longest_until_there_were_some() {
        let now = Timestamp::from_second(1_760_000_000).unwrap();
        let id = CampaignId::new("c").unwrap();
        let bucket = DelayBucket::of(SignedDuration::from_secs(10)).0;
        let seconds = |checked_in: i64, silent: i64, open: i64| {
            let targets = checked_in + silent + open;
            let named = [
                ("campaign.c.targets".to_owned(), targets + 1_000),
                ("campaign.c.waiting".to_owned(), 1_000),
                (format!("campaign.c.delay_{bucket}"), checked_in),
                (format!("campaign.c.woken_{}", WakeSlot::of(now).0), open),
            ];
            let session = Counts::read(&id, &named.into_iter().collect()).session(now);
            session.as_secs_f64().round()
        };
        assert_eq!(seconds(0, 0, 500), 70.0);
        assert_eq!(seconds(19, 0, 500), 70.0);
        assert_eq!(seconds(0, 100, 500), 70.0);
        // A bucket ends up to 19 % above what is in it.
        assert_eq!(seconds(100, 0, 500), 11.0);
        assert_eq!(seconds(50, 50, 500), 40.0);

        let unprompted = [
            ("campaign.c.targets".to_owned(), 1_000),
            ("campaign.c.checked_in".to_owned(), 1_000),
            (format!("campaign.c.delay_{bucket}"), 100),
        ];
        let session = Counts::read(&id, &unprompted.into_iter().collect()).session(now);
        assert_eq!(session.as_secs_f64().round(), 11.0);
    }
}
