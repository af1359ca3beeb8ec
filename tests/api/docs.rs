//! What `docs/api.md` lists is what there is.

use std::collections::BTreeSet;

use reveille::{api::problem::Kind, domain::event::EventKind};

const PAGE: &str = include_str!("../../docs/api.md");

/// The first column of the table whose head begins so, and the second.
fn rows(head: &str) -> Vec<(String, String)> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let cell = |line: &str, at: usize| line.split('|').nth(at).unwrap().trim().replace('`', "");
    rows.map(|line| (cell(line, 1), cell(line, 2))).collect()
}

#[test]
fn the_page_lists_every_kind_of_problem_with_its_status() {
    let told: Vec<(String, String)> = rows("| type: `urn:reveille:problem:…`");
    let there = Kind::ALL.map(|kind| {
        let name = kind.type_uri().replace("urn:reveille:problem:", "");
        (name, kind.status().as_u16().to_string())
    });
    assert_eq!(told, there);
}

#[test]
fn the_page_lists_every_type_of_event() {
    let told: BTreeSet<String> = rows("| type | when").into_iter().map(|row| row.0).collect();
    let there: BTreeSet<String> = EventKind::ALL
        .iter()
        .map(|k| k.as_str().to_owned())
        .collect();
    assert_eq!(told, there);
}
