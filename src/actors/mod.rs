//! x
pub mod supervise;
