//! Rules, alerts, their runbooks, and dashboards.

use std::{collections::BTreeSet, fs};

use crate::{
    catalogue::Catalogue,
    expressions::{self, of_dashboards, of_rules, selectors},
    tools::{self, files, run},
};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const RULES: &str = "deploy/prometheus/rules.yml";

#[test]
fn prometheus_takes_the_rules() {
    let said = run(
        "promtool",
        &[
            "check",
            "rules",
            "prometheus/rules.yml",
            "prometheus/alerts.yml",
        ],
    );
    assert_eq!(said.matches("SUCCESS").count(), 2, "{said}");
}

#[test]
fn every_alert_fires_when_it_should_and_is_silent_when_it_should_be() {
    let tests = files("deploy/prometheus/tests", ".yml");
    let tests: Vec<String> = tests
        .iter()
        .map(|file| format!("prometheus/tests/{file}"))
        .collect();
    let mut arguments = vec!["test", "rules"];
    arguments.extend(tests.iter().map(String::as_str));
    run("promtool", &arguments);
}

#[test]
fn no_alert_is_without_a_test_for_firing_and_one_for_silence() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in files("deploy/prometheus/tests", ".yml") {
        let document = tools::yaml(&format!("deploy/prometheus/tests/{file}"));
        for case in document["tests"].as_array().unwrap() {
            for check in case["alert_rule_test"].as_array().unwrap() {
                let name = check["alertname"].as_str().unwrap().to_owned();
                let expected = check["exp_alerts"].as_array().unwrap();
                let set = if expected.is_empty() {
                    &mut silent
                } else {
                    &mut firing
                };
                set.insert(name);
            }
        }
    }
    let alerts = alert_names();
    assert_eq!(alerts, firing);
    assert_eq!(alerts, silent);
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_a_runbook() {
    for alert in expressions::rules(ALERTS) {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: severity {severity}"
        );
        for part in ["summary", "description"] {
            assert!(
                !alert["annotations"][part]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty(),
                "{name} has no {part}"
            );
        }
        let url = alert["annotations"]["runbook_url"]
            .as_str()
            .unwrap_or_default();
        assert!(url.ends_with(&format!("/runbooks/{name}")), "{name}: {url}");
        let page = tools::read(&format!("deploy/runbooks/{name}.md"));
        for heading in [
            format!("# {name}\n"),
            "\n## What it means\n".into(),
            "\n## How to check\n".into(),
            "\n## What to do\n".into(),
        ] {
            assert!(page.contains(&heading), "{name}.md has no {heading:?}");
        }
    }
}

#[test]
fn runbooks_link_to_pages_that_exist_and_none_is_left_over() {
    let pages: BTreeSet<String> = files("deploy/runbooks", ".md").into_iter().collect();
    for page in &pages {
        let text = tools::read(&format!("deploy/runbooks/{page}"));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            assert!(pages.contains(link), "{page} links to {link}");
        }
    }
    let mut expected: BTreeSet<String> = alert_names()
        .iter()
        .map(|name| format!("{name}.md"))
        .collect();
    expected.insert("README.md".to_owned());
    assert_eq!(pages, expected);
}

#[test]
fn everything_that_is_asked_for_exists() {
    let catalogue = Catalogue::read();
    let rules = expressions::rules(RULES);
    let recorded: BTreeSet<String> = rules
        .iter()
        .map(|rule| rule["record"].as_str().unwrap().to_owned())
        .collect();
    let runbooks = files("deploy/runbooks", ".md")
        .into_iter()
        .flat_map(|page| queries_of(&page));
    let mut complaints = Vec::new();
    for expression in of_rules()
        .into_iter()
        .chain(of_dashboards("contoso"))
        .chain(runbooks)
    {
        for selector in selectors(&expression.text) {
            let complaint = if selector.metric.contains(':') {
                (!recorded.contains(&selector.metric))
                    .then(|| format!("no rule records {}", selector.metric))
            } else {
                catalogue.complaint(&selector.metric, &selector.labels)
            };
            complaints.extend(complaint.map(|what| format!("{}: {what}", expression.place)));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let catalogue = Catalogue::read();
    let asked = |text: &str| {
        let selectors = selectors(text);
        let [selector] = selectors.as_slice() else {
            panic!("one series in {text}")
        };
        catalogue.complaint(&selector.metric, &selector.labels)
    };
    assert_eq!(
        asked("sum(rate(reveille_attempts_total{outcome=\"accepted\"}[5m]))"),
        None
    );
    assert_eq!(
        asked("sum(reveille_attempts)").unwrap(),
        "there is no metric reveille_attempts"
    );
    assert_eq!(
        asked("reveille_pushes{app=\"a\"}").unwrap(),
        "reveille_pushes has no label app"
    );
    let value = asked("reveille_attempts_total{outcome=~\"accepted|delivered\"}").unwrap();
    assert_eq!(
        value,
        "outcome of reveille_attempts_total is never delivered"
    );
}

#[test]
fn a_panel_that_counts_down_to_a_time_says_when_it_is_not_known_and_is_red_near_the_end() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&tools::read("deploy/grafana/dashboards/app.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let counting: Vec<_> = panels
        .filter(|panel| {
            panel["targets"][0]["expr"]
                .as_str()
                .is_some_and(|text| text.contains("_timestamp_seconds") && text.contains("time()"))
        })
        .collect();
    assert_eq!(counting.len(), 2);
    for panel in counting {
        let defaults = &panel["fieldConfig"]["defaults"];
        let asked = panel["targets"][0]["expr"].as_str().unwrap();
        assert!(asked.contains(" > 0) - time()"), "{asked}");
        assert!(defaults["noValue"].is_string(), "{panel}");
        assert_eq!(
            defaults["thresholds"]["steps"][0]["color"], "red",
            "{panel}"
        );
    }
}

#[test]
fn prometheus_understands_what_dashboards_and_runbooks_ask() {
    let folder = tempfile::tempdir().unwrap();
    let runbooks = files("deploy/runbooks", ".md")
        .into_iter()
        .flat_map(|page| queries_of(&page));
    let rules: Vec<_> = of_dashboards("contoso")
        .into_iter()
        .chain(runbooks)
        .map(|e| serde_json::json!({"record": "asked", "expr": e.text, "labels": {"place": e.place}}))
        .collect();
    let count = rules.len();
    let file = folder.path().join("asked.yml");
    fs::write(
        &file,
        serde_json::json!({"groups": [{"name": "asked", "rules": rules}]}).to_string(),
    )
    .unwrap();
    let said = run(
        "promtool",
        &["check", "rules", "--lint=none", file.to_str().unwrap()],
    );
    assert!(said.contains(&format!("SUCCESS: {count} rules")), "{said}");
}

fn alert_names() -> BTreeSet<String> {
    expressions::rules(ALERTS)
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap().to_owned())
        .collect()
}

/// The PromQL of a runbook, one query a line.
fn queries_of(page: &str) -> Vec<expressions::Expression> {
    let text = tools::read(&format!("deploy/runbooks/{page}"));
    let blocks = text
        .split("```promql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    let lines = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .map(|line| line.split("      #").next().unwrap_or_default().to_owned())
        .filter(|line| !line.trim().is_empty())
        .map(|text| expressions::Expression {
            place: page.to_owned(),
            text,
        })
        .collect()
}
