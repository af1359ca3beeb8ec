//! A commit or a claim is several calls of the server; what one of them comes to is no answer about the others.

use reveille::{
    adapters::redis::RedisOptions,
    domain::{id::DeviceKey, queue::Lane},
    ports::{
        error::StoreError,
        queues::Want,
        records::{BATCH_MAX, Committed, Item, Urgency},
    },
};

use crate::{items::*, redis_server::RedisServer, rig::*};

#[tokio::test]
async fn an_item_that_was_applied_is_never_said_to_be_refused() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let mut mixed = [false, false];
    // when the server becomes full in the middle of a commit, sooner or later
    for attempt in 0..80_u32 {
        let room = 40_000 + attempt / 2 * 20_000;
        let each = attempt % 2 == 0;
        let keys: Vec<DeviceKey> = (0..BATCH_MAX)
            .map(|n| key(&format!("d{attempt}-{n}")))
            .collect();
        let items: Vec<Item> = keys.iter().map(|key| create(key, 1)).collect();
        let limit = format!("{:.0}", server.used_memory() + f64::from(room));
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", &limit]);
        let results = match each {
            true => store.commit_each(items, Urgency::Open).await,
            false => match store.commit(items, Urgency::Open, None).await {
                Ok(all) => all.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); keys.len()],
            },
        };
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        let found = store.read(&keys).await.unwrap();

        // then each item has been applied, or was refused, as its answer says
        for (result, found) in results.iter().zip(&found) {
            match result {
                Ok(Committed::Done) => assert!(found.is_some()),
                Err(StoreError::Full { .. }) => assert!(found.is_none()),
                // The answer for all says that some may have been applied.
                Err(StoreError::Unavailable { .. }) if !each => {}
                other => panic!("{other:?}"),
            }
        }
        let applied = found.iter().flatten().count();
        mixed[usize::from(each)] |= applied > 0 && applied < keys.len();
        if mixed == [true, true] {
            return;
        }
    }
    panic!("no commit was ever applied in part");
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_not_claimed_and_the_others_are() {
    for count in [10, 100] {
        let server = RedisServer::start(&[]);
        let options = RedisOptions {
            shards: Some(1),
            ..single(&server)
        };
        let (store, queue) = (open(options).await, direct(Lane::Bulk));
        let keys = keys(count);
        open_pushes(&store, &keys, &queue).await;
        let hashes: Vec<String> = server.ask(&["KEYS", "rv:{*}:dev:*"]);
        server.ask::<()>(&["HSET", &hashes[0], keys[3].device.as_str(), "nonsense"]);

        let claimed = claim(&store, &queue, 256).await;

        assert_eq!(claimed.len(), count - 1);
        assert!(claimed.iter().all(|claimed| claimed.key != keys[3]));
    }
}

#[tokio::test]
async fn what_was_taken_and_could_not_be_read_is_due_again_at_once() {
    // given so much that is due that its values are read by a command of their own
    let server = RedisServer::start(&[]);
    let options = RedisOptions {
        shards: Some(1),
        ..single(&server)
    };
    let (store, queue) = (open(options).await, direct(Lane::Bulk));
    open_pushes(&store, &keys(100), &queue).await;

    // when that is refused
    server.ask::<()>(&["ACL", "SETUSER", "default", "-hmget"]);
    let want = Want {
        queue: queue.clone(),
        limit: 100,
    };
    let refused = store.claim(&[want]).await;
    server.ask::<()>(&["ACL", "SETUSER", "default", "+hmget"]);

    // then nothing waits for the end of a lease
    assert!(refused.is_err(), "{refused:?}");
    let mut claimed = Vec::new();
    eventually("all are claimed", async || {
        claimed.extend(claim(&store, &queue, 256).await);
        claimed.len() == 100
    })
    .await;
}
