//! What is said of a configuration that cannot be used.

use proptest::prelude::*;

use super::*;

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_one_that_was_meant() {
    assert_eq!(
        message("[server]\nlisen = \"127.0.0.1:1\""),
        "reveille.toml:6: server.lisen: unknown key; did you mean listen?"
    );
    assert_eq!(
        message("[sever]\nlisten = 1"),
        "reveille.toml:5: sever: unknown key; did you mean server?"
    );
    assert_eq!(
        message("[server]\nrequest_timeout = \"1s\""),
        "reveille.toml:6: server.request_timeout: unknown key here; it belongs to [wns]"
    );
    assert_eq!(
        message("[checkin]\nzzz = 1"),
        "reveille.toml:6: checkin.zzz: unknown key; known here: skew_tolerance"
    );
    assert_eq!(
        message("[app]\nid = 1"),
        "reveille.toml:5: app: unknown key; did you mean apps?"
    );
}

#[test]
fn a_text_with_a_control_character_is_refused_by_its_key() {
    let redis = "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n";
    let told = message(&format!("{redis}sentinel_master = \"main\\u001b[2J\""));
    assert_eq!(
        told,
        "reveille.toml:8: store.sentinel_master: has a control character at byte 4"
    );
    let told = message("[log]\nlevel = \"info\\u001b[2J\"");
    assert!(
        told.contains("log.level: has a control character"),
        "{told}"
    );
}

#[test]
fn streams_need_redis_and_tenants_that_are_there() {
    assert_eq!(
        message("[streams]\ntenants = [\"contoso\"]"),
        "reveille.toml:6: streams.tenants: the embedded store has no streams; write store.kind = \"redis\" or take the tenants out"
    );
    let redis = "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n[streams]\n";
    let told = message(&format!("{redis}tenants = [\"nobody\"]"));
    assert!(
        told.contains("no tenant nobody is in this configuration"),
        "{told}"
    );
    let told = message(&format!("{redis}tenants = [\"contoso\", \"contoso\"]"));
    assert!(told.contains("contoso comes twice"), "{told}");
}

const WRONG_VALUES: &[(&str, &str)] = &[
    (
        "wns.request_timeout = 15",
        "15 has no unit; write \"15s\", \"15m\" or \"15h\"",
    ),
    (
        "wns.request_timeout = \"15\"",
        "\"15\": 15 has no unit, write \"15s\", \"15m\" or \"15h\"",
    ),
    (
        "wns.request_timeout = \"2m\"",
        "2m is out of range; write 1s to 20s",
    ),
    (
        "wns.request_timeout = true",
        "expects a duration such as \"90s\", in quotes, found a boolean",
    ),
    ("wns.http2 = \"yes\"", "expects true or false, found a text"),
    (
        "wns.body = \"\"",
        "\"\": a payload has 1 to 5000 bytes, not 0",
    ),
    (
        "wns.sandbox_hosts = \"localhost\"",
        "expects a list such as [\"…\", \"…\"], found a text",
    ),
    (
        "wns.sandbox_hosts = [\"https://x\"]",
        "\"https://x\": sandbox host \"https://x\" is not of the form host:port, for example localhost:9443",
    ),
    (
        "limits.in_flight_max = 0",
        "0 is out of range; write a whole number from 1 to 100000",
    ),
    (
        "limits.in_flight_max = 1.5",
        "expects a whole number from 1 to 100000, found a fraction",
    ),
    (
        "log.format = \"xml\"",
        "\"xml\" is unknown; write one of `text`, `json`",
    ),
    (
        "server.listen = \"localhost:1\"",
        "\"localhost:1\" is not an IP address and a port, such as \"127.0.0.1:8470\" or \"[::1]:8470\"",
    ),
    ("server = 1", "is a table, found a number; write [server]"),
    (
        "pace.start_per_second = 1000",
        "1000 is above ceiling_per_second = 900",
    ),
    (
        "limits.push_deadline = \"30d\"\nlimits.deadline_max = \"1d\"",
        "is beyond deadline_max",
    ),
    (
        "retry.hold_first = \"2h\"",
        "is longer than the longest wait that it grows to",
    ),
    (
        "retry.repush = []",
        "is empty; write at least one wait, such as [\"15m\"]",
    ),
    (
        "log.targets = [\"reveille\"]",
        "\"reveille\" is not a part and its level, such as \"reveille::actors=debug\"",
    ),
];

