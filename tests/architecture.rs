//! The folders of `src/` depend on one another in one direction only, and files stay small enough to read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each layer and the layers it may name. What is missing here is forbidden.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ports", &["domain"]),
    ("telemetry", &["domain"]),
    ("config", &["domain"]),
    ("service", &["domain", "ports", "telemetry"]),
    ("adapters", &["domain", "ports", "telemetry"]),
    ("actors", &["domain", "ports", "telemetry", "service"]),
    (
        "inbox",
        &["domain", "ports", "telemetry", "service", "actors"],
    ),
    (
        "api",
        &[
            "domain",
            "ports",
            "telemetry",
            "service",
            "config",
            "actors",
        ],
    ),
    ("console", &[]),
    ("sandbox", &["domain"]),
];

/// What the pure layer may not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "actix::",
    "actix_web::",
    "actix_rt::",
    "reqwest::",
    "redis::",
    "fjall::",
    "rand::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
];

/// Longest source file in lines; longer ones are split.
const FILE_LINES_MAX: usize = 450;

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(path: &Path, found: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// All files of a layer: the folder and the file of its name.
fn layer(name: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let dir = source_dir().join(name);
    if dir.is_dir() {
        sources(&dir, &mut found);
    }
    let file = source_dir().join(format!("{name}.rs"));
    if let Ok(text) = fs::read_to_string(&file) {
        found.push((file, text));
    }
    found
}

/// The names right after `crate::`, also inside `use crate::{a::…, b}`.
fn crate_names(text: &str) -> Vec<String> {
    let word = |s: &str| -> String {
        s.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = Vec::new();
    for (at, matched) in text.match_indices("crate::") {
        let rest = &text[at + matched.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0_usize, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.push(word(&group[start..i]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.push(word(&group[start..i]));
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    names
}

/// The code of a file without its comments, so that a doc link is no dependency.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn layers_depend_downward_only() {
    let mut wrong = Vec::new();
    for (name, allowed) in MAY_USE {
        for (path, text) in layer(name) {
            for used in crate_names(&code(&text)) {
                let known = MAY_USE.iter().any(|(l, _)| *l == used);
                let above = ["app", "cli"].contains(&used.as_str());
                if above || (known && used != *name && !allowed.contains(&used.as_str())) {
                    wrong.push(format!("{} names crate::{used}", path.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "forbidden dependencies:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_domain_is_pure() {
    let mut wrong = Vec::new();
    let files = layer("domain");
    assert!(files.len() > 10, "the domain was not found");
    for (path, text) in files
        .iter()
        .filter(|(p, _)| !p.to_string_lossy().contains("tests"))
    {
        let code = code(text);
        let code = code.split("#[cfg(test)]").next().unwrap_or("");
        let named = IMPURE.iter().filter(|word| code.contains(**word));
        wrong.extend(named.map(|word| format!("{} names {word}", path.display())));
    }
    assert!(wrong.is_empty(), "impure domain:\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_the_source_has_a_place_in_the_layers() {
    let above = ["cli", "app"];
    let folders = fs::read_dir(source_dir()).unwrap().map(Result::unwrap);
    for folder in folders.filter(|e| e.path().is_dir()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let known = MAY_USE.iter().any(|(l, _)| *l == name) || above.contains(&name.as_str());
        assert!(
            known,
            "src/{name} is in no layer: add it to the table and to ARCHITECTURE.md"
        );
    }
}

#[test]
fn files_stay_readable() {
    let mut found = Vec::new();
    sources(&source_dir(), &mut found);
    let long = found.iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    let long: Vec<_> = long.collect();
    assert!(
        long.is_empty(),
        "files over {FILE_LINES_MAX} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn supervision_can_unwind() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("panic = \"abort\""),
        "supervision catches panics: every profile must unwind"
    );
    let caught = std::panic::catch_unwind(|| panic!("caught"));
    assert!(caught.is_err());
}
