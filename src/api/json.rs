//! Reads JSON bodies: what is wrong with one is a problem of the request.

use serde::Deserialize;

use super::problem::{Kind, Problem};
pub(super) use crate::service::command::json::{Text, Time, cut_to, explain, of_the_whole};
use crate::service::command::{Wrong, json};

/// Reads a whole JSON body.
///
/// # Errors
/// [`Kind::Malformed`] with a pointer to the place.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    json::read(bytes).map_err(|wrong| {
        let problem = Problem::new(Kind::Malformed, wrong.detail.clone());
        match wrong.pointer {
            Some(pointer) => problem.at(pointer, wrong.detail),
            None => problem,
        }
    })
}

/// A field of a JSON body that is well formed and cannot be taken.
pub(super) fn wrong(wrong: Wrong) -> Problem {
    Problem::invalid(format!("/{}", wrong.field), wrong.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_cannot_be_read_is_malformed_and_pointed_into() {
        let problem = parse::<Vec<u8>>(b"[1, \"x\"]").unwrap_err();
        assert_eq!(problem.kind(), Kind::Malformed);
        assert!(format!("{problem:?}").contains("\"/1\""), "{problem:?}");
    }
}
