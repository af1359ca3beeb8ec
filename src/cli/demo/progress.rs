//! The live view: a bar in a terminal, a line every few seconds in a pipe.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use super::console::State;

/// How often a pipe gets a line.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Shows how far the fleet is.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    devices: u64,
    last_line: Duration,
    last_sent: (Duration, u64),
    rate: f64,
}

impl Progress {
    pub(super) fn new(devices: u32) -> Self {
        let devices = u64::from(devices);
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} [{bar:40}] {pos}/{len} checked in  {msg}",
            );
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(devices).with_style(style.progress_chars("=> "))
        });
        Self {
            bar,
            devices,
            last_line: Duration::ZERO,
            last_sent: (Duration::ZERO, 0),
            rate: 0.0,
        }
    }

    /// Says something that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Shows the state after `elapsed`, with `sent` notifications at WNS.
    pub(super) fn show(&mut self, state: &State, sent: u64, elapsed: Duration) {
        let (before, count) = self.last_sent;
        let seconds = elapsed.saturating_sub(before).as_secs_f64();
        if seconds >= 0.5 {
            self.rate = sent.saturating_sub(count) as f64 / seconds;
            self.last_sent = (elapsed, sent);
        }
        let count = |map: &std::collections::BTreeMap<String, u64>, name: &str| {
            map.get(name).copied().unwrap_or(0)
        };
        let done = count(&state.closed, "checked_in");
        let text = format!(
            "{:.0}/s  {} open  {} expired  channels: {} silent, {} suspect, {} dead",
            self.rate,
            state.open,
            count(&state.closed, "expired"),
            count(&state.channels, "silent"),
            count(&state.channels, "suspect"),
            count(&state.channels, "dead"),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(text);
            }
            None if elapsed >= self.last_line + LINE_INTERVAL || state.open == 0 => {
                self.last_line = elapsed;
                eprintln!(
                    "{:>5.1} s  {done}/{} checked in  {text}",
                    elapsed.as_secs_f64(),
                    self.devices
                );
            }
            None => {}
        }
    }

    /// Leaves the last state on the screen.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
