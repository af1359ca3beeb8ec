//! What the store costs: memory a device, commands a push, commands when idle.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reveille::{
    domain::{
        ask::{Ask, Class, Goal, Phase, Source},
        channel::{Channel, ChannelKind, ChannelState, EarlierUri, Generation},
        counter::Counter,
        id::{DeviceKey, TenantId},
        queue::{Lane, place},
        record::{DeviceRecord, Push, Revision, codec::encode},
        wns::channel_uri::ChannelUri,
    },
    ports::{
        Store,
        records::{Change, Expect, Item, Placement, Urgency},
    },
};

use crate::{items::*, redis_monitor::Monitor, redis_server::RedisServer, rig::*};

const DEVICES: usize = 98 * 1_024;

/// A record as brokers write it, with a channel URI of 230 bytes.
fn record(number: usize, open: bool) -> DeviceRecord {
    let token = format!("{number:0>183}");
    let uri = format!("https://db5p.notify.windows.com/?token={token}");
    let uri = format!("{uri:A<230}");
    let now = now();
    let ask = Ask {
        source: Source::Direct,
        class: Class::Normal,
        goal: Goal::Accepted,
        opened_at: now,
        deadline: now + Duration::from_secs(86_400),
        phase: Phase::Waiting,
        held: false,
        attempts_before: 0,
        wave: 0,
        reason: None,
        trace: None,
    };
    let push = Push {
        opened_at: now,
        asks: vec![ask],
        attempts: 0,
        failures: 0,
        accepted: 0,
        next_at: now,
        repeated_at: None,
    };
    let channel = Channel {
        uri: ChannelUri::from_stored(&uri),
        generation: Generation(1),
        state: ChannelState::Live,
        first_seen: now,
        last_seen: now,
        // Devices renew their channel every 15 days, so nearly all have had another.
        earlier: Some(EarlierUri {
            fingerprint: 0x5f3a_9b2c,
            first_seen: 1_760_000_000,
        }),
    };
    DeviceRecord {
        channel: Some(channel),
        push: open.then_some(push),
        ..DeviceRecord::default()
    }
}

/// A device whose id has 36 bytes, as those of consoles do.
fn device_key(number: usize) -> DeviceKey {
    key(&format!("5f0c7a1e-93b4-4d2a-8c6f-{number:012}"))
}

fn item_of(number: usize, open: bool, expect: Expect) -> Item {
    let key = device_key(number);
    let record = record(number, open);
    let bytes = Bytes::from(encode(&record));
    let revision = Revision(u32::try_from(number).unwrap());
    let mut made = item(&key, expect, Change::Put(revision, bytes));
    let to = place(&key.tenant, &record);
    made.placement = Placement { from: None, to };
    made
}

