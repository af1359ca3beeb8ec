//! What a fleet has behind it moves with it: a finished campaign with its report, dead channels, tenants, the feed, and how far
//! webhooks have come. Here from a folder to a cluster, and on to another folder.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    copy::{Place, copied, in_folder},
    hook::Hook,
    redis_cluster::RedisCluster,
    rig::{Rig, TENANT, silent, until},
};

const DEVICES: u32 = 40;
/// Those of which WNS says that their channels are gone.
const GONE: u32 = 3;
const HOOKS: &str = "/v1/tenants/contoso/webhooks";

/// A cluster has to be named by a configuration file, which must be a whole one.
fn in_cluster(rig: &mut Rig, cluster: &RedisCluster) -> Place {
    let port = cluster.masters[0].port;
    let store =
        format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\ntopology = \"cluster\"");
    let secret = rig.dir.path().join("secret");
    std::fs::write(
        &secret,
        &rig.sandbox.credentials(TENANT).unwrap().secrets[0],
    )
    .unwrap();
    rig.secret = format!("secret_file = \"{}\"", secret.display());
    let own = std::mem::replace(&mut rig.store, store.clone());
    let file = rig.dir.path().join("cluster.toml");
    std::fs::rename(rig.configure(), &file).unwrap();
    rig.store = own;
    let name = file.to_str().unwrap().to_owned();
    Place { name, store }
}

fn of_tenant(what: &str) -> String {
    format!("/v1/tenants/{TENANT}{what}")
}

/// A webhook as its console knows it.
struct Subscription {
    hook: Hook,
    path: String,
    secret: String,
}

impl Subscription {
    async fn make(rig: &Rig) -> Self {
        let hook = Hook::closed().await;
        let made = rig.post(HOOKS, json!({ "url": hook.url })).await;
        let text = |what: &str| made[what].as_str().unwrap().to_owned();
        Self {
            hook,
            path: format!("{HOOKS}/{}", text("id")),
            secret: text("secret"),
        }
    }

    /// Waits until the broker has written down that everything was taken.
    async fn until_at_the_end(&self, rig: &Rig) {
        until("the webhook has taken everything", async || {
            let end = events(rig).await.pop().unwrap();
            rig.get(&self.path).await["cursor"] == end["id"]
        })
        .await;
    }

    /// Waits for the delivery that follows those that were taken, which must be the news of this device.
    async fn takes_next(&self, taken: usize, device: &str) {
        until("the webhook takes what happens next", async || {
            self.hook.taken().len() > taken
        })
        .await;
        let taken = self.hook.taken().split_off(taken);
        let bodies: Vec<&String> = taken.iter().map(|delivery| &delivery.body).collect();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert!(bodies[0].contains(device), "{bodies:?}");
        assert!(taken[0].is_signed_with(&self.secret));
    }
}

