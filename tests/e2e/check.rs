//! `reveille check`: what it finds, how it says so, and that it leaves things as they are.

use reveille::sandbox::Behaviour;
use serde_json::Value;

use crate::{
    collector::Collector,
    rig::{Rig, TENANT},
};

/// Runs the check; gives the exit code and the findings with their weights and cures.
async fn check(rig: &Rig) -> (Option<i32>, Vec<(String, String)>) {
    let (code, out, _) = rig.ends("check", &["--json"]).await;
    let answer: Value = serde_json::from_str(&out).unwrap();
    let found = answer["findings"].as_array().unwrap().iter().map(|found| {
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        let told = format!("{}: {} {}", text("subject"), text("detail"), text("cure"));
        (text("weight"), told)
    });
    (code, found.collect())
}

fn finds(findings: &[(String, String)], weight: &str, words: &str) -> bool {
    findings
        .iter()
        .any(|(w, told)| w == weight && told.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_is_told_line_by_line_and_nothing_is_made() {
    let rig = Rig::new(1, Behaviour::default());
    let (code, out, err) = rig.ends("check", &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.lines().all(|line| line.starts_with("ok  ")), "{out}");
    for words in [
        "1 app, 1 tenant",
        "does not exist yet",
        "app contoso: got an access token",
        "is free",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!rig.dir.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_broker_it_warns_that_the_store_is_in_use_and_afterwards_it_opens_it() {
    let mut rig = Rig::new(1, Behaviour::default());
    rig.start().await;
    let (code, findings) = check(&rig).await;
    assert_eq!(code, Some(0), "{findings:?}");
    assert!(
        finds(&findings, "warning", "in use by a running broker"),
        "{findings:?}"
    );
    assert!(
        finds(&findings, "ok", "a broker answers at"),
        "{findings:?}"
    );
    assert_eq!(rig.get("/readyz").await["status"], "ready");

    // A holder that does not answer as a broker is no reason to be calm.
    rig.env
        .push(("REVEILLE_SERVER_LISTEN", "127.0.0.1:0".to_owned()));
    let (code, findings) = check(&rig).await;
    assert_eq!(code, Some(1), "{findings:?}");
    assert!(
        finds(&findings, "failed", "in use by another broker"),
        "{findings:?}"
    );

    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));
    let (code, findings) = check(&rig).await;
    assert_eq!(code, Some(0), "{findings:?}");
    assert!(finds(&findings, "ok", "a 202 survives"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_trouble_has_its_exit_code_and_its_cure() {
    let closed = "https://127.0.0.1:1/accesstoken.srf";
    let troubles = [
        (
            "E2E_WNS_SECRET",
            "wrong",
            1,
            "failed",
            "compare both with the app registration",
        ),
        (
            "REVEILLE_APPS_0_TOKEN_URL",
            closed,
            4,
            "unreachable",
            "look at the name server",
        ),
        (
            "REVEILLE_WNS_PROXY",
            "http://127.0.0.1:1",
            4,
            "unreachable",
            "compare wns.proxy",
        ),
        (
            "REVEILLE_WNS_CA_FILE",
            "no-such-file.pem",
            2,
            "invalid",
            "readable PEM file",
        ),
        (
            "REVEILLE_LIMITS_IN_FLIGHT_MAX",
            "0",
            2,
            "invalid",
            "limits.in_flight_max",
        ),
        (
            "REVEILLE_APPS_0_SECRET_EXPIRES",
            "2020-01-01",
            0,
            "warning",
            "make a new one",
        ),
    ];
    for (variable, value, code, weight, words) in troubles {
        let mut rig = Rig::new(1, Behaviour::default());
        rig.env.push((variable, value.to_owned()));
        let (ended, findings) = check(&rig).await;
        assert_eq!(ended, Some(code), "{variable}: {findings:?}");
        assert!(finds(&findings, weight, words), "{variable}: {findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_of_traces_is_tried_and_never_worse_than_a_warning() {
    let collector = Collector::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let with_login = collector.url.replace("http://", "http://ops:pass-word@");
    for (endpoint, weight, words) in [
        (with_login, "ok", "takes traces"),
        (
            collector.url.replace("/v1/traces", "/traces"),
            "warning",
            "it answered 400",
        ),
        (silent, "warning", "no answer in time"),
        (
            "http://127.0.0.1:1/v1/traces".to_owned(),
            "warning",
            "compare traces.endpoint",
        ),
    ] {
        let mut rig = Rig::new(1, Behaviour::default());
        rig.extra = format!("[traces]\nendpoint = \"{endpoint}\"\ntimeout = \"1s\"\n");
        let (code, findings) = check(&rig).await;
        assert_eq!(code, Some(0), "{findings:?}");
        assert!(finds(&findings, weight, "traces: "), "{findings:?}");
        assert!(finds(&findings, weight, words), "{findings:?}");
        assert!(!format!("{findings:?}").contains("pass-word"));
    }
    let login = Some("Basic b3BzOnBhc3Mtd29yZA==".to_owned());
    assert_eq!(collector.logins(), [login]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_told_secret_by_secret() {
    let mut rig = Rig::new(1, Behaviour::default());
    let good = rig.sandbox.credentials(TENANT).unwrap().secrets.remove(0);
    rig.env.push(("E2E_WNS_SECRET", "lapsed".to_owned()));
    rig.env.push(("E2E_NEXT_SECRET", good));
    rig.env.push((
        "REVEILLE_APPS_0_SECRET_NEXT_ENV",
        "E2E_NEXT_SECRET".to_owned(),
    ));
    let (code, findings) = check(&rig).await;
    assert_eq!(code, Some(0), "{findings:?}");
    assert!(
        finds(&findings, "warning", "make it the current one"),
        "{findings:?}"
    );
    assert!(
        finds(&findings, "ok", "next secret: got an access token"),
        "{findings:?}"
    );
}
