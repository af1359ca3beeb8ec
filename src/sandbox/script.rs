//! Scripts: replies that are played in order, for one device or for everybody, before the model speaks again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde::Serialize;

use super::{clock::Moment, step::Step};

/// Most steps in one script.
pub(crate) const STEPS_MAX: usize = 10_000;

/// The script of all devices together.
#[derive(Debug, Default)]
pub(crate) struct GlobalScript {
    running: AtomicBool,
    entries: Mutex<VecDeque<Entry>>,
}

/// A reply and how long it is given.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) step: Step,
    pub(crate) lasts: Lasts,
    /// The app it is limited to.
    pub(crate) app: Option<u16>,
}

/// How long an entry of the global script lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// For so many requests.
    Requests(u64),
    /// Until a moment.
    Until(Moment),
}

/// A step that is still to be played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rest {
    pub(crate) reply: Step,
    /// How often.
    pub(crate) left: u32,
}

impl GlobalScript {
    pub(crate) fn add(&self, entry: Entry) {
        let mut entries = lock(&self.entries);
        entries.push_back(entry);
        self.running.store(true, Relaxed);
    }

    pub(crate) fn clear(&self) {
        let mut entries = lock(&self.entries);
        entries.clear();
        self.running.store(false, Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).len()
    }

    /// The reply for the next request, unless no script runs for its app. Costs one load when none runs at all.
    pub(crate) fn next(&self, app: u16, now: Moment) -> Option<Step> {
        if !self.running.load(Relaxed) {
            return None;
        }
        let mut entries = lock(&self.entries);
        entries.retain(|entry| {
            entry.lasts != Lasts::Requests(0)
                && !matches!(entry.lasts, Lasts::Until(end) if end <= now)
        });
        self.running.store(!entries.is_empty(), Relaxed);
        let entry = entries
            .iter_mut()
            .find(|entry| entry.app.is_none_or(|only| only == app))?;
        if let Lasts::Requests(left) = &mut entry.lasts {
            *left -= 1;
        }
        Some(entry.step.clone())
    }
}

/// The scripts of single devices, by subject; a device's flag says whether it has one.
#[derive(Debug, Default)]
pub(crate) struct DeviceScripts(Mutex<HashMap<u64, VecDeque<(Step, u32)>>>);

impl DeviceScripts {
    pub(crate) fn set(&self, subject: u64, steps: Vec<Step>) {
        let steps = steps
            .into_iter()
            .map(|step| (step.clone(), step.times()))
            .collect();
        lock(&self.0).insert(subject, steps);
    }

    pub(crate) fn remove(&self, subject: u64) {
        lock(&self.0).remove(&subject);
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The steps that are still to be played, and how often.
    pub(crate) fn rest(&self, subject: u64) -> Vec<Rest> {
        let scripts = lock(&self.0);
        let rest = scripts.get(&subject).into_iter().flatten();
        rest.map(|(step, left)| Rest {
            reply: step.clone(),
            left: *left,
        })
        .collect()
    }

    /// The next step of a device; nothing once its script is over, which then is forgotten.
    pub(crate) fn next(&self, subject: u64) -> Option<Step> {
        let mut scripts = lock(&self.0);
        let script = scripts.get_mut(&subject)?;
        let Some((step, left)) = script.front_mut() else {
            scripts.remove(&subject);
            return None;
        };
        *left -= 1;
        if *left > 0 {
            return Some(step.clone());
        }
        script.pop_front().map(|(step, _)| step)
    }
}

/// Locks; what a panicking holder left behind is still a list of steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(step: &str, lasts: Lasts, app: Option<u16>) -> Entry {
        Entry {
            step: step.parse().unwrap(),
            lasts,
            app,
        }
    }

    #[test]
    fn entries_are_played_in_order_by_count_and_by_time() {
        let (script, now) = (GlobalScript::default(), Moment(1));
        script.add(entry("503", Lasts::Requests(2), None));
        script.add(entry(
            "429",
            Lasts::Until(now.after(Duration::from_secs(5))),
            None,
        ));
        let played = |now| script.next(0, now).map(|step| step.to_string());
        assert_eq!(played(now).as_deref(), Some("503"));
        assert_eq!(played(now).as_deref(), Some("503"));
        assert_eq!(played(now).as_deref(), Some("429"));
        assert_eq!(
            played(now.after(Duration::from_secs(4))).as_deref(),
            Some("429")
        );
        assert_eq!(played(now.after(Duration::from_secs(5))), None);
    }

    #[test]
    fn an_entry_for_one_app_leaves_the_others_alone() {
        let script = GlobalScript::default();
        script.add(entry("503", Lasts::Requests(1), Some(1)));
        assert_eq!(script.next(0, Moment(1)), None);
        assert_eq!(script.next(1, Moment(1)).unwrap().to_string(), "503");
        assert_eq!(script.next(1, Moment(1)), None);
    }

    #[test]
    fn a_device_plays_its_steps_and_is_then_forgotten() {
        let scripts = DeviceScripts::default();
        scripts.set(
            7,
            vec!["401".parse().unwrap(), "503:times=2".parse().unwrap()],
        );
        let left: Vec<_> = scripts.rest(7).iter().map(|rest| rest.left).collect();
        assert_eq!(left, [1, 2]);
        let played: Vec<_> = std::iter::from_fn(|| scripts.next(7))
            .map(|step| step.to_string())
            .collect();
        assert_eq!(played, ["401", "503:times=2", "503:times=2"]);
        assert!(scripts.rest(7).is_empty());
        assert_eq!(scripts.next(8), None);
    }
}
