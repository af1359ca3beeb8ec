//! The declarations, the example and the reference page say the same.

use std::{collections::HashSet, path::Path};

use crate::config::{kind::Need, reference, schema, tree};

use super::*;

const EXAMPLE: &str = include_str!("../../../deploy/reveille.example.toml");

#[test]
fn the_example_loads_and_shows_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let default = parse(&one_app()).unwrap();

    assert_eq!(example.server, default.server);
    assert_eq!(example.store, default.store);
    assert_eq!(example.wns, default.wns);
    assert_eq!(example.limits, default.limits);
    assert_eq!(example.retry, default.retry);
    assert_eq!(example.checkin, default.checkin);
    assert_eq!(example.webhooks, default.webhooks);
    assert_eq!(example.streams, default.streams);
    assert_eq!(example.log, default.log);
    assert_eq!(example.apps[0].pace, default.apps[0].pace);
}

#[test]
fn the_example_names_every_key() {
    let switched_on: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(off)
                if off.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') =>
            {
                off
            }
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let tree = tree::parse_toml(&switched_on, "example").unwrap();
    let shown = paths(&tree, "");
    for key in schema::key_paths() {
        assert!(
            shown.contains(&key),
            "deploy/reveille.example.toml does not show {key}"
        );
    }
}

fn paths(table: &tree::Table, above: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    for (name, node) in table {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        match &node.value {
            tree::Value::Table(inner) => found.extend(paths(inner, &path)),
            tree::Value::List(items) => {
                for item in items {
                    if let tree::Value::Table(inner) = &item.value {
                        found.extend(paths(inner, &format!("{path}[]")));
                    }
                }
            }
            _ => {}
        }
        found.insert(path);
    }
    found
}

#[test]
fn every_default_is_a_value_that_its_own_twin_takes() {
    let before = format!("{:?}", parse(&one_app()).unwrap());
    for table in schema::outlines()
        .into_iter()
        .filter(|table| !table.path.contains("[]"))
    {
        for key in table.keys {
            let Need::Default(text) = key.need else {
                continue;
            };
            let twin = schema::env_twin(&format!("{}.{}", table.path, key.name));
            let after =
                parse_with(&one_app(), &[(&twin, text)]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{after:?}"), before, "{twin}");
        }
    }
}

#[test]
fn no_two_keys_share_a_twin() {
    let keys = schema::key_paths();
    let twins: HashSet<String> = keys.iter().map(|key| schema::env_twin(key)).collect();
    assert_eq!(twins.len(), keys.len());
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(
        page == reference(),
        "docs/configuration.md is stale: run UPDATE_DOCS=1 cargo test the_reference_page"
    );
}
