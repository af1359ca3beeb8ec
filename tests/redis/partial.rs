//! A commit is several calls of the server; what one of them comes to is no answer about the others.

use reveille::{
    domain::id::DeviceKey,
    ports::{
        error::StoreError,
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
