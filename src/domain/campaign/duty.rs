//! What there is to do for a campaign now.

use jiff::Timestamp;

use super::{
    counts::Counts,
    state::{Campaign, State},
};

/// A walk through a campaign's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweep {
    /// Ends what is left of a cancelled campaign.
    Cancel,
    /// Ends what the deadline has overtaken.
    Expire,
    /// Holds the asks of a paused campaign that lead a push others wait for, so that it is sent for them.
    Hold,
    /// Lets held asks go on.
    LetGo,
}

/// Work that leaves the document as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// List the targets that the selection names.
    pub prepare: bool,
    /// How many targets may be released, whatever the pace.
    pub release: u64,
    /// A walk to go on with.
    pub sweep: Option<Sweep>,
}

/// What a look at the campaign came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Tick {
    /// The document must change before anything else happens.
    Becomes(Box<Campaign>),
    /// There is work, or none.
    Does(Duties),
}

impl Campaign {
    /// Decides what is to be done with the counts as they are.
    #[must_use]
    pub fn tick(&self, counts: &Counts, now: Timestamp) -> Tick {
        match self.state {
            State::Draft | State::Finished => Tick::Does(Duties::default()),
            State::Preparing => self.tick_preparing(counts, now),
            State::Running | State::Paused => self.tick_started(counts, now),
            State::Cancelled => self.tick_cancelled(counts),
        }
    }

    fn overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// A wave that is a share grows with the targets listed so far, so it never goes further than it does in the end. After
    /// the deadline the rest is listed all the same, so that every target has an end.
    fn tick_preparing(&self, counts: &Counts, now: Timestamp) -> Tick {
        if self.overdue(now) {
            return Tick::Does(Duties {
                prepare: true,
                ..Duties::default()
            });
        }
        let limit = self.wave_limit(counts.targets);
        let left = limit.saturating_sub(counts.released());
        Tick::Does(Duties {
            prepare: true,
            ..self.release(left, counts)
        })
    }

    fn tick_started(&self, counts: &Counts, now: Timestamp) -> Tick {
        if self.prepared_at.is_some() && counts.unfinished() == 0 {
            return self.becomes(|c| c.finish(counts, now));
        }
        // Listing sends nothing, so a pause does not stop it.
        let prepare = self.prepared_at.is_none();
        if self.overdue(now) {
            return Tick::Does(Duties {
                prepare,
                sweep: (!prepare).then_some(Sweep::Expire),
                ..Duties::default()
            });
        }
        if self.state == State::Paused {
            return Tick::Does(Duties {
                prepare,
                sweep: (counts.open + counts.awaiting > 0).then_some(Sweep::Hold),
                ..Duties::default()
            });
        }
        self.tick_running(counts, now)
    }

    fn tick_running(&self, counts: &Counts, now: Timestamp) -> Tick {
        if let Some(at) = self.judge_at {
            if at <= now {
                return self.becomes(|c| c.judge(counts, now));
            }
            return Tick::Does(self.release(0, counts));
        }
        let limit = self.wave_limit(counts.targets);
        let left = limit.saturating_sub(counts.released());
        if left == 0 && counts.waiting > 0 {
            return self.becomes(|c| c.hold_gate(now));
        }
        Tick::Does(self.release(left, counts))
    }

    fn release(&self, release: u64, counts: &Counts) -> Duties {
        Duties {
            prepare: false,
            release: release.min(counts.waiting),
            sweep: (counts.held > 0).then_some(Sweep::LetGo),
        }
    }

    /// How many targets the current wave reaches; after the last one, all.
    fn wave_limit(&self, targets: u64) -> u64 {
        let waves = &self.definition.waves;
        let Some(wave) = waves.get(usize::from(self.wave)) else {
            return targets;
        };
        wave.size.of(targets)
    }

    /// The wave of targets released now, from 1; 0 when no gate will judge them. While targets are still being listed,
    /// nobody knows how far the wave will go.
    #[must_use]
    pub fn wave_of_release(&self, targets: u64) -> u8 {
        let goes_on = match self.prepared_at {
            Some(_) => self.wave_limit(targets) < targets,
            None => usize::from(self.wave) < self.definition.waves.len(),
        };
        if goes_on {
            self.wave.saturating_add(1)
        } else {
            0
        }
    }

    fn tick_cancelled(&self, counts: &Counts) -> Tick {
        if self.swept {
            return Tick::Does(Duties::default());
        }
        if counts.unfinished() == 0 {
            return self.becomes(|c| c.swept = true);
        }
        Tick::Does(Duties {
            sweep: Some(Sweep::Cancel),
            ..Duties::default()
        })
    }

    fn becomes(&self, change: impl FnOnce(&mut Self)) -> Tick {
        let mut changed = self.clone();
        change(&mut changed);
        Tick::Becomes(Box::new(changed))
    }
}