async fn commit_all(store: &Arc<dyn Store>, open: bool) {
    for first in (0..DEVICES).step_by(1_024) {
        let items = (first..first + 1_024).map(|number| {
            let revision = Revision(u32::try_from(number).unwrap());
            let expect = if open {
                Expect::Revision(revision)
            } else {
                Expect::Absent
            };
            item_of(number, open, expect)
        });
        store
            .commit(items.collect(), Urgency::Open, None)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_its_open_push_keep_to_their_memory() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    assert_eq!(record(1, false).channel.unwrap().uri.expose().len(), 230);
    let empty = server.used_memory();

    commit_all(&store, false).await;
    let registered = server.used_memory();
    commit_all(&store, true).await;
    let opened = server.used_memory();

    let count = f64::from(u32::try_from(DEVICES).unwrap());
    let (device, push) = ((registered - empty) / count, (opened - registered) / count);
    println!("{device:.0} bytes a device, {push:.0} more while its push is open");
    assert!(device <= 450.0, "{device:.0} bytes a device");
    assert!(push <= 250.0, "{push:.0} bytes an open push");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_broker_sends_two_commands_a_second() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    open_pushes(&store, &keys(100), &direct(Lane::Normal)).await;
    while !claim(&store, &direct(Lane::Normal), 256).await.is_empty() {}
    let monitor = Monitor::of(&server);

    tokio::time::sleep(Duration::from_secs(5)).await;

    let sent = monitor.sent();
    assert!(
        (1..=10).contains(&sent.len()),
        "{} in five seconds: {sent:?}",
        sent.len()
    );
}

/// Scripts that clients have called.
fn calls(server: &RedisServer) -> u64 {
    let info: String = server.ask(&["INFO", "commandstats"]);
    let calls = info.lines().filter_map(|line| {
        let stats = line.strip_prefix("cmdstat_evalsha:calls=")?;
        stats.split(',').next()?.parse::<u64>().ok()
    });
    calls.sum()
}

#[tokio::test]
async fn looking_after_many_tenants_takes_hardly_more_commands_than_after_one() {
    // given tenants with devices, counters, pushes and events
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let tenants: Vec<TenantId> = (0..61).map(|n| tenant(&format!("tenant{n}"))).collect();
    let items = tenants.iter().map(|tenant| {
        let key = DeviceKey::new(tenant.clone(), key("d").device);
        let queue = format!("{tenant}:normal:direct").parse().unwrap();
        let live = Counter::Channels(ChannelKind::Live);
        let item = create(&key, 1).moving(live, 1).saying(event(&key, 1));
        item.to(&queue, now())
    });
    apply(&store, items.collect()).await;
    let before = calls(&server);

    // when all is looked at that brokers look at while nothing happens
    let counters = store.counters_of(&tenants, "").await.unwrap();
    let trimmed = store.trim().await.unwrap();
    let census = store.census().await.unwrap();
    let ready = store.ready().await.unwrap();

    // then all is seen with few commands
    assert!(counters.iter().all(|of| of["channels.live"] == 1));
    assert_eq!((trimmed, census.len(), ready.len()), (0, 61, 61));
    let sent = calls(&server) - before;
    assert!((1..=15).contains(&sent), "{sent} calls");
}

#[tokio::test]
async fn counters_that_are_back_to_zero_take_no_room() {
    // given pushes of a day, each counted when it is opened
    let server = RedisServer::start(&[]);
    let (store, queue) = (open(single(&server)).await, direct(Lane::Normal));
    for day in 1..=20 {
        let expiring = Counter::Expiring(jiff::civil::date(2026, 12, day));
        let keys: Vec<DeviceKey> = (0..60).map(|n| key(&format!("d{day}-{n}"))).collect();
        let open = keys
            .iter()
            .map(|key| create(key, 1).to(&queue, now()).moving(expiring.clone(), 1));
        apply(&store, open.collect()).await;

        // when they are counted off with calls that are put together in another way
        let mut claimed = Vec::new();
        while claimed.len() < keys.len() {
            claimed.extend(claim(&store, &queue, 256).await);
        }
        for part in claimed.chunks(7) {
            let settle = part.iter().map(|c| {
                let done = replace(&c.key, 1, 2).under(&c.lease);
                done.moving(expiring.clone(), -1)
            });
            apply(&store, settle.collect()).await;
        }
    }

    // then nothing is left of them
    let left: Vec<String> = server.ask(&["KEYS", "rv:{*}:ctr:*"]);
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_broker_sends_a_tenth_of_a_command_a_push() {
    // given many pushes
    const PUSHES: usize = 20_480;
    let server = RedisServer::start(&[]);
    let (store, queue) = (open(single(&server)).await, direct(Lane::Bulk));
    let keys = keys(PUSHES);
    let monitor = Monitor::of(&server);

    // when they are opened, claimed, settled and checked in, as many at a time as a broker does
    for part in keys.chunks(1_024) {
        store.read(part).await.unwrap();
        let open = part.iter().map(|key| create(key, 1).to(&queue, now()));
        apply(&store, open.collect()).await;
    }
    let mut settled = Vec::new();
    while settled.len() < PUSHES {
        let claimed = claim(&store, &queue, 256).await;
        let later = now() + Duration::from_secs(600);
        let settle = claimed.iter().map(|c| {
            replace(&c.key, 1, 2)
                .under(&c.lease)
                .to(&direct(Lane::Repush), later)
        });
        apply(&store, settle.collect()).await;
        settled.extend(claimed.into_iter().map(|c| c.key));
    }
    for part in settled.chunks(1_024) {
        store.read(part).await.unwrap();
        let close = part
            .iter()
            .map(|key| replace(key, 2, 3).from(&direct(Lane::Repush)));
        apply(&store, close.collect()).await;
    }

    // then a push has cost few commands
    let sent = monitor.sent().len();
    let pushes = f64::from(u32::try_from(PUSHES).unwrap());
    let each = f64::from(u32::try_from(sent).unwrap()) / pushes;
    println!("{each:.3} commands a push");
    assert!(each <= 0.1, "{each:.3} commands a push");
}
