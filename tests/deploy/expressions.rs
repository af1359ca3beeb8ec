//! Every PromQL expression that rules, alerts and dashboards ask, and the series that it names.

use serde_json::Value;

use crate::tools;

/// An expression and where it stands.
pub(crate) struct Expression {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// The rules of a file: recording rules and alerts.
pub(crate) fn rules(file: &str) -> Vec<Value> {
    let document = tools::yaml(file);
    let groups = document["groups"]
        .as_array()
        .expect("a rule file has groups")
        .clone();
    groups
        .iter()
        .flat_map(|group| {
            group["rules"]
                .as_array()
                .expect("a group has rules")
                .clone()
        })
        .collect()
}

/// The panels of a dashboard that ask something, with their titles.
fn panels(file: &str) -> Vec<(String, Value)> {
    let dashboard: Value =
        serde_json::from_str(&tools::read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let panels = dashboard["panels"]
        .as_array()
        .expect("a dashboard has panels")
        .clone();
    let asking = panels.into_iter().filter(|panel| panel["type"] != "row");
    asking
        .map(|panel| (panel["title"].as_str().expect("a title").to_owned(), panel))
        .collect()
}

/// What all rule files ask.
pub(crate) fn of_rules() -> Vec<Expression> {
    let files = [
        "deploy/prometheus/rules.yml",
        "deploy/prometheus/alerts.yml",
    ];
    let rules = files.into_iter().flat_map(rules);
    rules
        .map(|rule| {
            let name = if rule["alert"].is_null() {
                &rule["record"]
            } else {
                &rule["alert"]
            };
            Expression {
                place: name.as_str().expect("a rule has a name").to_owned(),
                text: rule["expr"]
                    .as_str()
                    .expect("a rule has an expression")
                    .to_owned(),
            }
        })
        .collect()
}

/// What all dashboards ask, with Grafana's variables filled in for the tenant and app `name`.
pub(crate) fn of_dashboards(name: &str) -> Vec<Expression> {
    let folder = "deploy/grafana/dashboards";
    let mut found = Vec::new();
    for file in tools::files(folder, ".json") {
        for (title, panel) in panels(&format!("{folder}/{file}")) {
            for target in panel["targets"].as_array().expect("a panel asks something") {
                let text = target["expr"].as_str().expect("a target has an expression");
                let text = [
                    ("$__rate_interval", "1m"),
                    ("$__range", "1h"),
                    ("$tenant", name),
                    ("$app", name),
                ]
                .into_iter()
                .fold(text.to_owned(), |text, (variable, value)| {
                    text.replace(variable, value)
                });
                assert!(
                    !text.contains('$'),
                    "{file}, {title}: an unknown variable in {text}"
                );
                found.push(Expression {
                    place: format!("{file}, {title}"),
                    text,
                });
            }
        }
    }
    found
}

/// A series that an expression names: its metric, and its labels with the values that they are compared with.
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) labels: Vec<(String, Vec<String>)>,
}

/// The series that an expression names. Metrics are told from functions by their names.
pub(crate) fn selectors(text: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..]
            .find(|c| !is_name(c))
            .map_or(rest.len(), |length| start + length);
        let (name, after) = (&rest[start..end], &rest[end..]);
        rest = after;
        let metric = name == "up" || name.starts_with("process_") || name.contains("reveille_");
        let braces = after
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        if let Some((_, behind)) = braces {
            rest = behind;
        }
        if metric {
            let labels = braces
                .map(|(inside, _)| matchers(inside))
                .unwrap_or_default();
            found.push(Selector {
                metric: name.to_owned(),
                labels,
            });
        }
    }
    found
}

/// Reads `a="x",b=~"y|z"`. A pattern that is more than a list of words has no values to check.
fn matchers(inside: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut parts = inside.split('"');
    while let (Some(head), Some(value)) = (parts.next(), parts.next()) {
        let label = head.trim_matches(|c: char| ",=~! ".contains(c)).to_owned();
        let plain = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_|.".contains(c))
            && !value.contains(".*");
        let values = if plain {
            value.split('|').map(str::to_owned).collect()
        } else {
            Vec::new()
        };
        found.push((label, values));
    }
    found
}
