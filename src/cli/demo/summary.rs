//! The balance at the end: what was asked, what became of it, what WNS saw. Both sides must agree.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{DemoError, console::Console, stage::Stage};
use crate::{domain::counted::counted, sandbox::Ledger};

/// The numbers of one run.
pub(super) struct Summary {
    devices: u64,
    registered: u64,
    opened: u64,
    open: u64,
    closed: BTreeMap<String, u64>,
    attempts: BTreeMap<String, u64>,
    ledger: Ledger,
    took: Duration,
}

impl Summary {
    /// Asks both sides.
    pub(super) async fn take(
        stage: &Stage,
        console: &Console,
        registered: u64,
        opened: u64,
        took: Duration,
    ) -> Result<Self, DemoError> {
        let state = console.state().await?;
        let ledger = stage.sandbox.ledger();
        Ok(Self {
            devices: ledger.devices.total,
            registered,
            opened,
            open: state.open,
            closed: state.closed,
            attempts: console.attempts().await?,
            ledger,
            took,
        })
    }

    fn closed_sum(&self) -> u64 {
        self.closed.values().sum()
    }

    fn attempts_sum(&self) -> u64 {
        self.attempts.values().sum()
    }

    /// What must hold, in words, and whether it does.
    fn checks(&self) -> [(String, bool); 5] {
        let broken: u64 = self.ledger.violations.values().sum();
        let (devices, reached) = (self.devices, self.ledger.devices.reached);
        [
            (
                format!(
                    "every device is registered and has a push: {} and {} of {devices}",
                    self.registered, self.opened
                ),
                self.registered == devices && self.opened == devices,
            ),
            (
                format!(
                    "every ask ended in exactly one way: {} closed, {} open",
                    self.closed_sum(),
                    self.open
                ),
                self.closed_sum() == devices && self.open == 0,
            ),
            (
                format!(
                    "broker and WNS count the same attempts: {} and {}",
                    self.attempts_sum(),
                    self.ledger.requests
                ),
                self.attempts_sum() == self.ledger.requests,
            ),
            (
                format!("a notification was sent for every device: {reached} of {devices}"),
                reached == devices,
            ),
            (
                format!("no request broke a rule of WNS: {broken} did"),
                broken == 0,
            ),
        ]
    }

    /// Whether all sums come out even.
    pub(super) fn adds_up(&self) -> bool {
        self.checks().iter().all(|(_, holds)| *holds)
    }

    /// The summary for scripts.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "devices": self.devices,
            "registered": self.registered,
            "opened": self.opened,
            "open": self.open,
            "closed": self.closed,
            "attempts": self.attempts,
            "wns_requests": self.ledger.requests,
            "tokens_issued": self.ledger.tokens.issued,
            "seconds": self.took.as_secs_f64(),
            "adds_up": self.adds_up(),
        })
    }
}

fn rows(f: &mut fmt::Formatter<'_>, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    for (name, count) in counts.iter().filter(|(_, count)| **count > 0) {
        writeln!(f, "  {name:<22}{count:>10}")?;
    }
    writeln!(f, "  {:<22}{:>10}", "sum", counts.values().sum::<u64>())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rows(f, "what became of the asks", &self.closed)?;
        rows(f, "attempts, by what WNS answered", &self.attempts)?;
        let (ledger, seconds) = (&self.ledger, self.took.as_secs_f64());
        writeln!(f, "\nwhat WNS saw")?;
        writeln!(f, "  {:<22}{:>10}", "requests", ledger.requests)?;
        writeln!(f, "  {:<22}{:>10}", "tokens issued", ledger.tokens.issued)?;
        writeln!(
            f,
            "  {:<22}{:>10}",
            "delivered later", ledger.delivered_late
        )?;
        writeln!(
            f,
            "  {:<22}{:>10}",
            "devices that answered", ledger.devices.checked_in
        )?;
        let devices = counted(self.devices, "device");
        writeln!(f, "\n{devices} in {seconds:.1} s")?;
        for (words, holds) in self.checks() {
            writeln!(f, "  {} {words}", if holds { "ok  " } else { "FAIL" })?;
        }
        Ok(())
    }
}
