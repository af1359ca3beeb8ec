//! A server that answers and yet takes or acknowledges no changes: readiness hears why, and hears of the end.

use std::{sync::Arc, time::Duration};

use reveille::{
    domain::{id::AppId, queue::Lane},
    ports::{
        Store,
        records::{Committed, Urgency},
        shares::ShareRequest,
    },
};

use crate::{items::*, redis_server::RedisServer, rig::*};

async fn becomes_unready(store: &Arc<dyn Store>, why: &str) {
    eventually(why, async || {
        let health = store.probe().await;
        health.is_ok_and(|health| health.failing.is_some_and(|told| told.contains(why)))
    })
    .await;
}

async fn becomes_ready(store: &Arc<dyn Store>) {
    eventually("a store that is well", async || {
        let health = store.probe().await;
        health.is_ok_and(|health| health.failing.is_none())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_not_ready_until_it_leads_again() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    becomes_ready(&store).await;

    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    becomes_unready(&store, "is a replica").await;
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]);

    becomes_ready(&store).await;
}

#[tokio::test]
async fn a_server_without_the_replicas_that_are_waited_for_is_not_ready() {
    let server = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let mut options = single(&server);
    options.min_replicas_to_ack = 1;
    let store = open(options).await;
    becomes_unready(&store, "only 0 of 1 replicas").await;

    let port = server.port.to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);

    becomes_ready(&store).await;
}

#[tokio::test]
async fn a_server_that_begins_to_evict_is_not_ready() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let policy = |policy: &str| {
        server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", policy]);
    };

    policy("allkeys-lru");
    becomes_unready(&store, "allkeys-lru").await;
    policy("noeviction");

    becomes_ready(&store).await;
}

#[tokio::test]
async fn a_store_that_was_emptied_under_a_broker_is_not_ready() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    becomes_ready(&store).await;

    server.ask::<()>(&["FLUSHALL"]);
    let _renewed = open(single(&server)).await;

    eventually("the store is not ready", async || {
        let health = store.probe().await;
        health.is_ok_and(|health| health.failing.is_some())
    })
    .await;
    // Nothing is taken for a store that may be of another make.
    let refused = store.commit(vec![create(&key("a"), 1)], Urgency::Open, None);
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("lost or replaced"), "{refused}");
}

#[tokio::test]
async fn shares_that_are_refused_for_seconds_make_the_store_unready() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let request = ShareRequest {
        app: AppId::new("contoso").unwrap(),
        pace_per_second: 10.0,
        demand_per_second: 10.0,
    };
    let renew = async || {
        let term = Duration::from_secs(1);
        store.renew("a", std::slice::from_ref(&request), term).await
    };
    renew().await.unwrap();

    server.ask::<()>(&["ACL", "SETUSER", "default", "-@scripting"]);
    eventually("the store is not ready", async || {
        assert!(renew().await.is_err());
        let failing = store.probe().await.unwrap().failing;
        failing.is_some_and(|why| why.contains("NOPERM"))
    })
    .await;
    server.ask::<()>(&["ACL", "SETUSER", "default", "+@scripting"]);

    renew().await.unwrap();
    becomes_ready(&store).await;
}

#[tokio::test]
async fn a_user_who_may_announce_nothing_any_more_commits_but_is_not_ready() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;

    server.ask::<()>(&["ACL", "SETUSER", "default", "resetchannels"]);
    becomes_unready(&store, "the permission for channels").await;
    let due = create(&key("a"), 1).to(&direct(Lane::Normal), now());
    assert_eq!(commit_one(&store, due).await, Committed::Done);
    server.ask::<()>(&["ACL", "SETUSER", "default", "allchannels"]);

    becomes_ready(&store).await;
}
