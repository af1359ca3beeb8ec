//! A master and a replica under Sentinel: the master dies, the store follows.

use std::{
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use reveille::{
    adapters::redis::Arrangement,
    domain::queue::Lane,
    ports::{
        Store,
        records::{Committed, Urgency},
    },
};

use crate::{items::*, redis_cluster::Watched, rig::*};

/// The least that a configuration has beside its store.
const APP: &str = r#"
[[apps]]
id = "contoso"
package_sid = "ms-app://s-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338"
secret_env = "SCOUT_PASSWORD"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_failover() {
    // given a store that waits for its replica
    let mut watched = Watched::start();
    let sentinels = vec![address(watched.sentinel.port)];
    let master = "main".to_owned();
    let mut options = options(Arrangement::Sentinel { sentinels, master });
    options.min_replicas_to_ack = 1;
    options.timeout = Duration::from_millis(1_000);
    let store = open(options).await;
    let queue = direct(Lane::Normal);
    // A crowded machine may need longer than a call lasts; who is not answered repeats.
    let due = now();
    let items: Vec<_> = keys(300)
        .iter()
        .map(|key| create(key, 1).to(&queue, due))
        .collect();
    eventually("the pushes are opened", async || {
        let opened = store.commit(items.clone(), Urgency::Open, None).await;
        opened.is_ok()
    })
    .await;
    let claimed = claim(&store, &queue, 100).await;

    // when the master dies, and the replica that takes its place has none itself
    watched.master.kill();
    eventually("the promotion", async || watched.replica.is_master()).await;
    let alone = commit_tried(&store).await;

    // then what was acknowledged is all there, and what only the new master has is not acknowledged
    assert!(
        alone.contains("of 1 replicas") || alone.contains("redis"),
        "{alone}"
    );
    let found = store.read(&keys(300)).await.unwrap();
    assert!(found.iter().all(|s| *s == Some(stored(1))));
    let lease = &claimed[0].lease;
    let settled = store
        .commit(
            vec![replace(&claimed[0].key, 1, 2).under(lease)],
            Urgency::Settle,
            None,
        )
        .await;
    assert!(settled.is_err(), "no replica has it: {settled:?}");
    assert_eq!(read_one(&store, &claimed[0].key).await, Some(stored(2)));
    assert_eq!(claim(&store, &queue, 256).await.len(), 200);

    // and with a replica again it is acknowledged
    let port = watched.replica.port.to_string();
    watched.master.argue(&["--replicaof", "127.0.0.1", &port]);
    watched.master.run();
    crate::redis_cluster::wait_until_it_follows(&watched.master);
    let settle = replace(&claimed[1].key, 1, 2).under(&claimed[1].lease);
    // The first try may have been applied before the replica had it.
    let own = Committed::Conflict(Some(stored(2)));
    let told = commit_surely(&store, settle).await;
    assert!(told == Committed::Done || told == own, "{told:?}");
}

/// Tries until a server takes it, and returns what it says.
async fn commit_tried(store: &Arc<dyn Store>) -> String {
    let mut told = String::new();
    eventually("an answer of the new master", async || {
        let items = vec![create(&key("late"), 1)];
        told = format!("{:?}", store.commit(items, Urgency::Open, None).await);
        told.contains("of 1 replicas") || told.contains("Conflict")
    })
    .await;
    told
}

#[test]
fn sentinels_that_ask_for_a_login_get_theirs_and_the_master_its_own() {
    let watched = Watched::start();
    let rights = ["on", ">hush", "~*", "&*", "+@all"];
    let user = [&["ACL", "SETUSER", "scout"][..], &rights].concat();
    watched.sentinel.ask::<()>(&user);
    // Last, since it shuts out whoever comes without a login.
    watched
        .sentinel
        .ask::<()>(&["ACL", "SETUSER", "default", "reset"]);
    let folder = tempfile::tempdir().unwrap();
    let check = |login: &str, secret: &str| {
        let config = folder.path().join("reveille.toml");
        let port = watched.sentinel.port;
        let text = format!(
            "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\ntopology = \"sentinel\"\nsentinel_master = \"main\"\n{login}{APP}"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
        let command = command.arg("check").arg("--config").arg(config);
        command.env("SCOUT_PASSWORD", secret).output().unwrap()
    };
    let told = |output: &Output| {
        let (out, err) = (&output.stdout, &output.stderr);
        String::from_utf8_lossy(&[&out[..], &err[..]].concat()).into_owned()
    };

    let login = "sentinel_user = \"scout\"\nsentinel_password_env = \"SCOUT_PASSWORD\"\n";
    let known = check(login, "hush");
    let strange = check(login, "wrong");
    let none = check("", "hush");

    let opened = |output: &Output| told(output).contains("under sentinel at 127.0.0.1");
    assert!(opened(&known), "{}", told(&known));
    for refused in [strange, none] {
        assert!(!opened(&refused), "{}", told(&refused));
        let why = told(&refused);
        assert!(why.contains("sentinel") && !why.contains("hush"), "{why}");
    }
}
