//! The inbox and the outbox: consoles add commands with plain `XADD`, brokers come and go, and nothing is lost or reordered.

use std::sync::Arc;

use reveille::{
    adapters::redis::RedisStore,
    domain::channel::ChannelKind,
    ports::{
        feed::{After, Cursor},
        streams::{DeadLetter, Message, Most, Outgoing, Reader, Streams},
    },
};
use serde_json::Value;

use crate::{inbox::*, items::*, redis_cluster::RedisCluster, redis_server::RedisServer, rig::*};

/// A store that has the streams of a tenant.
async fn streaming(server: &RedisServer) -> Arc<RedisStore> {
    let mut options = single(server);
    options.streams = vec![contoso()];
    RedisStore::connect(options).await.unwrap()
}

#[tokio::test]
async fn commands_of_a_stream_do_what_they_do_over_http() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    // Added before any broker knew of the inbox.
    register(&server, "d1", "one");
    register(&server, "d2", "two");
    let _broker = Broker::start("a", &single(&server));

    add(
        &server,
        "push",
        r#"{"devices":["d1","d2"],"reason":"renew","priority":"urgent","goal":"check_in"}"#,
    );
    until_empty(&server).await;

    let record = record_of(&store, "d2").await.unwrap();
    assert_eq!(record.channel.as_ref().unwrap().uri.expose(), uri("two"));
    assert_eq!(record.push.as_ref().unwrap().asks.len(), 1);

    add(&server, "check_in", r#"{"device":"d2"}"#);
    until_empty(&server).await;

    assert!(record_of(&store, "d2").await.unwrap().push.is_none());
    assert!(record_of(&store, "d1").await.unwrap().push.is_some());
    assert_eq!(length(&server, DEAD), 0);
    let pending: (u64, redis::Value, redis::Value, redis::Value) =
        server.ask(&["XPENDING", INBOX, "reveille"]);
    assert_eq!(pending.0, 0, "what is done is acknowledged");
}

