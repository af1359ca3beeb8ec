//! The reference page of the configuration, written from the declarations of the keys.

use super::{
    kind::{Need, Style},
    schema::{self, KeyOutline, Outline},
};

const HEAD: &str = "\
# Configuration

Reveille reads a TOML file (`reveille serve --config reveille.toml`) and then its environment. Every key has an environment
twin, which wins over the file; in a twin, `0` stands for the position of an entry, and the number after the last entry adds
one. Lists in a variable are parted by commas. Unknown keys and unknown `REVEILLE_…` variables are refused, except those that
Kubernetes sets for a service named `reveille`. Durations have units: `ms`, `s`, `m`, `h`, `d`, `w`. Relative paths start in
the working directory. Secrets do not stand in the file: it names the variables or files that hold them.

This page is generated from the declarations of the keys. `deploy/reveille.example.toml` is a complete example.
";

/// The reference page, as Markdown.
#[must_use]
pub fn reference() -> String {
    let tables = schema::outlines();
    let sections: Vec<String> = tables.iter().map(section).collect();
    format!("{HEAD}\n{}", sections.join("\n"))
}

fn section(table: &Outline) -> String {
    let about = prose(table.about);
    let keys: String = table
        .keys
        .iter()
        .map(|key| entry(table.path, key))
        .collect();
    format!("## `{}`\n\n{about}\n\n{keys}", header(table.path))
}

/// `apps[].pace` is written `[apps.pace]`, `apps[]` is written `[[apps]]`.
fn header(path: &str) -> String {
    match path.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{}]", path.replace("[]", "")),
    }
}

fn entry(table: &str, key: &KeyOutline) -> String {
    let path = format!("{table}.{}", key.name);
    let absent = match key.need {
        Need::Default(text) => format!("default `{} = {}`", key.name, literal(key.style, text)),
        Need::Optional => "optional".to_owned(),
        Need::Required => "required".to_owned(),
    };
    format!(
        "- **`{}`**: {}\n  Takes {}; {absent}; twin `{}`.\n",
        key.name,
        prose(key.doc),
        key.kind,
        schema::env_twin(&path)
    )
}

/// A default as it would stand in the file.
fn literal(style: Style, text: &str) -> String {
    match style {
        Style::Quoted => format!("\"{text}\""),
        Style::Bare => text.to_owned(),
        Style::List => {
            let items: Vec<String> = text
                .split(',')
                .filter(|item| !item.is_empty())
                .map(|item| format!("\"{item}\""))
                .collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn prose(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}
