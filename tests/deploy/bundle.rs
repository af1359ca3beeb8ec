//! A support bundle of a broker in trouble: it holds what support asks for, and no secret that was laid in its way.

use std::{fs, path::Path, process::Command};

use reveille::sandbox::Behaviour;
use serde_json::Value;

use crate::rig::{Rig, TENANT, until};

/// Passwords and keys in places where people put them.
const COLLECTOR_PASSWORD: &str = "c0llector-pa55word";
const API_KEY: &str = "rvk_support_bm90LWEtcmVhbC1rZXk";
const COLLECTOR_KEY: &str = "c0llector-query-k3y";
const LOGIN: &str = "l0gin-of-a-gateway";
const STRAY: &str = "stray-s3cret";
const NEXT_SECRET: &str = "the-next-s3cret-of-the-app";
const HEADER: &str = "x-collector-key=k3y-of-the-collector";
/// A token that WNS quotes in its answer, with which somebody could push to a device.
const QUOTED: &str = "https://db5p.notify.windows.com/?token=AwYAAAQuotedByWns";
/// How every access token and every channel token of the sandbox begins.
const TOKENS: [&str; 2] = ["EwAAAA", "AwYAAA"];
/// More than a page of a list holds.
const TENANTS: usize = 1_001;
/// The files of every bundle.
const FILES: [&str; 8] = [
    "about.json",
    "apps.json",
    "environment.txt",
    "metrics.txt",
    "readiness.json",
    "recent-failures/contoso.json",
    "reveille.toml",
    "tenants.json",
];

/// A broker whose channels are all refused by a WNS that quotes one of them.
async fn troubled() -> Rig {
    let reply = format!("410:description=no channel {QUOTED}=100%");
    let behaviour = Behaviour {
        replies: vec![reply.parse().unwrap()],
        ..Behaviour::default()
    };
    let mut rig = Rig::new(20, behaviour);
    let next = rig.dir.path().join("next-secret");
    fs::write(&next, NEXT_SECRET).unwrap();
    rig.secret += &format!("\nsecret_next_file = \"{}\"", next.display());
    rig.extra = format!(
        "[traces]\nendpoint = \"http://collector:{COLLECTOR_PASSWORD}@127.0.0.1:9/v1/traces?key={COLLECTOR_KEY}\"\nsample = \"0%\"\n"
    );
    for tenant in (0..TENANTS)
        .map(|n| format!("tenant-{n}"))
        .chain([TENANT.to_owned()])
    {
        rig.extra += &format!("[[tenants]]\nid = \"{tenant}\"\napp = \"{TENANT}\"\n");
    }
    rig.start().await;
    rig.register_all().await;
    rig.push_all("goal=accepted").await;
    until("an attempt has failed", async || {
        let failures = rig.get(&format!("/v1/apps/{TENANT}/failures")).await;
        failures["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
    })
    .await;
    rig
}

/// Every file under `folder`, by its path, as bytes.
fn unpacked(folder: &Path, under: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            unpacked(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_what_support_asks_for_and_no_secret() {
    // given a broker in trouble, with secrets in its configuration and its surroundings
    let rig = troubled().await;
    let login = rig.sandbox.credentials(TENANT).unwrap();

    // and a key that does not exist, which its configuration got since
    let config = rig.configure();
    let stray = fs::read_to_string(&config).unwrap() + &format!("\n[stray]\npin = \"{STRAY}\"\n");
    fs::write(&config, stray).unwrap();

    // when it is bundled
    let archive = rig.dir.path().join("bundle.tar.gz");
    let server = rig
        .url("")
        .replace("http://", &format!("http://gate:{LOGIN}@"));
    let ended = Command::new(env!("CARGO_BIN_EXE_reveille"))
        .args(["bundle", "--server", &server, "--key", API_KEY])
        .arg("--output")
        .arg(&archive)
        .arg("--config")
        .arg(config)
        .env("E2E_WNS_SECRET", &login.secrets[0])
        .env("REVEILLE_STORE_URL", "redis://:r3dis-pa55word@127.0.0.1")
        .env("OTEL_EXPORTER_OTLP_HEADERS", HEADER)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );

    // then it has these files and the ids that Microsoft wants
    let folder = tempfile::tempdir().unwrap();
    let tar = Command::new("tar")
        .args(["-xzf", archive.to_str().unwrap(), "-C"])
        .arg(folder.path())
        .status();
    assert!(tar.unwrap().success());
    let mut files = Vec::new();
    unpacked(&folder.path().join("reveille-bundle"), "", &mut files);
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, FILES);
    let text = |name: &str| {
        let (_, bytes) = files.iter().find(|(n, _)| n == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    let failures: Value = serde_json::from_str(&text("recent-failures/contoso.json")).unwrap();
    let first = &failures["items"][0];
    for id in ["msg_id", "debug_trace", "ms_cv"] {
        assert!(
            first[id].as_str().is_some_and(|text| !text.is_empty()),
            "{id} in {first}"
        );
    }
    let said = first["description"].as_str().unwrap();
    assert!(said.starts_with("no channel https://db5p"), "{said}");
    let tenants: Value = serde_json::from_str(&text("tenants.json")).unwrap();
    assert!(tenants["items"].as_array().unwrap().len() >= TENANTS);
    assert_eq!(tenants["next_cursor"], Value::Null);
    assert!(text("reveille.toml").contains("secret_next_file"));
    assert!(text("environment.txt").contains("REVEILLE_STORE_URL"));

    // and nothing private, in any file
    let mut private = vec![COLLECTOR_PASSWORD, API_KEY, NEXT_SECRET, "r3dis-pa55word"];
    private.extend([COLLECTOR_KEY, LOGIN, STRAY]);
    private.extend(["k3y-of-the-collector", login.secrets[0].as_str()]);
    private.extend(TOKENS);
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        for secret in &private {
            assert!(!text.contains(secret), "{secret} is in {name}");
        }
    }
}
