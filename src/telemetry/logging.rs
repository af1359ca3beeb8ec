//! Where log lines go: standard error, as text for people or as JSON for machines.
//!
//! Standard output stays free for what commands print. Colours appear on a terminal only, and not if `NO_COLOR` is set.

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::FilterExt,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use super::libraries::LibraryLines;

/// How log lines are written, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// One JSON object a line, in place of text.
    pub json: bool,
    /// Whether text may have colours.
    pub colours: bool,
    /// Least severe level, then levels of parts: `info,reveille::actors=debug`.
    pub directives: String,
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directives are not a list of levels.
    #[error("cannot log by {directives:?}: {source}")]
    Directives {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process logs already.
    #[error("cannot start logging: {0}")]
    Taken(#[from] TryInitError),
}

impl LogOptions {
    /// Text on standard error, coloured if that is a terminal.
    #[must_use]
    pub fn text(directives: impl Into<String>) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json: false,
            colours: wanted && stderr().is_terminal(),
            directives: directives.into(),
        }
    }

    /// JSON on standard error.
    #[must_use]
    pub fn json(directives: impl Into<String>) -> Self {
        Self {
            json: true,
            colours: false,
            directives: directives.into(),
        }
    }
}

/// Has all log lines of the process written to standard error.
///
/// # Errors
/// [`LogError`] when the directives cannot be read, or something logs already.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    subscriber(options, stderr, LibraryLines::of_process())?.try_init()?;
    Ok(())
}

/// What writes lines to `writer`.
fn subscriber<W>(
    options: &LogOptions,
    writer: W,
    libraries: LibraryLines,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(&options.directives).map_err(|source| LogError::Directives {
            directives: options.directives.clone(),
            source,
        })?;
    let lines = layer().with_writer(writer).with_ansi(options.colours);
    let lines = if options.json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        lines.boxed()
    };
    Ok(Registry::default().with(lines.with_filter(filter.and(libraries))))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex, OnceLock},
        time::Duration,
    };

    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::Telemetry;

    /// A place that remembers what is written.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs.
    pub(in crate::telemetry) fn logged(options: &LogOptions, act: impl FnOnce()) -> String {
        logged_by(options, LibraryLines::of_process(), act)
    }

    fn logged_by(options: &LogOptions, libraries: LibraryLines, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let lines = subscriber(options, move || writer.clone(), libraries).unwrap();
        tracing::subscriber::with_default(lines, act);
        captured.text()
    }

    fn plain(json: bool, directives: &str) -> LogOptions {
        LogOptions {
            json,
            colours: false,
            directives: directives.into(),
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields_at_the_top() {
        let text = logged(&plain(true, "info"), || {
            tracing::warn!(app = "contoso", "paused the app")
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["app"], &line["message"], &line["level"]),
            (&"contoso".into(), &"paused the app".into(), &"WARN".into())
        );
    }

    #[test]
    fn a_text_line_has_no_escape_codes_unless_asked() {
        let act = || tracing::error!(app = "contoso", "stopped");
        assert!(!logged(&plain(false, "info"), act).contains('\u{1b}'));
        let coloured = LogOptions {
            colours: true,
            ..plain(false, "info")
        };
        assert!(logged(&coloured, act).contains('\u{1b}'));
    }

    #[test]
    fn levels_of_parts_override_the_general_one() {
        let act = || {
            tracing::debug!(target: "reveille::actors", "shown");
            tracing::debug!(target: "reveille::api", "hidden");
        };
        let text = logged(&plain(false, "info,reveille::actors=debug"), act);
        assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_library_that_complains_all_the_time_is_heard_once_and_then_summed_up() {
        static COUNTING: OnceLock<Telemetry> = OnceLock::new();
        let interval = Duration::from_secs(10);
        let telemetry = COUNTING.get_or_init(|| Telemetry::new(interval));
        let storm = || {
            for connection in 0..1_000 {
                tracing::error!(target: "actix_http::h1::dispatcher", "stream error {connection}");
            }
            tracing::warn!(target: "hyper::proto", "something else");
            tracing::info!(target: "actix_server::server", "starting");
            telemetry.summarise_failures(Instant::now() + interval);
        };

        let text = logged_by(&plain(false, "info"), LibraryLines(&COUNTING), storm);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("stream error 0"), "{text}");
        assert!(lines[1].contains("something else"), "{text}");
        assert!(lines[2].contains("starting"), "{text}");
        assert!(
            lines[3].contains("class=\"library\"") && lines[3].contains("count=999"),
            "{text}"
        );
        assert!(
            lines[3].contains("scope=\"actix_http::h1::dispatcher:"),
            "{text}"
        );
        let metrics = telemetry.render(Instant::now());
        assert!(
            metrics.contains("reveille_log_lines_suppressed_total{class=\"library\"} 999"),
            "{metrics}"
        );
    }

    #[test]
    fn directives_that_mean_nothing_are_refused() {
        let options = plain(false, "info,a=b=c");
        let error = subscriber(&options, stderr, LibraryLines::of_process())
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("cannot log by \"info,a=b=c\""),
            "{error}"
        );
    }
}