#[test]
fn a_wrong_value_is_met_with_what_to_write() {
    for (line, expected) in WRONG_VALUES {
        let key = line.split(" =").next().unwrap();
        let text = format!("{line}\n{}", one_app());
        let shown = parse(&text).unwrap_err().to_string();
        assert!(
            shown.contains(&format!("reveille.toml:1: {key}: {expected}")),
            "{line}\n{shown}"
        );
    }
}

#[test]
fn secrets_stand_in_no_message() {
    let inline =
        "[[apps]]\nid = \"a\"\nsecret = \"hunter2\"\nsecret_env = \"hunter2 with spaces\"\n";
    let store = "[store]\nkind = \"redis\"\nurl = \"http://user:hunter2@x\"\n";
    let broken = "secret = \"hunter2\n";
    for text in [inline, store, broken] {
        let shown = parse(text).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(
        parse(inline)
            .unwrap_err()
            .to_string()
            .contains("name that with secret_file")
    );
}

#[test]
fn an_app_without_a_usable_secret_says_which_key_to_write() {
    let app = format!("[[apps]]\nid = \"a\"\npackage_sid = \"{SID}\"\n");
    for (lines, expected) in [
        (
            "",
            "reveille.toml:1: apps[0].secret_env: missing; name the variable that holds the secret, or a file with secret_file",
        ),
        (
            "secret_env = \"NOPE\"",
            "reveille.toml:4: apps[0].secret_env: the environment variable NOPE is not set; set it to the secret",
        ),
        (
            "secret_env = \"S\"\nsecret_file = \"x\"",
            "reveille.toml:5: apps[0].secret_file: is there beside secret_env; keep one of them",
        ),
        (
            "secret_env = \"S\"\nsecret_next_file = \"/nonexistent/x\"",
            "reveille.toml:5: apps[0].secret_next_file: cannot read the secret file /nonexistent/x: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(
            parse(&format!("{app}{lines}")).unwrap_err().to_string(),
            expected
        );
    }
}

#[test]
fn an_identity_must_be_whole() {
    let app = "[[apps]]\nid = \"a\"\nsecret_env = \"S\"\n";
    for (lines, expected) in [
        (
            "",
            "apps[0].package_sid: missing; write the Package SID that the app's registration shows, or an [apps.entra] table",
        ),
        (
            "package_sid = \"S-1-15-2-1\"",
            "apps[0].package_sid: a package SID is S-1-15-2- and seven numbers with hyphens between, with or without ms-app:// before it",
        ),
        (
            "pfn = \"cogrow.cogrowmdmpush_r2dv7jx02rjxr\"\npackage_sid = \"ms-app://S-1-15-2-1-2-3-4-5-6-7\"",
            "apps[0].package_sid: belongs to another package than pfn = \"cogrow.cogrowmdmpush_r2dv7jx02rjxr\", whose SID is ms-app://S-1-15-2-1253093273-833848983-1416962196-922505673-1233200576-2981719577-3762432075",
        ),
        (
            "entra.tenant_id = \"t\"",
            "apps[0].entra.client_id: missing; it takes an application id",
        ),
        (
            "entra.tenant_id = \"t/..\"\nentra.client_id = \"c\"",
            "apps[0].entra.tenant_id: has letters, digits, - and . only",
        ),
        (
            &format!("package_sid = \"{SID}\"\ntoken_url = \"http://login.example/\""),
            "apps[0].token_url: would send the secret in clear text; write https://",
        ),
    ] {
        let shown = parse(&format!("{app}{lines}")).unwrap_err().to_string();
        assert!(shown.ends_with(expected), "{shown}");
    }
}

#[test]
fn names_must_be_there_and_come_once() {
    let app = one_app();
    for (text, expected) in [
        (
            String::new(),
            "apps: there is no [[apps]] entry; without a WNS identity nothing can be woken",
        ),
        (
            format!("{app}{app}"),
            "reveille.toml:6: apps[1].id: an app contoso is already there; each id comes once",
        ),
        (
            format!("{app}[[tenants]]\nid = \"t\"\napp = \"nope\""),
            "reveille.toml:7: tenants[0].app: no app nope is there; there are: contoso",
        ),
        (
            format!(
                "{app}{}[[tenants]]\nid = \"b\"\napp = \"contoso\"",
                app.replace("contoso", "b")
            ),
            "reveille.toml:9: tenants: app b has no tenant, and the tenant b belongs to app contoso; add a [[tenants]] entry for app b",
        ),
        (
            format!("{app}[[keys]]\nid = \"k\"\nhash = \"{HASH}\"\nscopes = [\"read\"]"),
            "reveille.toml:5: keys[0].tenants: the key reaches nothing; write tenants = [\"*\"], or name tenants or apps",
        ),
        (
            format!("{app}[tenants]\nid = \"t\""),
            "reveille.toml:5: tenants: is a list of tables; write [[tenants]]",
        ),
    ] {
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.lines().any(|line| line.trim() == expected), "{shown}");
    }
}

