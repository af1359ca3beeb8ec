//! With replicas to be waited for, nothing is acknowledged that they do not have, not even what an earlier call has done.

use std::time::Duration;

use reveille::{
    domain::{
        ask::{Class, Goal},
        id::DeviceId,
        transition::Cancel,
    },
    ports::error::StoreError,
    service::{
        devices::forget,
        pushes::{self, Wish},
    },
};

use crate::{inbox::desk, items::*, redis_server::RedisServer, rig::*};

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
