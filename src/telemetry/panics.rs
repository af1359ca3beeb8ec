//! A panic anywhere is logged and counted: the task of an actor has nobody that awaits it and would see it.

use std::panic::{self, PanicHookInfo};

use super::Telemetry;

/// Has every panic of the process logged and counted by `telemetry`, in place of the standard message.
pub fn install_panic_hook(telemetry: Telemetry) {
    panic::set_hook(Box::new(move |info| telemetry.panicked(info)));
}

impl Telemetry {
    /// A thread panicked. The message of a panic is ours or a library's; neither holds secrets by the rules of this project.
    fn panicked(&self, info: &PanicHookInfo<'_>) {
        self.0.families.panics.with(&[]).inc();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = message(info);
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(
            location,
            thread = thread.name().unwrap_or("unnamed"),
            %backtrace,
            "panicked: {message}"
        );
    }
}

fn message<'p>(info: &'p PanicHookInfo<'_>) -> &'p str {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
