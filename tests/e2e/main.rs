//! The broker as a process of its own, over real sockets, against the sandbox.

mod crash;
mod rig;
