//! What is checked before a store is used: options, the server, what the store says of itself.

use std::time::Duration;

use reveille::{
    adapters::redis::{
        Address, Arrangement, ConnectError, Login, RedisOptions, RedisStore, SHARDS_MAX, Tls,
    },
    config::Config,
    domain::queue::Lane,
    ports::error::{Probe, StoreError},
};
use secrecy::SecretString;

use crate::{
    items::*,
    redis_server::{RedisServer, engine},
    rig::*,
};

async fn refused(options: RedisOptions) -> ConnectError {
    match RedisStore::connect(options).await {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_with_the_reason() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);

    let error = refused(single(&server)).await;

    let told = error.to_string();
    assert!(
        told.contains("allkeys-lru") && told.contains("noeviction"),
        "{told}"
    );
    assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0, "the store was made");
}

#[tokio::test]
async fn a_server_of_another_topology_is_refused_with_the_reason() {
    let (node, plain) = (
        RedisServer::start(&["--cluster-enabled", "yes"]),
        RedisServer::start(&[]),
    );
    let slots = ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"];
    node.ask::<()>(&slots);
    crate::redis_cluster::wait_until("the slots", || {
        let info: String = node.ask(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok")
    });
    let seeds = || vec![address(plain.port)];
    let (sentinels, master) = (seeds(), "main".to_owned());

    let of_cluster = refused(single(&node)).await.to_string();
    let no_cluster = refused(options(Arrangement::Cluster { seeds: seeds() }))
        .await
        .to_string();
    let no_sentinel = refused(options(Arrangement::Sentinel { sentinels, master })).await;

    assert!(
        of_cluster.contains("set store.topology to cluster"),
        "{of_cluster}"
    );
    assert!(no_cluster.contains("no node of a cluster"), "{no_cluster}");
    assert!(
        no_sentinel.to_string().contains("no sentinel"),
        "{no_sentinel}"
    );
    for server in [&node, &plain] {
        assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0, "the store was made");
    }
}

#[tokio::test]
async fn a_store_that_is_only_looked_for_is_not_made() {
    let server = RedisServer::start(&[]);
    let existing = || RedisOptions {
        existing_only: true,
        ..single(&server)
    };

    let error = refused(existing()).await;

    let ConnectError::Missing { health } = error else {
        panic!("{error:?}");
    };
    assert!(health.description.starts_with(engine()), "{health:?}");
    assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0, "the store was made");
    RedisStore::connect(single(&server)).await.unwrap();
    RedisStore::connect(existing()).await.unwrap();
}

