//! The reference page of the metrics, written from the catalogue.

use super::{
    catalogue::Families,
    family::{Entry, Label, Values},
};

const HEAD: &str = "\
# Metrics

`GET /metrics` answers in the Prometheus text format. Units are seconds and items; counters end in `_total`. No label holds an
id of a device or a campaign, or a channel URI. Histograms are classic ones: the client library has no native histograms. The
usual `process_…` metrics (CPU, memory, threads, file descriptors, start time) are there too.

This page is generated from the catalogue in the source.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// The reference page, as Markdown.
#[must_use]
pub fn reference() -> String {
    let entries = Families::catalogue();
    let rows: String = entries.iter().map(row).collect();
    format!("{HEAD}{rows}\n## Labels\n\n{}", labels(&entries))
}

fn row(entry: &Entry) -> String {
    let names: Vec<String> = entry
        .labels
        .iter()
        .map(|label| format!("`{}`", label.name))
        .collect();
    let buckets = entry.buckets.map(|buckets| {
        let bounds: Vec<String> = buckets.iter().map(f64::to_string).collect();
        format!(". Buckets: {}", bounds.join(", "))
    });
    let (name, kind, help) = (entry.name, entry.kind, &entry.help);
    format!(
        "| `{name}` | {kind} | {} | {help}{} |\n",
        names.join(" "),
        buckets.unwrap_or_default()
    )
}

/// What each label may be, by the metrics that carry it where the same name means different things.
fn labels(entries: &[Entry]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for entry in entries {
        for label in entry.labels {
            let line = described(label);
            let users = entries
                .iter()
                .filter(|other| other.labels.iter().any(|own| described(own) == line));
            let names: Vec<&str> = users.map(|other| other.name).collect();
            let shared = names.len() > 3;
            let of = if shared {
                format!("{} metrics", names.len())
            } else {
                format!("`{}`", names.join("`, `"))
            };
            let line = format!("- {line} ({of})\n");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.concat()
}

fn described(label: &Label) -> String {
    let values = match label.values {
        Values::Closed(values) => {
            let texts: Vec<String> = values().iter().map(|value| format!("`{value}`")).collect();
            texts.join(", ")
        }
        Values::Bounded(words) => words.to_owned(),
    };
    format!("`{}`: {values}", label.name)
}
