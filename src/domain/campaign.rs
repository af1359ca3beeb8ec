//! Campaigns: a set of devices to push for one reason, with pace, waves, deadline, progress and report.
//!
//! A [`Campaign`] is the document that the store keeps; every change of it is a function from the old value to the new one.
//! What its targets do is counted by the store ([`Counts`]); nothing here grows with their number.

mod allowance;
mod counts;
mod definition;
mod duty;
mod release;
mod result;
mod spell;
mod state;
mod timetable;
mod wave;

#[cfg(test)]
mod tests;

pub use allowance::{AHEAD, Allowance, Look, rate};
pub use counts::{Counts, WaveCounts};
pub use definition::{
    DEADLINE_MAX, Definition, DefinitionError, NAME_BYTES_MAX, Pace, Selection, Until, WAVES_MAX,
};
pub use duty::{Duties, Sweep, Tick};
pub use release::{Candidate, Enrolment, Order, close_waiting, enrol, released, score, swept};
pub use result::{DamagedResult, TargetResult, TargetStatus, TargetView, UnknownStatus};
pub use state::{Campaign, News, Pause, PauseCause, Refusal, State};
pub use timetable::Timetable;
pub use wave::{Gate, GateResult, SAMPLES_MIN, Share, Verdict, Wave, WaveSize};
