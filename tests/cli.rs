//! The `reveille` command as people and scripts run it.

use std::process::{Command, Output, Stdio};

use reveille::{
    config::{Config, Environment},
    domain::api_key::{Reach, Scope},
};

const SID: &str = "ms-app://S-1-15-2-1-2-3-4-5-6-7";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args)
        .output()
        .expect("the command was built with the tests")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the command writes UTF-8")
}

fn new_key(more: &[&str]) -> Output {
    run(&[
        &["key", "new", "--id", "console", "--scope", "push,register"],
        more,
    ]
    .concat())
}

fn config_with(entry: &str) -> Config {
    let app = format!("[[apps]]\nid = \"contoso\"\npackage_sid = \"{SID}\"\nsecret_env = \"S\"\n");
    let env = Environment::from_iter([("S", "secret")]);
    Config::parse(&format!("{app}{entry}"), "reveille.toml", &env)
        .expect("the entry is one that the configuration takes")
}

#[test]
fn a_new_key_is_let_in_by_the_entry_printed_beside_it() {
    let output = new_key(&[
        "--app",
        "contoso",
        "--tenant",
        "later",
        "--expires",
        "2027-12-31",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let config = config_with(answer["toml"].as_str().unwrap());
    let now = "2027-12-31T23:00:00Z".parse().unwrap();
    let holder = config
        .keys
        .authenticate(answer["key"].as_str().unwrap(), now)
        .unwrap();

    assert_eq!(holder.key.as_str(), "console");
    assert_eq!(holder.scopes, [Scope::Push, Scope::Register]);
    assert!(
        matches!(&holder.reach, Reach::Only { apps, tenants } if apps.len() == 1 && tenants.len() == 1)
    );
}

#[test]
fn two_keys_differ_and_the_readable_answer_holds_the_same_entry() {
    let (first, second) = (new_key(&["--tenant", "*"]), new_key(&["--tenant", "*"]));
    let (first, second) = (text(&first.stdout), text(&second.stdout));
    let key = |shown: &str| {
        shown
            .lines()
            .find(|line| line.starts_with("rvk_console_"))
            .unwrap()
            .to_owned()
    };
    assert_ne!(key(&first), key(&second));

    let (_, entry) = first.split_once("configuration:\n").unwrap();
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    assert_eq!(
        config_with(entry)
            .keys
            .authenticate(&key(&first), now)
            .unwrap()
            .reach,
        Reach::All
    );
}

#[test]
fn wrong_usage_ends_with_two_and_says_why_on_standard_error() {
    for (args, expected) in [
        (
            &["key", "new", "--id", "a/b", "--app", "a", "--scope", "push"][..],
            "outside [A-Za-z0-9._-]",
        ),
        (
            &["key", "new", "--id", "a", "--app", "a", "--scope", "fly"],
            "possible values: read, push, register, campaign, admin",
        ),
        (&["key", "new", "--id", "a", "--scope", "push"], "--app"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&[], "Usage: reveille"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(
            text(&output.stderr).contains(expected),
            "{args:?}\n{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn help_and_version_end_with_zero_and_have_no_colours_when_piped() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["key", "new", "--help"],
        &["completions", "--help"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            !output.stdout.is_empty() && !output.stdout.contains(&0x1b),
            "{args:?}"
        );
    }
    assert_eq!(
        text(&run(&["--version"]).stdout).trim(),
        concat!("reveille ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(
            script.contains("reveille") && script.contains("completions"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

fn read_syncml(args: &[&str], body: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("message.xml");
    std::fs::write(&file, body).expect("the file can be written");
    let file = file.to_str().expect("its name is plain");
    run(&[&["syncml", "read", file], args].concat())
}

#[test]
fn a_syncml_message_that_is_too_long_is_refused_with_the_limit_in_plain_words() {
    for mebibytes in [3, 10] {
        let body = format!("<SyncML>{}</SyncML>", "x".repeat(mebibytes * 1024 * 1024));
        let output = read_syncml(&[], &body);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "reveille: the SyncML body is longer than 2 MiB (2097152 bytes), the most that is read\n"
        );
    }
}

#[test]
fn a_syncml_message_of_a_sandbox_is_read_if_its_host_is_named() {
    let channel = |provider: &str| {
        format!(
            "<Results><CmdRef>3</CmdRef><Item><Source><LocURI>./Vendor/MSFT/DMClient/Provider/{provider}/Push/ChannelURI\
             </LocURI></Source><Data>https://localhost:9443/channel/{provider}</Data></Item></Results>"
        )
    };
    let body = |results: String| format!("<SyncML><SyncBody>{results}</SyncBody></SyncML>");
    let one = body(channel("A"));

    let output = read_syncml(&[], &one);
    assert!(text(&output.stdout).contains("channel  refused"));
    let output = read_syncml(&["--sandbox-host", "localhost:9443"], &one);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("channel  reported, at localhost:9443"),
        "{shown}"
    );
    assert_eq!(
        read_syncml(&["--sandbox-host", "localhost"], &one)
            .status
            .code(),
        Some(2)
    );

    let two = body(channel("A") + &channel("B"));
    let output = read_syncml(&["--sandbox-host", "localhost:9443"], &two);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("say with --provider which one counts"));
    let output = read_syncml(
        &["--sandbox-host", "localhost:9443", "--provider", "B"],
        &two,
    );
    assert!(text(&output.stdout).contains("provider B"));
}
