//! What is worth mending in a configuration that can be used.

use jiff::civil::{Date, date};

use super::*;

const TODAY: Date = date(2026, 11, 22);

fn advice(lines: &str) -> Vec<String> {
    parse(&format!("{}{lines}", one_app()))
        .unwrap()
        .advice(TODAY)
}

#[test]
fn a_secret_is_spoken_of_a_month_ahead_and_when_it_is_over() {
    assert_eq!(advice("secret_expires = 2026-12-22"), Vec::<String>::new());
    let near = advice("secret_expires = 2026-12-21");
    let start = "the secret of app contoso expires on 2026-12-21, in 29 days; make a new one";
    assert!(near.len() == 1 && near[0].starts_with(start), "{near:?}");
    let over = advice("secret_expires = 2025-11-22");
    assert!(
        over[0].starts_with("the secret of app contoso expired on 2025-11-22;"),
        "{over:?}"
    );
}

#[test]
fn a_key_that_ends_soon_is_spoken_of() {
    let key = format!(
        "[[keys]]\nid = \"k\"\nhash = \"{HASH}\"\ntenants = [\"*\"]\nscopes = [\"read\"]\n"
    );
    assert_eq!(advice(&key), Vec::<String>::new());
    let near = advice(&format!("{key}expires = 2026-11-23"));
    assert_eq!(
        near,
        ["API key k is taken through 2026-11-23; make another one with `reveille key new`"]
    );
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_everybody_can_read_is_spoken_of() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, "s3cret").unwrap();
    let text = one_app().replace("secret_env = \"S\"", &format!("secret_file = {path:?}"));
    let with_mode = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        parse(&text).unwrap().advice(TODAY)
    };
    assert_eq!(with_mode(0o640), Vec::<String>::new());
    let shown = with_mode(0o644);
    assert!(
        shown.len() == 1 && shown[0].contains("run chmod o-r") && !shown[0].contains("s3cret"),
        "{shown:?}"
    );
}
