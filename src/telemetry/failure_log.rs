//! Bounds what a storm of failures writes: the first line of a kind at once, then one summary an interval.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Most kinds and scopes that are told apart; what comes beyond shares one place.
const WINDOWS_MAX: usize = 16_384;
/// The scope of what comes beyond.
const OTHERS: &str = "(others)";

/// What to do with a line about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it, and say how many lines before it were not written.
    Write {
        /// Lines of this kind since the last one that was written.
        suppressed: u64,
    },
    /// Do not write it; it has been counted.
    Suppress,
}

/// Failures of one kind that were counted and not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The kind of failure.
    pub class: &'static str,
    /// What failed: an app, a store, a webhook's tenant.
    pub scope: String,
    /// How many.
    pub suppressed: u64,
}

/// Decides which lines about failures are written.
#[derive(Debug)]
pub struct FailureLog {
    interval: Duration,
    windows: Mutex<Windows>,
}

/// The running intervals by kind and scope; two levels, so that a look-up copies no text.
#[derive(Debug, Default)]
struct Windows {
    by_class: HashMap<&'static str, HashMap<String, Window>>,
    count: usize,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    suppressed: u64,
}

impl FailureLog {
    /// Writes at most one line of a kind and scope an `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            windows: Mutex::default(),
        }
    }

    /// Notes a failure of the kind `class` in `scope`, and says whether to write of it.
    pub fn note(&self, class: &'static str, scope: &str, now: Instant) -> Verdict {
        self.note_for(class, scope, now, self.interval)
    }

    /// Notes a failure whose line cannot tell of others: true for the first, while the others are left to summaries.
    pub fn is_first(&self, class: &'static str, scope: &str, now: Instant) -> bool {
        match self.note_for(class, scope, now, Duration::MAX) {
            Verdict::Write { .. } => true,
            Verdict::Suppress => false,
        }
    }

    fn note_for(
        &self,
        class: &'static str,
        scope: &str,
        now: Instant,
        interval: Duration,
    ) -> Verdict {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let full = windows.count >= WINDOWS_MAX;
        let scopes = windows.by_class.entry(class).or_default();
        let scope = if full && !scopes.contains_key(scope) {
            OTHERS
        } else {
            scope
        };
        let Some(window) = scopes.get_mut(scope) else {
            let window = Window {
                since: now,
                suppressed: 0,
            };
            scopes.insert(scope.to_owned(), window);
            windows.count += 1;
            return Verdict::Write { suppressed: 0 };
        };
        if now.saturating_duration_since(window.since) < interval {
            window.suppressed += 1;
            return Verdict::Suppress;
        }
        window.since = now;
        Verdict::Write {
            suppressed: std::mem::take(&mut window.suppressed),
        }
    }

    /// Ends the intervals that are over and tells what was not written in them. To be called about once an interval.
    #[must_use]
    pub fn sweep(&self, now: Instant) -> Vec<Summary> {
        self.end(now, |since| {
            now.saturating_duration_since(since) >= self.interval
        })
    }

    /// Ends all intervals, over or not. To be called when the process ends.
    #[must_use]
    pub fn flush(&self, now: Instant) -> Vec<Summary> {
        self.end(now, |_| true)
    }

    /// Ends the intervals that began at a time that is `over`.
    fn end(&self, now: Instant, over: impl Fn(Instant) -> bool) -> Vec<Summary> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut summaries = Vec::new();
        for (class, scopes) in &mut windows.by_class {
            scopes.retain(|scope, window| {
                if !over(window.since) {
                    return true;
                }
                window.since = now;
                let suppressed = std::mem::take(&mut window.suppressed);
                if suppressed > 0 {
                    summaries.push(Summary {
                        class,
                        scope: scope.clone(),
                        suppressed,
                    });
                }
                suppressed > 0
            });
        }
        windows.count = windows.by_class.values().map(HashMap::len).sum();
        summaries.sort_by(|a, b| (a.class, &a.scope).cmp(&(b.class, &b.scope)));
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_storm_writes_one_line_and_one_summary_an_interval() {
        let log = FailureLog::new(INTERVAL);
        let start = Instant::now();

        let verdicts: Vec<Verdict> = (0..1000)
            .map(|_| log.note("timeout", "contoso", start))
            .collect();
        let early = log.sweep(start + INTERVAL / 2);
        let summaries = log.sweep(start + INTERVAL);

        assert_eq!(verdicts[0], Verdict::Write { suppressed: 0 });
        assert!(
            verdicts[1..]
                .iter()
                .all(|verdict| *verdict == Verdict::Suppress)
        );
        assert_eq!(early, []);
        assert_eq!(
            summaries,
            [Summary {
                class: "timeout",
                scope: "contoso".into(),
                suppressed: 999
            }]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_storm_that_goes_on_is_not_written_again_at_once_after_a_summary() {
        let log = FailureLog::new(INTERVAL);
        let start = Instant::now();
        log.note("timeout", "contoso", start);
        log.note("timeout", "contoso", start);
        assert_eq!(log.sweep(start + INTERVAL).len(), 1);

        assert_eq!(
            log.note("timeout", "contoso", start + INTERVAL),
            Verdict::Suppress
        );
        let later = log.note("timeout", "contoso", start + INTERVAL * 2);

        assert_eq!(later, Verdict::Write { suppressed: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_and_scopes_do_not_hide_each_other_and_quiet_ones_are_forgotten() {
        let log = FailureLog::new(INTERVAL);
        let start = Instant::now();
        for (class, scope) in [("timeout", "a"), ("timeout", "b"), ("dns", "a")] {
            assert_eq!(
                log.note(class, scope, start),
                Verdict::Write { suppressed: 0 }
            );
        }
        assert_eq!(log.sweep(start + INTERVAL), []);
        assert!(log.windows.lock().unwrap().count == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_nothing_stays_untold() {
        let log = FailureLog::new(INTERVAL);
        let start = Instant::now();
        for _ in 0..3 {
            log.note("timeout", "contoso", start);
        }
        assert_eq!(log.sweep(start), []);

        let told: Vec<u64> = log.flush(start).iter().map(|s| s.suppressed).collect();

        assert_eq!(told, [2]);
        assert_eq!(log.flush(start), []);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whatever_fails() {
        let log = FailureLog::new(INTERVAL);
        let start = Instant::now();
        for number in 0..WINDOWS_MAX + 100 {
            log.note("timeout", &number.to_string(), start);
        }
        assert_eq!(log.windows.lock().unwrap().count, WINDOWS_MAX + 1);
        assert_eq!(
            log.sweep(start + INTERVAL),
            [Summary {
                class: "timeout",
                scope: OTHERS.into(),
                suppressed: 99
            }]
        );
    }
}
