//! What an operator lays out in the configuration, and what is left over when something is taken out of it.

use reveille::sandbox::Behaviour;
use serde_json::{Value, json};

use crate::{
    broker::free_port,
    rig::{Rig, TENANT, until},
};

/// Pushes that no configured app serves, as the metrics have it.
async fn unserved(rig: &Rig) -> Option<String> {
    let metrics = rig.http.get(rig.url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("reveille_pushes_unserved "));
    line.map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_a_tenant_that_was_taken_out_are_named_and_go_out_when_it_is_back() {
    // given a tenant of the configuration, whose push waits
    let mut rig = Rig::new(3, Behaviour::default());
    let tenant = format!("[[tenants]]\nid = \"spare\"\napp = \"{TENANT}\"\n");
    rig.extra.clone_from(&tenant);
    rig.start().await;
    let (device, uri) = rig.sandbox.channels(TENANT).next().unwrap();
    let channel = json!({"device": device, "uri": uri}).to_string();
    rig.post_lines("/v1/tenants/spare/channels", channel).await;
    rig.post(&format!("/v1/apps/{TENANT}/pause"), json!({}))
        .await;
    let push = json!({"device": device}).to_string();
    rig.post_lines("/v1/tenants/spare/pushes", push).await;

    // when it is taken out
    rig.kill();
    rig.extra.clear();
    rig.start().await;
    rig.post(&format!("/v1/apps/{TENANT}/resume"), json!({}))
        .await;

    // then the broker says so
    until("the push is missed", async || {
        unserved(&rig).await.as_deref() == Some("1")
    })
    .await;
    let ready = rig.get("/readyz").await;
    let parts = ready["components"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == "tenant/spare");
    assert_eq!(part.unwrap()["status"], "degraded", "{ready}");
    assert_eq!(rig.reached(), 0);

    // and sends when it is back
    rig.kill();
    rig.extra = tenant;
    rig.start().await;
    until("the push has arrived", async || rig.reached() == 1).await;
    until("nothing is missed", async || {
        unserved(&rig).await.as_deref() == Some("0")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_added_while_its_app_is_paused_waits_too() {
    let mut rig = Rig::new(3, Behaviour::default());
    rig.start().await;
    rig.post(&format!("/v1/apps/{TENANT}/pause"), json!({}))
        .await;
    rig.kill();
    rig.extra = format!("[[tenants]]\nid = \"spare\"\napp = \"{TENANT}\"\n");
    rig.start().await;
    let (device, uri) = rig.sandbox.channels(TENANT).next().unwrap();
    let channel = json!({"device": device, "uri": uri}).to_string();
    rig.post_lines("/v1/tenants/spare/channels", channel).await;
    let push = json!({"device": device}).to_string();
    rig.post_lines("/v1/tenants/spare/pushes", push).await;

    // The queue is out of service, so nothing of it is leased however long one waits.
    let spare = rig.get(&format!("/v1/tenants/spare/pushes/{device}")).await;
    assert_eq!(
        (&spare["state"], &spare["attempts"]),
        (&json!("due"), &json!(0))
    );
    assert_eq!(rig.reached(), 0);
    rig.post(&format!("/v1/apps/{TENANT}/resume"), json!({}))
        .await;
    until("it has arrived", async || rig.reached() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_page_with_an_address_of_its_own_is_there_with_the_api_and_gone_from_the_other() {
    let mut rig = Rig::new(1, Behaviour::default());
    let console = format!("127.0.0.1:{}", free_port());
    let variable = "REVEILLE_SERVER_CONSOLE_LISTEN";
    rig.env.push((variable, console.clone()));
    rig.start().await;
    let status = async |url: String| rig.http.get(url).send().await.unwrap().status().as_u16();

    let pages = ["/", "/runbooks/ReveilleDown", "/console/main.js"];
    for page in pages {
        assert_eq!(status(rig.url(page)).await, 404, "{page}");
    }
    for page in [pages[0], pages[1]] {
        assert_eq!(
            status(format!("http://{console}{page}")).await,
            200,
            "{page}"
        );
    }
    let apps = rig.http.get(format!("http://{console}/v1/apps")).send();
    let apps: Value = apps.await.unwrap().json().await.unwrap();
    assert_eq!(apps["items"][0]["app"], TENANT);
    assert_eq!(status(rig.url("/v1/apps")).await, 200);
}
