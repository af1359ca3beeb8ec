//! The README's first command, with a small fleet.

use std::process::{Command, Stdio};

#[test]
fn the_demo_adds_up_and_can_be_read_when_piped() {
    let demo = Command::new(env!("CARGO_BIN_EXE_reveille"))
        .args(["demo", "--devices", "200"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (shown, said) = (
        String::from_utf8(demo.stdout).unwrap(),
        String::from_utf8(demo.stderr).unwrap(),
    );

    assert!(demo.status.success(), "{said}\n{shown}");
    let all = format!("{said}{shown}");
    assert!(!all.contains('\u{1b}') && !all.contains('\r'), "{all:?}");
    assert!(
        shown.contains("every ask ended in exactly one way: 200 closed, 0 open"),
        "{shown}"
    );
    assert_eq!(shown.matches("  ok   ").count(), 5, "{shown}");
}
