//! The `reveille` command.

use std::process::ExitCode;

/// A tenth less CPU a push than with the system's at full speed, for 40 MB more with a million devices; see `benches/README.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reveille::cli::main()
}
