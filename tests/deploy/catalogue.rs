//! The metrics that exist, as their reference page lists them.

use std::collections::{BTreeMap, BTreeSet};

use crate::tools;

/// Metrics that the client library adds for a process.
const PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];
/// Labels and metrics that Prometheus adds itself.
const ADDED_LABELS: &[&str] = &["instance", "job"];
const ADDED_METRICS: &[&str] = &["up", "ALERTS"];

/// What a metric's labels may be; a label that is not a closed set has no values here.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// All metrics by the names under which they can be asked for.
pub(crate) struct Catalogue {
    metrics: BTreeMap<String, Labels>,
}

impl Catalogue {
    /// Reads `docs/metrics.md`.
    pub(crate) fn read() -> Self {
        let page = tools::read("docs/metrics.md");
        let (table, labels) = page
            .split_once("## Labels")
            .expect("the page lists labels after metrics");
        let mut metrics = BTreeMap::new();
        for row in table
            .lines()
            .filter(|line| line.starts_with("| `reveille_"))
        {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`');
            let own: Labels = ticked(cells[3])
                .into_iter()
                .map(|label| (label, BTreeSet::new()))
                .collect();
            if cells[2] == "histogram" {
                for ending in ["_bucket", "_sum", "_count"] {
                    metrics.insert(format!("{name}{ending}"), own.clone());
                }
            } else {
                metrics.insert(name.to_owned(), own);
            }
        }
        assert!(metrics.len() > 30, "the page has its table");
        let mut catalogue = Self { metrics };
        labels
            .lines()
            .filter(|line| line.starts_with("- `"))
            .for_each(|line| catalogue.close(line));
        catalogue
    }

    /// Takes a line such as ``- `state`: `due`, `leased` (`reveille_pushes`)``.
    fn close(&mut self, line: &str) {
        let (label, rest) = line[3..].split_once("`: ").expect("a label and its values");
        let (values, of) = rest.rsplit_once(" (").expect("the metrics in parentheses");
        for metric in ticked(of) {
            let named = self
                .metrics
                .iter_mut()
                .filter(|(name, _)| name.starts_with(&metric));
            for (_, labels) in named {
                labels.insert(label.to_owned(), ticked(values).into_iter().collect());
            }
        }
    }

    /// Says what is wrong with asking for `metric` with these labels, each with the values that it is compared with.
    pub(crate) fn complaint(
        &self,
        metric: &str,
        asked: &[(String, Vec<String>)],
    ) -> Option<String> {
        if PROCESS.contains(&metric) || ADDED_METRICS.contains(&metric) {
            return None;
        }
        let Some(labels) = self.metrics.get(metric) else {
            return Some(format!("there is no metric {metric}"));
        };
        asked.iter().find_map(|(label, values)| {
            if ADDED_LABELS.contains(&label.as_str()) {
                return None;
            }
            let Some(known) = labels.get(label) else {
                return Some(format!("{metric} has no label {label}"));
            };
            let unknown = values
                .iter()
                .find(|value| !known.is_empty() && !known.contains(*value));
            unknown.map(|value| format!("{label} of {metric} is never {value}"))
        })
    }
}

/// The words in backticks.
fn ticked(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
