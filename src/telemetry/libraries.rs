//! Warnings and errors that libraries log by themselves, bounded like the broker's own lines about failures.
//!
//! The HTTP server writes an error for each connection that ends badly, which whoever connects can have as often as they like.
//! Of each place in a library's source the first line is written; the others are counted and summed up.

use std::{fmt, sync::OnceLock};

use tokio::time::Instant;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::layer::{Context, Filter};

use super::Telemetry;

/// The targets of the broker's own lines begin with it.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// The target of lines that come by way of the `log` crate.
const BRIDGED: &str = "log";

static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();

/// From now on the lines of libraries are bounded, and counted by `telemetry`. The first call holds.
pub fn limit_library_lines(telemetry: Telemetry) {
    TELEMETRY.get_or_init(|| telemetry);
}

/// Lets through what is written; all, as long as nobody counts.
pub(super) struct LibraryLines(pub(super) &'static OnceLock<Telemetry>);

impl LibraryLines {
    /// The one that [`limit_library_lines`] switches on.
    pub(super) const fn of_process() -> Self {
        Self(&TELEMETRY)
    }
}

impl<S: Subscriber> Filter<S> for LibraryLines {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, about: &'static Metadata<'static>) -> Interest {
        if is_bounded(about) {
            // What the answer to `event_enabled` leaves behind is cleared away only where `enabled` is asked too.
            Interest::sometimes()
        } else {
            Interest::always()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if !is_bounded(event.metadata()) {
            return true;
        }
        let telemetry = self.0.get();
        telemetry.is_none_or(|telemetry| telemetry.library_said(&place(event), Instant::now()))
    }
}

/// Whether a library complains.
fn is_bounded(about: &Metadata<'_>) -> bool {
    *about.level() <= Level::WARN && !about.target().starts_with(OWN)
}

/// Where in which library's source the line was written.
fn place(event: &Event<'_>) -> String {
    let about = event.metadata();
    let mut place = Place {
        target: about.target().to_owned(),
        line: about.line().map(u64::from),
    };
    if about.target() == BRIDGED {
        event.record(&mut place);
    }
    let line = place.line.map(|line| format!(":{line}"));
    place.target + &line.unwrap_or_default()
}

/// What the bridge from the `log` crate says in fields.
struct Place {
    target: String,
    line: Option<u64>,
}

impl Visit for Place {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
