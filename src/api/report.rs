//! Counts what became of the entries of a bulk request, and keeps the first errors.

use std::collections::BinaryHeap;

use serde::Serialize;
use utoipa::ToSchema;

use super::json::cut_to;

/// Errors told in one answer; all are counted.
pub(super) const ERRORS_MAX: usize = 1000;
/// Longest device id and detail told, in bytes.
const TOLD_BYTES_MAX: usize = 200;

/// How entries of a body are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// By the number of their line, from 1.
    Line,
    /// By a pointer into this list, from 0.
    Pointer(&'static str),
    /// There is only one.
    Only,
}

/// One entry of a bulk request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct EntryError {
    /// Number of its line, from 1; blank lines count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// JSON pointer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The device, as far as it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Why it was not taken.
    pub detail: String,
}

/// The errors of a bulk request with the lowest numbers.
#[derive(Debug)]
pub(super) struct Errors {
    naming: Naming,
    first: BinaryHeap<Told>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    number: u64,
    device: Option<String>,
    detail: String,
}

impl Errors {
    pub(super) fn new(naming: Naming) -> Self {
        Self {
            naming,
            first: BinaryHeap::new(),
        }
    }

    /// Notes an error of entry `number`.
    pub(super) fn note(&mut self, number: u64, device: Option<&str>, detail: &str) {
        let full = self.first.len() >= ERRORS_MAX;
        if full && self.first.peek().is_some_and(|last| last.number <= number) {
            return;
        }
        if full {
            self.first.pop();
        }
        self.first.push(Told {
            number,
            device: device.map(|d| cut_to(d, TOLD_BYTES_MAX).to_owned()),
            detail: cut_to(detail, TOLD_BYTES_MAX).to_owned(),
        });
    }

    /// The errors in the order of the body.
    pub(super) fn into_list(self) -> Vec<EntryError> {
        let naming = self.naming;
        let told = self.first.into_sorted_vec().into_iter();
        told.map(|told| EntryError {
            line: (naming == Naming::Line).then_some(told.number),
            pointer: match naming {
                Naming::Pointer(list) => Some(format!("{list}/{}", told.number)),
                Naming::Line | Naming::Only => None,
            },
            device: told.device,
            detail: told.detail,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thousand_errors_are_told_whatever_the_order_in_which_they_come() {
        let mut errors = Errors::new(Naming::Line);
        for number in (1..=5000).rev() {
            errors.note(number, Some("d"), "wrong");
        }
        let lines: Vec<u64> = errors.into_list().iter().filter_map(|e| e.line).collect();
        assert_eq!(lines, (1..=1000).collect::<Vec<u64>>());
    }
}