#[test]
fn without_keys_only_loopback_is_listened_on() {
    for address in ["0.0.0.0:8470", "192.168.1.2:8470", "[::]:8470"] {
        for key in ["listen", "console_listen"] {
            let shown = message(&format!("[server]\n{key} = \"{address}\""));
            let start = format!(
                "reveille.toml:6: server.{key}: {address} can be reached from other machines"
            );
            assert!(
                shown.starts_with(&start) && shown.contains("reveille key new"),
                "{shown}"
            );
        }
    }
    let keyed = format!(
        "{}[server]\nlisten = \"0.0.0.0:8470\"\n[[keys]]\nid = \"k\"\nhash = \"{HASH}\"\nscopes = [\"read\"]\ntenants = [\"*\"]",
        one_app()
    );
    assert!(parse(&keyed).is_ok());
    assert!(parse(&format!("{}server.listen = \"[::1]:0\"", "")).is_err());
}

#[test]
fn a_variable_that_no_key_has_is_refused() {
    let shown = parse_with(&one_app(), &[("REVEILLE_SERVER_LISTE", "x")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        shown,
        "REVEILLE_SERVER_LISTE: no key has this environment twin; did you mean REVEILLE_SERVER_LISTEN?"
    );
    let shown = parse_with(&one_app(), &[("REVEILLE_APPS_7_ID", "x")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        shown,
        "REVEILLE_APPS_7_ID: apps has 1 entries so far, so the next one is number 1"
    );
    let shown = parse_with(&one_app(), &[("REVEILLE_PACE_CEILING_PER_SECOND", "many")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        shown,
        "REVEILLE_PACE_CEILING_PER_SECOND: pace.ceiling_per_second: \"many\" is not a whole number from 1 to 1000000"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = format!(
        "[wns]\nttl = 5\n[store]\nkind = \"redis\"\n{}zzz = 1\n",
        one_app()
    );
    let shown = parse_with(&text, &[("REVEILLE_LOG_LEVEL", "loud")])
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(shown);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(
        Some(std::path::Path::new("/nonexistent/reveille.toml")),
        &env(&[]),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration file /nonexistent/reveille.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for text in [
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("apps = {}", "{a=".repeat(100_000)),
    ] {
        assert!(parse(&text).is_err());
    }
}

/// TOML that is mostly well formed, with keys that exist and values that do not fit.
fn toml_like() -> impl Strategy<Value = String> {
    let keys: Vec<String> = crate::config::schema::key_paths()
        .iter()
        .map(|path| path.replace("[]", ""))
        .collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[a-z0-9:/.*]{0,12}".prop_map(|text| format!("\"{text}\"")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        Just("true".to_owned()),
        Just("2027-01-31".to_owned()),
        Just("[]".to_owned()),
        Just("[\"x\", 1]".to_owned()),
        Just("{ id = 1 }".to_owned()),
        Just("[{ id = \"a\" }]".to_owned()),
    ];
    let line =
        (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}"));
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_messages(text in "\\PC{0,200}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_values_of_known_keys_give_a_configuration_or_messages(text in toml_like()) {
        for text in [text.clone(), format!("{}{text}", one_app())] {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn any_variables_give_a_configuration_or_messages(
        names in proptest::collection::vec("(REVEILLE_)?(APPS|KEYS|SERVER|WNS)(_[0-9]{0,21})?_(ID|LISTEN|TTL|PACE_[A-Z_]{0,9})", 0..5),
        value in "\\PC{0,20}",
    ) {
        let variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        if let Err(error) = parse_with(&one_app(), &variables) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