/// The feed of the tenant.
async fn events(rig: &Rig) -> Vec<Value> {
    let lines = text(rig, &of_tenant("/events?limit=100000")).await;
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn text(rig: &Rig, path: &str) -> String {
    let answer = rig.http.get(rig.url(path)).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().await.unwrap()
}

/// Registers one more device, which is an event.
async fn register(rig: &Rig, device: &str) {
    let (_, uri) = rig.sandbox.channels(TENANT).next().unwrap();
    let line = format!("{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}");
    rig.post_lines(&of_tenant("/channels"), line).await;
}

/// What a console sees, without what is a broker's own, and without the places in the feed.
async fn seen(rig: &Rig, campaign: &str) -> Vec<(String, Value)> {
    let mut paths = vec![
        "/v1/tenants".to_owned(),
        "/v1/tenants/fabrikam".to_owned(),
        of_tenant(""),
        campaign.to_owned(),
    ];
    let devices = rig.sandbox.channels(TENANT);
    paths.extend(devices.map(|(device, _)| of_tenant(&format!("/devices/{device}"))));
    let mut seen = Vec::new();
    for path in paths {
        let answer = rig.get(&path).await;
        seen.push((path, answer));
    }
    // The order of these is a store's own.
    let dead = rig.get(&of_tenant("/devices?channel=dead")).await;
    let dead = dead["items"].as_array().unwrap().iter();
    let mut lines: Vec<String> = dead.map(|device| device["device"].to_string()).collect();
    let report = text(rig, &format!("{campaign}/targets?format=csv")).await;
    lines.extend(report.lines().map(str::to_owned));
    lines.sort_unstable();
    let lines = lines.into_iter().map(|line| (line, Value::Null));
    seen.extend(lines);
    let paused = rig.get(&format!("/v1/apps/{TENANT}")).await["paused"].take();
    seen.push(("pause".to_owned(), paused));
    for mut hook in rig.get(HOOKS).await["items"].as_array().unwrap().clone() {
        let told = ["id", "host", "types", "batch_max", "created_at"];
        hook.as_object_mut()
            .unwrap()
            .retain(|name, _| told.contains(&name.as_str()));
        seen.push(("webhook".to_owned(), hook));
    }
    for mut event in events(rig).await {
        event.as_object_mut().unwrap().remove("id");
        seen.push(("event".to_owned(), event));
    }
    seen
}

/// A tenant that was made by hand, a finished campaign of which some devices have lost their channels, a pause. Gives the path
/// of the campaign.
async fn live(rig: &Rig) -> String {
    let tenant = rig.http.put(rig.url("/v1/tenants/fabrikam"));
    let tenant = tenant.json(&json!({ "app": TENANT, "share": 2 }));
    assert!(tenant.send().await.unwrap().status().is_success());
    let gone: Vec<String> = rig
        .sandbox
        .channels(TENANT)
        .take(GONE as usize)
        .map(|(device, _)| device.to_string())
        .collect();
    for device in &gone {
        let path = format!("devices/{device}");
        rig.control(Method::PATCH, &path, json!({ "channel": "gone" }))
            .await;
    }
    rig.register_all().await;
    let all = json!({ "name": "past", "targets": "all", "goal": "accepted" });
    let made = rig.post(&of_tenant("/campaigns"), all).await;
    let campaign = of_tenant(&format!("/campaigns/{}", made["id"].as_str().unwrap()));
    rig.post(&format!("{campaign}/start"), json!({})).await;
    until("the channels are dead", async || {
        rig.get(&campaign).await["counts"]["accepted"] == DEVICES - GONE
            && rig.get(&of_tenant("")).await["devices"]["dead"] == GONE
    })
    .await;
    for device in &gone {
        let path = of_tenant(&format!("/pushes/{device}?all=true"));
        let ended = rig.http.delete(rig.url(&path)).send().await.unwrap();
        assert!(ended.status().is_success());
    }
    until("the campaign is finished", async || {
        rig.get(&campaign).await["state"] == "finished"
    })
    .await;
    let pause = format!("/v1/apps/{TENANT}/pause");
    rig.post(&pause, json!({ "reason": "the move" })).await;
    campaign
}

/// Stops the broker, copies, and starts it on the copy, which must look the same.
async fn move_on(rig: &mut Rig, campaign: &str, from: &Place, to: &Place) {
    let before = seen(rig, campaign).await;
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));
    let sums = copied(from, to, &[]).await;
    assert_eq!(sums["tenants"][TENANT]["targets"], DEVICES, "{sums}");
    assert_eq!(sums["tenants"][TENANT]["channels"]["dead"], GONE, "{sums}");
    rig.store.clone_from(&to.store);
    rig.start().await;
    let after = seen(rig, campaign).await;
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(&before) {
        assert_eq!(after, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_has_behind_it_moves_to_a_cluster_and_from_it_to_a_folder() {
    // given a fleet with a past, one webhook that has heard of all of it and one that has heard of nothing
    let cluster = RedisCluster::start(3, 0, &[]);
    let mut rig = Rig::new(DEVICES, silent());
    rig.extra = "[webhooks]\nprivate_addresses = true".to_owned();
    let (first, last) = (in_folder(&rig, "data"), in_folder(&rig, "last"));
    let middle = in_cluster(&mut rig, &cluster);
    rig.start().await;
    let (prompt, late) = (
        Subscription::make(&rig).await,
        Subscription::make(&rig).await,
    );
    prompt.hook.open();
    let campaign = live(&rig).await;
    prompt.until_at_the_end(&rig).await;
    let told = prompt.hook.taken().len();
    assert_eq!(told, events(&rig).await.len());

    // when it moves to a cluster
    move_on(&mut rig, &campaign, &first, &middle).await;

    // then the first webhook goes on where it was, and the other one hears of everything
    register(&rig, "newcomer").await;
    prompt.takes_next(told, "newcomer").await;
    late.hook.open();
    late.until_at_the_end(&rig).await;
    assert_eq!(late.hook.taken().len(), told + 1);
    assert!(late.hook.taken()[0].is_signed_with(&late.secret));

    // and when it moves on to a folder, both go on where they were
    prompt.until_at_the_end(&rig).await;
    move_on(&mut rig, &campaign, &middle, &last).await;
    register(&rig, "latecomer").await;
    prompt.takes_next(told + 1, "latecomer").await;
    late.takes_next(told + 1, "latecomer").await;
}