#[tokio::test]
async fn the_number_of_shards_is_fixed_when_the_store_is_created() {
    let server = RedisServer::start(&[]);
    let shards = |shards| RedisOptions {
        shards,
        ..single(&server)
    };
    RedisStore::connect(shards(Some(16))).await.unwrap();

    let error = refused(shards(Some(64))).await;

    assert_eq!(
        error,
        ConnectError::Shards {
            found: 16,
            wanted: 64
        }
    );
    RedisStore::connect(shards(None)).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_broker_is_refused() {
    let server = RedisServer::start(&[]);
    RedisStore::connect(single(&server)).await.unwrap();
    server.ask::<()>(&["HSET", "rv:{ctl}:store", "schema", "2"]);

    let error = refused(single(&server)).await;

    assert_eq!(error, ConnectError::Schema { found: 2, known: 1 });
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_bounded_time() {
    let server = RedisServer::prepared(&[]);
    let opening = RedisStore::connect(single(&server));

    let opened = tokio::time::timeout(Duration::from_secs(10), opening).await;

    let error = opened.expect("it takes too long").err().unwrap();
    assert!(
        matches!(error, ConnectError::Store(StoreError::Unavailable { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn the_probe_says_what_an_acknowledgement_is_worth() {
    let durable = RedisServer::durable();
    let fleeting = RedisServer::start(&[]);

    let safe = RedisStore::connect(single(&durable))
        .await
        .unwrap()
        .probe()
        .await
        .unwrap();
    let unsafe_ = RedisStore::connect(single(&fleeting))
        .await
        .unwrap()
        .probe()
        .await
        .unwrap();

    assert!(
        safe.description.starts_with(engine()),
        "{}",
        safe.description
    );
    assert!(safe.durability.contains("on disk"), "{}", safe.durability);
    assert!(unsafe_.durability.contains("a restart of redis loses"));
    assert!(
        unsafe_
            .warnings
            .iter()
            .any(|w| w.contains("set appendonly yes"))
    );
}

#[tokio::test]
async fn a_store_is_reached_through_tls_as_a_user_of_the_access_list() {
    // given a server with a certificate of its own and a user who may do no more than documented
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let mut server = RedisServer::prepared(&[]);
    let file = |name: &str, text: String| {
        let path = server.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("server.crt", made.cert.pem());
    let key = file("server.key", made.signing_key.serialize_pem());
    let tls_port = RedisServer::prepared(&[]).port;
    server.argue(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-auth-clients",
        "no",
    ]);
    server.argue(&["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    server.run();
    let login = documented_user(&server);
    // when it is opened with the right password and with a wrong one
    let with = |password: &str| {
        let mut options = single(&server);
        options.arrangement = Arrangement::Single(Address {
            host: "localhost".to_owned(),
            port: tls_port,
        });
        options.login = Login {
            password: Some(SecretString::from(password)),
            ..login.clone()
        };
        let authorities = Some(made.cert.pem().into_bytes());
        options.tls = Some(Tls {
            authorities,
            identity: None,
        });
        options
    };
    let store = open(with("secret")).await;
    let error = refused(with("wrong")).await;
    // then it works, and the refusal does not repeat the password
    let queue = direct(reveille::domain::queue::Lane::Urgent);
    open_pushes(&store, &keys(3), &queue).await;
    assert_eq!(claim(&store, &queue, 10).await.len(), 3);
    assert!(error.to_string().contains("login"), "{error}");
    assert!(!format!("{error:?}").contains("wrong"));
}

#[tokio::test]
async fn as_many_shards_as_a_configuration_may_ask_for_can_be_used_and_no_more() {
    let config = |shards: usize| {
        let text = format!(
            "[store]\nkind = \"redis\"\nurl = \"redis://localhost/0\"\nshards = {shards}\n[[apps]]\nid = \"a\"\n\
             package_sid = \"ms-app://s-1-15-2-1-2-3-4-5-6-7\"\nsecret_env = \"S\"\n"
        );
        let environment = [("S", "s3cret")].into_iter().collect();
        Config::parse(&text, "reveille.toml", &environment)
    };
    for shards in [1, SHARDS_MAX] {
        config(shards).unwrap();
        let server = RedisServer::start(&[]);
        let options = RedisOptions {
            shards: Some(shards),
            ..single(&server)
        };
        let store = open(options).await;
        let (keys, queue) = (keys(1_000), direct(Lane::Bulk));
        open_pushes(&store, &keys, &queue).await;
        let mut claimed = 0;
        eventually("all are claimed", async || {
            claimed += claim(&store, &queue, 256).await.len();
            claimed == keys.len()
        })
        .await;
    }

    assert!(config(0).is_err() && config(SHARDS_MAX + 1).is_err());
}

#[tokio::test]
async fn a_store_that_is_closed_has_given_its_leases_back() {
    let server = RedisServer::start(&[]);
    let (store, other) = (open(single(&server)).await, open(single(&server)).await);
    let term = Duration::from_secs(60);
    let first = store.hold("campaign/a", "one", term).await.unwrap();
    store.hold("janitor", "one", term).await.unwrap();
    assert_eq!(other.hold("campaign/a", "two", term).await.unwrap(), None);

    store.close().await.unwrap();

    let next = other.hold("campaign/a", "two", term).await.unwrap();
    assert!(next > first, "{next:?} after {first:?}");
    assert!(other.hold("janitor", "two", term).await.unwrap().is_some());
    // What another has taken since is not given back by a store that is closed once more.
    store.close().await.unwrap();
    assert_eq!(other.hold("campaign/a", "three", term).await.unwrap(), None);
}
