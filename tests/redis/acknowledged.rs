//! With replicas to be waited for, nothing is acknowledged that they do not have, not even what an earlier call has done.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use reveille::{
    domain::{
        ask::{Class, Goal},
        campaign::{Definition, Pace, Selection, Until},
        id::{AppId, DeviceId, TenantId},
        transition::Cancel,
    },
    ports::{
        Store,
        error::StoreError,
        records::{Committed, Urgency},
    },
    service::{
        campaign::{CampaignError, Campaigns},
        devices::forget,
        pushes::{self, Wish},
        status::{ActorStatus, AppStatus, BrokerStatus},
        tenants::Tenants,
    },
};

use crate::{inbox::desk, items::*, redis_server::RedisServer, rig::*};

/// A broker of which nobody asks anything.
struct Silent;

impl BrokerStatus for Silent {
    fn app(&self, _: &AppId) -> Option<AppStatus> {
        None
    }

    fn recent_failures(&self, _: &AppId) -> Vec<reveille::telemetry::RecentFailure> {
        Vec::new()
    }

    fn unserved(&self) -> BTreeMap<TenantId, u64> {
        BTreeMap::new()
    }

    fn actors(&self) -> Vec<ActorStatus> {
        Vec::new()
    }
}

fn campaigns(store: Arc<dyn Store>) -> Campaigns {
    let tenants = Tenants::new(store.clone(), Vec::new(), Vec::new());
    Campaigns::new(desk(store), Arc::new(tenants), Arc::new(Silent))
}

fn everybody() -> Definition {
    Definition {
        name: "renew".to_owned(),
        reason: None,
        class: Class::Bulk,
        goal: Goal::CheckIn,
        until: Until::default(),
        pace: Pace::default(),
        waves: Vec::new(),
        selection: Selection::All,
    }
}

#[tokio::test]
async fn a_repetition_that_finds_the_work_done_waits_for_replicas_too() {
    // given a device with a push, and no replica yet
    let server = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let (tenant, d1) = (contoso(), DeviceId::new("d1").unwrap());
    let wish = Wish {
        class: Class::Normal,
        goal: Goal::CheckIn,
        deadline: now() + Duration::from_secs(3_600),
        reason: None,
        register_unknown: true,
    };
    let unguarded = desk(open(single(&server)).await);
    let opened = pushes::open(&unguarded, &tenant, &wish, vec![(d1.clone(), None)]);
    opened.await.unwrap();
    let mut options = single(&server);
    options.min_replicas_to_ack = 1;
    options.timeout = Duration::from_millis(600);
    let guarded = desk(open(options).await);

    // when it is cancelled and forgotten, again and again
    for _ in 0..2 {
        let cancelled = pushes::cancel(&guarded, &tenant, d1.clone(), Cancel::Direct).await;
        let refused = matches!(cancelled, Err(StoreError::Unavailable { .. }));
        assert!(refused, "{cancelled:?}");
    }
    for _ in 0..2 {
        let forgotten = forget(&guarded, &tenant, vec![d1.clone()]).await;
        let refused = matches!(forgotten, Err(StoreError::Unavailable { .. }));
        assert!(refused, "{forgotten:?}");
    }

    // then it is said to be done once a replica has it
    let port = server.port.to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("an answer", async || {
        let forgotten = forget(&guarded, &tenant, vec![d1.clone()]).await;
        forgotten.is_ok_and(|known| known == [false])
    })
    .await;
}

