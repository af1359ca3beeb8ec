//! Where lists begin. Members leave a list at its front, and each leaves a mark behind which a reader has to pass over until the
//! key-value store tidies up; who remembers where the first member was found need not.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::ops::Op;

/// Lists remembered; beyond that all are forgotten, and found anew.
const LISTS_MAX: usize = 1024;

/// Fronts by tenant and list.
#[derive(Default)]
pub(super) struct Fronts(Mutex<Known>);

#[derive(Default)]
struct Known {
    fronts: HashMap<(String, String), Front>,
    stamp: u64,
}

/// What is known of one list: no member stands before `score`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// The least score that a member may have; none when any.
    pub(super) score: Option<i64>,
    /// Another with each member that is put, so that a reader who has not seen the last of them raises nothing.
    stamp: u64,
}

impl Known {
    fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }
}

impl Fronts {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to begin to read; to be asked before reading. From now on the list is watched.
    pub(super) fn of(&self, tenant: &str, list: &str) -> Front {
        let mut known = self.lock();
        if known.fronts.len() >= LISTS_MAX {
            known.fronts.clear();
        }
        let stamp = known.stamp();
        let key = (tenant.to_owned(), list.to_owned());
        *known
            .fronts
            .entry(key)
            .or_insert(Front { score: None, stamp })
    }

    /// Notes the score of the first member found by a reader that began at `front`; an empty list is forgotten.
    pub(super) fn found(&self, tenant: &str, list: &str, front: Front, score: Option<i64>) {
        let key = (tenant.to_owned(), list.to_owned());
        let fronts = &mut self.lock().fronts;
        if fronts
            .get(&key)
            .is_none_or(|known| known.stamp != front.stamp)
        {
            return;
        }
        match score {
            Some(_) => drop(fronts.insert(key, Front { score, ..front })),
            None => drop(fronts.remove(&key)),
        }
    }

    /// Takes note of what has been put into lists, after it can be read.
    pub(super) fn note(&self, ops: &[Op<'_>]) {
        let mut known = self.lock();
        if known.fronts.is_empty() {
            return;
        }
        for op in ops {
            let Op::ListPut {
                tenant,
                list,
                score: put,
                ..
            } = *op
            else {
                continue;
            };
            let stamp = known.stamp();
            let key = (tenant.to_owned(), list.to_owned());
            if let Some(front) = known.fronts.get_mut(&key) {
                front.score = front.score.map(|score| score.min(put));
                front.stamp = stamp;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(score: i64) -> Op<'static> {
        Op::ListPut {
            tenant: "t",
            list: "l",
            device: "d",
            score,
            text: "",
        }
    }

    #[test]
    fn a_list_begins_where_its_first_member_was_found_or_was_put_since() {
        let fronts = Fronts::default();
        fronts.found("t", "l", fronts.of("t", "l"), Some(5));
        assert_eq!(fronts.of("t", "l").score, Some(5));
        fronts.note(&[put(9)]);
        assert_eq!(fronts.of("t", "l").score, Some(5));
        fronts.note(&[put(3)]);
        assert_eq!(fronts.of("t", "l").score, Some(3));
        fronts.found("t", "l", fronts.of("t", "l"), None);
        assert_eq!(fronts.of("t", "l").score, None);
    }

    #[test]
    fn a_reader_that_has_not_seen_the_last_member_raises_nothing() {
        let fronts = Fronts::default();
        let front = fronts.of("t", "l");
        fronts.note(&[put(3)]);
        fronts.found("t", "l", front, Some(8));
        assert_eq!(fronts.of("t", "l").score, None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let fronts = Fronts::default();
        for n in 0..LISTS_MAX + 10 {
            fronts.of("t", &n.to_string());
        }
        assert!(fronts.lock().fronts.len() <= LISTS_MAX);
    }
}
