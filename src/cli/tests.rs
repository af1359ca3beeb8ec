//! The shape of the command line.

use clap::CommandFactory;

use super::*;
use crate::config::{Config, Environment};

const WIDTH: usize = 100;

#[test]
fn the_declarations_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_changes_only_on_purpose() {
    let help = Cli::command().term_width(WIDTH).render_long_help();
    let mut text = help.to_string();
    let campaign = |name: &'static str| ["campaign", name];
    let campaigns = [
        "create", "list", "dry-run", "start", "pause", "resume", "cancel", "pace", "watch",
        "report",
    ]
    .map(campaign);
    let others: [&[&str]; 7] = [
        &["check"],
        &["key"],
        &["key", "new"],
        &["completions"],
        &["channels"],
        &["channels", "forecast"],
        &["campaign"],
    ];
    for path in others
        .into_iter()
        .chain(campaigns.iter().map(<[&str; 2]>::as_slice))
    {
        let mut root = Cli::command().term_width(WIDTH);
        root.build();
        let mut command = &mut root;
        for name in path {
            command = command.find_subcommand_mut(name).unwrap();
        }
        text.push_str(&format!(
            "\n=== {}\n{}",
            path.join(" "),
            command.render_long_help()
        ));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let codes = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Partly,
        Exit::Unreachable,
        Exit::Cancelled,
        Exit::Gate,
    ];
    let words = [
        "done",
        "failed",
        "wrong usage",
        "done in part",
        "unreachable",
        "cancelled",
        "paused by a gate",
    ];
    for (exit, words) in codes.into_iter().zip(words) {
        assert!(
            AFTER_HELP.contains(&format!("{} {words}", exit as u8)),
            "{exit:?}"
        );
    }
}

#[test]
fn what_the_command_line_takes_from_the_environment_is_no_mistake_in_a_brokers() {
    fn variables(command: &clap::Command, names: &mut Vec<String>) {
        let own = command.get_arguments().filter_map(clap::Arg::get_env);
        names.extend(own.map(|name| name.to_str().unwrap().to_owned()));
        for command in command.get_subcommands() {
            variables(command, names);
        }
    }
    let mut names = Vec::new();
    variables(&Cli::command(), &mut names);
    assert!(names.iter().any(|name| name == "REVEILLE_TENANT"));

    for name in names {
        let env: Environment = [(name.as_str(), "x")].into_iter().collect();
        let error = Config::parse("", "reveille.toml", &env).unwrap_err();
        assert!(!error.to_string().contains(&name), "{error}");
    }
}
