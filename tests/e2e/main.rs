//! The broker as a process of its own, over real sockets, against the sandbox.

mod check;
mod crash;
mod hostile;
mod operations;
mod refusals;
mod rig;
