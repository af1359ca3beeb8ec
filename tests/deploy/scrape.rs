//! A scrape of a large broker over HTTP, as Prometheus sees it.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use reveille::sandbox::{AppSpec, SandboxConfig};
use serde_json::json;

use crate::rig::{Rig, silent, until};

const APPS: usize = 1_000;
const CAMPAIGNS: usize = 100;
const SCRAPES: usize = 20;

/// The lines of the configuration for apps of the sandbox, with their secrets in files.
fn login(rig: &Rig, apps: &[String]) -> String {
    let mut text = String::new();
    for app in apps {
        let login = rig.sandbox.credentials(app).unwrap();
        let secret = rig.dir.path().join(app);
        fs::write(&secret, &login.secrets[0]).unwrap();
        write!(
            text,
            "[[apps]]\nid = \"{app}\"\npfn = \"{}\"\npackage_sid = \"{}\"\ntoken_url = \"{}\"\nsecret_file = \"{}\"\n",
            login.pfn,
            login.package_sid,
            login.token_url,
            secret.display()
        )
        .unwrap();
    }
    text
}

/// Starts a campaign for the devices of an app.
async fn campaign(rig: &Rig, app: &str) {
    rig.register(app).await;
    let path = format!("/v1/tenants/{app}/campaigns");
    let body = json!({"name": "c", "goal": "check_in", "targets": "all"});
    let made = rig.post(&path, body).await;
    let id = made["id"].as_str().unwrap();
    rig.post(&format!("{path}/{id}/start"), json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_tells_of_a_thousand_apps_and_a_hundred_campaigns() {
    // given a broker with many apps, and campaigns that nobody answers
    let apps: Vec<String> = (1..APPS).map(|n| format!("app{n}")).collect();
    let specs = apps.iter().map(|app| AppSpec::new(app).unwrap());
    let mut rig = Rig::of(SandboxConfig {
        devices: 2,
        apps: specs.collect(),
        behaviour: silent(),
        ..SandboxConfig::default()
    });
    rig.extra = login(&rig, &apps);
    rig.start().await;
    for app in apps.iter().take(CAMPAIGNS) {
        campaign(&rig, app).await;
    }

    // when it is scraped
    let scrape = async || {
        let answer = rig.http.get(rig.url("/metrics")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let running = |text: &str| {
        let campaigns = text
            .lines()
            .filter(|l| l.starts_with("reveille_campaigns{"));
        campaigns
            .filter(|l| l.ends_with("state=\"running\"} 1"))
            .count()
    };
    until("all campaigns run", async || {
        running(&scrape().await) == CAMPAIGNS
    })
    .await;
    let (mut took, mut text) = (Vec::with_capacity(SCRAPES), String::new());
    for _ in 0..SCRAPES {
        let began = Instant::now();
        text = scrape().await;
        took.push(began.elapsed());
    }

    // then every app is there, whatever has happened to it, and no campaign by its id
    took.sort();
    let (median, bytes): (Duration, usize) = (took[SCRAPES / 2], text.len());
    println!("a scrape of {APPS} apps and {CAMPAIGNS} campaigns: {median:?}, {bytes} bytes");
    let paces = text
        .lines()
        .filter(|l| l.starts_with("reveille_pace_per_second{"));
    assert_eq!(paces.count(), APPS);
    let of_campaigns = text.lines().filter(|l| l.starts_with("reveille_campaign"));
    assert!(of_campaigns.count() < 20 * APPS);
}