#[tokio::test]
async fn a_repetition_about_a_campaign_waits_for_replicas_too() {
    // given a draft and one that was deleted, and no replica yet
    let server = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let unguarded = campaigns(open(single(&server)).await);
    let draft = unguarded.create(&contoso(), everybody()).await.unwrap();
    let gone = unguarded.create(&contoso(), everybody()).await.unwrap();
    unguarded.delete(&contoso(), &gone.id).await.unwrap();
    let mut options = single(&server);
    options.min_replicas_to_ack = 1;
    options.timeout = Duration::from_millis(600);
    let guarded = campaigns(open(options).await);

    // when the first is cancelled and started although it is over, and the other deleted, again and again
    let unavailable = |answer: &Result<(), CampaignError>| {
        matches!(
            answer,
            Err(CampaignError::Store(StoreError::Unavailable { .. }))
        )
    };
    for _ in 0..2 {
        let cancelled = guarded.cancel(&contoso(), &draft.id).await.map(drop);
        assert!(unavailable(&cancelled), "{cancelled:?}");
        let started = guarded.start(&contoso(), &draft.id, None).await.map(drop);
        assert!(unavailable(&started), "{started:?}");
        let deleted = guarded.delete(&contoso(), &gone.id).await;
        assert!(unavailable(&deleted), "{deleted:?}");
    }

    // then it is said to be gone once a replica has that
    let port = server.port.to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("an answer", async || {
        let deleted = guarded.delete(&contoso(), &gone.id).await;
        matches!(deleted, Err(CampaignError::Unknown(_)))
    })
    .await;
    guarded.cancel(&contoso(), &draft.id).await.unwrap();
}

#[tokio::test]
async fn while_a_replica_is_missing_one_call_waits_for_it_and_the_others_fail_at_once() {
    let server = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let mut options = single(&server);
    options.min_replicas_to_ack = 1;
    options.timeout = Duration::from_secs(6);
    let store = open(options).await;

    // when twelve commits come one after the other, of which each could wait for three seconds
    let began = Instant::now();
    for n in 0..12 {
        let items = vec![create(&key(&format!("d{n}")), 1)];
        let refused = store.commit(items, Urgency::Open, None).await;
        let unavailable = matches!(refused, Err(StoreError::Unavailable { .. }));
        assert!(unavailable, "{refused:?}");
    }
    let passed = began.elapsed();
    assert!(passed < Duration::from_secs(18), "{passed:?}");

    // then the next is acknowledged when a replica has come
    let port = server.port.to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("an answer", async || {
        let items = vec![create(&key("d0"), 1)];
        store.commit(items, Urgency::Open, None).await.is_ok()
    })
    .await;
    assert_eq!(
        commit(&store, vec![create(&key("e"), 1)]).await,
        [Committed::Done]
    );
    let found: bool = replica.ask(&["EXISTS", &devices_of(&server, "e")]);
    assert!(found);
}

#[tokio::test]
async fn a_call_that_changed_nothing_is_not_waited_for_twice() {
    let server = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let port = server.port.to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let mut options = single(&server);
    options.min_replicas_to_ack = 1;
    let store = open(options).await;
    eventually("an answer", async || {
        let items = vec![create(&key("d"), 1)];
        store.commit(items, Urgency::Open, None).await.is_ok()
    })
    .await;
    let waits = || -> u64 {
        let told: String = server.ask(&["INFO", "commandstats"]);
        let line = told
            .lines()
            .find_map(|l| l.strip_prefix("cmdstat_wait:calls="));
        line.unwrap().split(',').next().unwrap().parse().unwrap()
    };
    let before = waits();
    // when a commit finds another record than it expects
    let items = vec![create(&key("d"), 2)];
    let conflict = store.commit(items, Urgency::Open, None).await.unwrap();
    // then the replicas are asked once whether they have that record
    assert_eq!(conflict, [Committed::Conflict(Some(stored(1)))]);
    assert_eq!(waits() - before, 1);
}

/// The key under which a device of contoso is kept.
fn devices_of(server: &RedisServer, device: &str) -> String {
    let keys: Vec<String> = server.ask(&["KEYS", "rv:*:dev:contoso"]);
    let holds = |key: &&String| server.ask::<bool>(&["HEXISTS", key, device]);
    keys.iter().find(holds).unwrap().clone()
}