#[tokio::test]
async fn a_message_that_cannot_be_taken_becomes_a_dead_letter_with_the_reason_and_stops_no_other() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let long = format!(r#"{{"devices":["{}"]}}"#, "d".repeat(3_000));
    let cases = [
        (vec!["body", "{}"], "the field command is missing"),
        (vec!["command", "push"], "the field body is missing"),
        (
            vec!["command", "erase", "body", "{}"],
            "the command is none of register, push and check_in",
        ),
        (
            vec!["command", "push", "body", "{"],
            "not JSON: EOF while parsing an object at column 1",
        ),
        (
            vec!["command", "push", "body", r#"{"devices":[]}"#],
            "/devices: devices is empty",
        ),
        (
            vec!["command", "push", "body", r#"{"devices":["d 1","d2"]}"#],
            "/devices/0: ",
        ),
        (
            vec![
                "command",
                "push",
                "body",
                r#"{"devices":["d1"],"expires_in":"90d"}"#,
            ],
            "/expires_in: expires_in is above 0s and at most 1d",
        ),
        (
            vec![
                "command",
                "push",
                "body",
                r#"{"devices":["d1"],"reason":"x\u001b[2J"}"#,
            ],
            "/reason: reason has a control character at byte 1",
        ),
        (
            vec!["command", "push", "body", &long],
            "the body is longer than 2048 bytes",
        ),
        (
            vec![
                "command",
                "push",
                "body",
                r#"{"devices":["nobody","good"]}"#,
            ],
            "1 of 2 devices have no push: nobody: nobody has named this device",
        ),
        (
            vec!["command", "check_in", "body", r#"{"device":"nobody"}"#],
            "nobody has named this device, and the check-in brings no channel",
        ),
    ];
    register(&server, "good", "one");
    let ids: Vec<String> = cases
        .iter()
        .map(|(fields, _)| {
            let mut command = vec!["XADD", INBOX, "*"];
            command.extend(fields);
            server.ask(&command)
        })
        .collect();
    let foreign = format!(r#"{{"device":"d1","uri":"https://evil.example/?token={SECRET}"}}"#);
    let foreign = add(&server, "register", &foreign);
    register(&server, "last", "two");

    let _broker = Broker::start("a", &single(&server));
    until_empty(&server).await;

    for ((_, wanted), id) in cases.iter().zip(&ids) {
        let reason = reason_of(&server, id);
        assert!(reason.starts_with(wanted), "{reason}, not {wanted}");
    }
    let reason = reason_of(&server, &foreign);
    assert!(
        reason.starts_with("/uri: ") && !reason.contains(SECRET),
        "{reason}"
    );
    let dead = entries(&server, DEAD);
    assert!(dead.iter().all(|letter| letter["body"].len() <= 2_048));
    assert!(record_of(&store, "last").await.unwrap().channel.is_some());
    assert!(record_of(&store, "good").await.unwrap().push.is_some());
}

#[tokio::test]
async fn long_messages_are_given_few_at_a_time_and_their_heads_only() {
    // given more bytes than a server can copy while it answers nobody else, and a short message behind
    const LONG: usize = 400_000;
    let server = RedisServer::start(&[]);
    let store = streaming(&server).await;
    let (streams, tenant): (&dyn Streams, _) = (&*store, contoso());
    let long = "x".repeat(LONG);
    let mut ids: Vec<String> = (0..5).map(|_| add(&server, "push", &long)).collect();
    ids.push(register(&server, "d1", "one"));
    let most = Most {
        messages: 128,
        body_bytes: 1_024,
    };
    let few = |messages: &[Message]| {
        let bytes: u64 = messages.iter().map(|message| message.body_bytes).sum();
        assert!(bytes < 1_000_000, "{bytes} bytes in one call");
        let heads = messages.iter().filter_map(|message| message.body.as_ref());
        assert!(heads.map(|head| head.len()).all(|length| length <= 1_024));
    };

    // when they are received, and taken over
    let mut received = Vec::new();
    while received.len() < ids.len() {
        let (name, epoch) = ("former", 1);
        let given = streams.receive(&tenant, Reader { name, epoch }, most);
        let given = given.await.unwrap().messages;
        few(&given);
        received.extend(given);
    }
    let (mut taken, mut from) = (Vec::new(), None::<String>);
    loop {
        let (name, epoch) = ("present", 2);
        let reader = Reader { name, epoch };
        let over = streams.take_over(&tenant, reader, from.as_deref(), most);
        let over = over.await.unwrap();
        few(&over.messages);
        taken.extend(over.messages);
        from = over.next;
        if from.is_none() {
            break;
        }
    }

    // then each comes once, in order, with its length, and as often delivered as it was given
    for (messages, deliveries) in [(received, 1), (taken, 2)] {
        let told: Vec<&String> = messages.iter().map(|message| &message.id).collect();
        assert_eq!(told, ids.iter().collect::<Vec<_>>());
        assert_eq!(messages[0].body_bytes, u64::try_from(LONG).unwrap());
        assert!(messages.iter().all(|m| m.deliveries == deliveries));
    }
}

#[tokio::test]
async fn what_was_given_to_a_broker_that_died_is_taken_over() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    register(&server, "d1", "one");
    let _made: String = server.ask(&["XGROUP", "CREATE", INBOX, "reveille", "0"]);
    let _given: redis::Value = server.ask(&[
        "XREADGROUP",
        "GROUP",
        "reveille",
        "dead",
        "COUNT",
        "10",
        "STREAMS",
        INBOX,
        ">",
    ]);

    let _broker = Broker::start("a", &single(&server));
    until_empty(&server).await;

    assert!(record_of(&store, "d1").await.unwrap().channel.is_some());
}

#[tokio::test]
async fn a_message_that_no_broker_survives_is_given_up_after_some_deliveries() {
    let server = RedisServer::start(&[]);
    let _store = open(single(&server)).await;
    let id = register(&server, "d1", "one");
    let _made: String = server.ask(&["XGROUP", "CREATE", INBOX, "reveille", "0"]);
    for _ in 0..16 {
        let _given: redis::Value = server.ask(&[
            "XREADGROUP",
            "GROUP",
            "reveille",
            "dead",
            "STREAMS",
            INBOX,
            ">",
        ]);
        let _again: redis::Value = server.ask(&[
            "XREADGROUP",
            "GROUP",
            "reveille",
            "dead",
            "STREAMS",
            INBOX,
            "0",
        ]);
    }

    let _broker = Broker::start("a", &single(&server));
    until_empty(&server).await;

    assert!(reason_of(&server, &id).starts_with("given to brokers "));
}

#[tokio::test]
async fn brokers_that_are_killed_lose_and_reorder_nothing() {
    let server = RedisServer::durable();
    let options = single(&server);
    let store = open(options.clone()).await;
    let mut first = Broker::start("first", &options);
    let _second = Broker::start("second", &options);

    for round in 0..6 {
        for device in 0..50 {
            register(&server, &format!("d{device}"), &format!("round{round}"));
        }
        if round % 2 == 1 {
            first.end(End::Kill);
            first = Broker::start(&format!("after-{round}"), &options);
        }
    }
    until_empty(&server).await;

    for at in 0..50 {
        let record = record_of(&store, &format!("d{at}")).await.unwrap();
        assert_eq!(record.channel_kind(), ChannelKind::Live);
        assert_eq!(record.channel.unwrap().uri.expose(), uri("round5"), "d{at}");
    }
    assert_eq!(length(&server, DEAD), 0);
    first.end(End::Drain);
}

#[tokio::test]
async fn a_redis_that_was_away_is_read_on_where_it_was() {
    let mut server = RedisServer::durable();
    let store = open(single(&server)).await;
    let _broker = Broker::start("a", &single(&server));
    register(&server, "d1", "one");
    until_empty(&server).await;

    server.kill();
    server.run();
    register(&server, "d2", "two");
    until_empty(&server).await;

    eventually("the store answers", async || store.probe().await.is_ok()).await;
    assert!(record_of(&store, "d1").await.is_some() && record_of(&store, "d2").await.is_some());
}

#[tokio::test]
async fn a_broker_that_stops_in_order_keeps_nobody_waiting() {
    let server = RedisServer::start(&[]);
    let options = single(&server);
    let _store = open(options.clone()).await;
    let mut first = Broker::start("first", &options);
    register(&server, "d1", "one");
    until_empty(&server).await;

    first.end(End::Drain);

    for stream in ["inbox", "outbox"] {
        let key = server.ask::<Vec<String>>(&["KEYS", &format!("rv:*:lease:{stream}/contoso")]);
        let until: u64 = server.ask(&["HGET", &key[0], "until"]);
        assert_eq!(until, 0, "{stream}");
    }
}

#[tokio::test]
async fn the_outbox_has_every_event_once_and_in_order_whoever_writes_it() {
    let server = RedisServer::start(&[]);
    let options = single(&server);
    let store = open(options.clone()).await;
    let mut broker = Broker::start("a", &options);
    let place = "rv:{t:contoso}:outbox-place";
    eventually("the outbox has a place", async || {
        server.ask::<u64>(&["EXISTS", place]) == 1
    })
    .await;

    for round in 0..4 {
        for at in 0..20 {
            register(&server, &format!("d{at}"), &format!("round{round}"));
        }
        broker.end(if round % 2 == 0 {
            End::Kill
        } else {
            End::Drain
        });
        broker = Broker::start(&format!("b{round}"), &options);
    }
    until_empty(&server).await;
    eventually("all events are out", async || length(&server, OUTBOX) >= 80).await;

    let (feed, _) = store
        .events(&contoso(), &After::Oldest, 1_024)
        .await
        .unwrap();
    let ids: Vec<String> = feed.iter().map(|entry| entry.id.0.clone()).collect();
    let written = entries(&server, OUTBOX);
    let read: Vec<Value> = written
        .iter()
        .map(|entry| serde_json::from_str(&entry["event"]).unwrap())
        .collect();
    assert_eq!((feed.len(), read.len()), (80, 80));
    // Ids of one read from the beginning; those of the outbox were read in pieces, so devices may interleave differently.
    assert_eq!(read.last().unwrap()["id"], ids.last().unwrap().as_str());
    for at in 0..20 {
        let of_device = |events: &[Value]| {
            let name = format!("d{at}");
            let about = events
                .iter()
                .filter(|e| e["data"]["device"] == name.as_str());
            about.map(|e| e["time"].clone()).collect::<Vec<Value>>()
        };
        let fed: Vec<Value> = feed
            .iter()
            .map(|entry| serde_json::from_slice(&entry.json).unwrap())
            .collect();
        assert_eq!(of_device(&read), of_device(&fed), "d{at}");
    }
    assert!(written.iter().all(|e| e["type"] == "channel.registered"));
}

#[tokio::test]
async fn an_outbox_that_has_missed_events_says_so_and_goes_on() {
    let server = RedisServer::start(&[]);
    let options = single(&server);
    let store = open(options.clone()).await;
    let keys = keys(3);
    let told = keys.iter().map(|key| create(key, 1).saying(event(key, 1)));
    apply(&store, told.collect()).await;
    // As after a restore of another store's outbox.
    let _put: String = server.ask(&["SET", "rv:{t:contoso}:outbox-place", "elsewhere"]);

    let _broker = Broker::start("a", &options);
    eventually("events are out", async || length(&server, OUTBOX) == 4).await;

    let kinds: Vec<String> = entries(&server, OUTBOX)
        .iter()
        .map(|entry| entry["type"].clone())
        .collect();
    assert_eq!(kinds[0], "feed.gap");
    assert!(kinds[1..].iter().all(|kind| kind != "feed.gap"));
}

#[tokio::test]
async fn an_outbox_and_dead_letters_keep_about_as_many_as_they_may_and_the_newest() {
    // given ten times as many events and dead letters as are kept
    const KEPT: u32 = 200;
    let server = RedisServer::start(&[]);
    let (store, tenant) = (streaming(&server).await, contoso());
    let event = |n: u32| Outgoing {
        kind: "push.closed".to_owned(),
        json: format!("{n}").into(),
    };
    let reader = Reader {
        name: "a",
        epoch: 1,
    };
    let most = Most {
        messages: 100,
        body_bytes: 1_024,
    };
    let letter = |message: Message| DeadLetter {
        message,
        reason: "poison".to_owned(),
    };
    let mut place: Option<Cursor> = None;
    for round in 0..20 {
        let numbers = || round * 100..(round + 1) * 100;
        // when they come
        let to = Cursor(format!("{round}"));
        let events = numbers().map(event).collect();
        let published = store.publish(&tenant, (place.as_ref(), &to), events, KEPT);
        assert!(published.await.unwrap());
        place = Some(to);
        for n in numbers() {
            add(&server, "poison", &n.to_string());
        }
        let given = store.receive(&tenant, reader, most).await.unwrap();
        let dead = given.messages.into_iter().map(letter).collect();
        store.settle(&tenant, vec![], dead, KEPT).await.unwrap();
    }

    // then about as many are there as may be, up to the last
    for (stream, field) in [(OUTBOX, "event"), (DEAD, "body")] {
        let found = entries(&server, stream);
        let most = KEPT as usize + 200;
        assert!(
            (KEPT as usize..=most).contains(&found.len()),
            "{}",
            found.len()
        );
        assert_eq!(found.last().unwrap()[field], "1999", "{stream}");
    }
}

#[tokio::test]
async fn streams_are_served_on_a_cluster() {
    let cluster = RedisCluster::start(3, 0, &[]);
    let seeds = vec![address(cluster.masters[0].port)];
    let options = options(reveille::adapters::redis::Arrangement::Cluster { seeds });
    let store = open(options.clone()).await;
    let slot: u16 = cluster.masters[0].ask(&["CLUSTER", "KEYSLOT", INBOX]);
    let server = &cluster.masters[cluster.owner(slot)];
    let _broker = Broker::start("a", &options);

    for at in 0..60 {
        register(server, &format!("d{at}"), "one");
    }
    until_empty(server).await;
    eventually("all events are out", async || length(server, OUTBOX) == 60).await;

    assert!(record_of(&store, "d59").await.unwrap().channel.is_some());
}
