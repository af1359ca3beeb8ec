//! A cluster: shards on three servers, slots that move, a master that dies.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use reveille::{
    adapters::redis::{Arrangement, Login, RedisOptions},
    domain::{counter::Counter, id::DeviceKey, queue::Lane},
    ports::{
        Store,
        documents::Precondition,
        error::StoreError,
        feed::After,
        queues::{Selector, Want},
        records::{Committed, Fence, Item, Urgency},
    },
};

use crate::{
    items::*, redis_cluster::*, redis_monitor::Monitor, redis_server::RedisServer, rig::*,
};

fn options_of(cluster: &RedisCluster) -> RedisOptions {
    let seeds = vec![address(cluster.masters[0].port)];
    options(Arrangement::Cluster { seeds })
}

fn counter() -> Counter {
    Counter::Closed("accepted")
}

/// The life of pushes, through every shard: opened, claimed, settled, counted, told.
async fn live(store: &Arc<dyn Store>, count: usize) {
    let (queue, keys) = (direct(Lane::Normal), keys(count));
    open_pushes(store, &keys, &queue).await;
    let mut settled = HashSet::new();
    while settled.len() < count {
        let claimed = claim(store, &queue, 256).await;
        assert!(!claimed.is_empty(), "{} of {count} were due", settled.len());
        let settle = claimed.iter().map(|c| {
            let done = replace(&c.key, 1, 2).under(&c.lease);
            done.moving(counter(), 1).saying(event(&c.key, 1))
        });
        apply(store, settle.collect()).await;
        settled.extend(claimed.into_iter().map(|c| c.key));
    }
    assert_eq!(
        self::count(store, &counter()).await,
        i64::try_from(count).unwrap()
    );
}

#[tokio::test]
async fn a_cluster_serves_pushes_from_all_its_servers() {
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = open(options_of(&cluster)).await;
    let other = open(options_of(&cluster)).await;
    let mut wakes = other.wakes();

    live(&store, 600).await;

    assert_eq!(
        soon(wakes.recv()).await.unwrap().queue,
        direct(Lane::Normal)
    );
    let (events, _) = other
        .events(&contoso(), &After::Oldest, 1_024)
        .await
        .unwrap();
    assert_eq!(events.len(), 600);
    for master in &cluster.masters {
        let shards: Vec<String> = master.ask(&["KEYS", "rv:{*}:dev:contoso"]);
        assert!((20..=23).contains(&shards.len()), "{} shards", shards.len());
    }
}

#[tokio::test]
async fn the_documented_user_may_do_all_that_a_broker_does() {
    let cluster = RedisCluster::start(3, 0, &[]);
    let logins: Vec<Login> = cluster.masters.iter().map(documented_user).collect();
    // Nobody else may do anything.
    for master in &cluster.masters {
        master.ask::<()>(&["ACL", "SETUSER", "default", "resetkeys", "resetchannels"]);
    }
    let options = RedisOptions {
        login: logins[0].clone(),
        ..options_of(&cluster)
    };
    let store = open(options).await;
    let mut wakes = store.wakes();

    live(&store, 200).await;

    soon(wakes.recv()).await.unwrap();
    store.trim().await.unwrap();
    assert_eq!(store.census().await.unwrap(), vec![]);
    assert_eq!(store.tenants().await.unwrap(), [contoso()]);
    assert_eq!(store.probe().await.unwrap().failing, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_server_that_is_away_holds_back_no_wake_of_the_others() {
    // given a device on a server that is lost with a push that is long due, and one on another server
    let mut cluster = RedisCluster::start(3, 0, &["--cluster-require-full-coverage", "no"]);
    let store = open(options_of(&cluster)).await;
    let (queue, all) = (direct(Lane::Urgent), keys(60));
    apply(&store, all.iter().map(|key| create(key, 1)).collect()).await;
    let on = |server: &RedisServer| -> DeviceKey {
        let shards: Vec<String> = server.ask(&["KEYS", "rv:{*}:dev:contoso"]);
        let devices: Vec<String> = server.ask(&["HKEYS", &shards[0]]);
        key(&devices[0])
    };
    let (lost, there) = (on(&cluster.masters[2]), on(&cluster.masters[0]));
    let long_ago = now() - Duration::from_secs(60);
    apply(&store, vec![keep(&lost, 1).to(&queue, long_ago)]).await;
    cluster.masters[2].kill();
    while !matches!(store.ready().await, Ok(ready) if ready.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut wakes = store.wakes();

    // when a push is opened there
    commit_surely(&store, keep(&there, 1).to(&queue, now())).await;

    // then it is announced
    assert_eq!(soon(wakes.recv()).await.unwrap().queue, queue);
}

/// A slot on its way from its server to the next.
struct Moving<'a> {
    slot: String,
    from: &'a RedisServer,
    to: &'a RedisServer,
    target: String,
}

impl<'a> Moving<'a> {
    /// Begins with the slot of the first key that matches.
    fn begin(cluster: &'a RedisCluster, pattern: &str) -> Self {
        let found = cluster.masters.iter().find_map(|server| {
            let keys: Vec<String> = server.ask(&["KEYS", pattern]);
            keys.into_iter().next()
        });
        let slot: u16 = cluster.masters[0].ask(&["CLUSTER", "KEYSLOT", &found.unwrap()]);
        let from = &cluster.masters[cluster.owner(slot)];
        let to = &cluster.masters[(cluster.owner(slot) + 1) % 3];
        let (source, target): (String, String) =
            (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
        Self {
            slot,
            from,
            to,
            target,
        }
    }

    /// The keys that have not moved yet.
    fn names(&self) -> Vec<String> {
        self.from
            .ask(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "100"])
    }

    fn migrate(&self, names: &[String]) {
        let port = self.to.port.to_string();
        for name in names {
            self.from
                .ask::<()>(&["MIGRATE", "127.0.0.1", &port, name, "0", "5000"]);
        }
    }

    fn end(self) {
        for server in [self.to, self.from] {
            server.ask::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &self.target]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_all_shards_goes_on_while_a_slot_is_migrated() {
    // given a cluster of which one shard has moved, but for the last word
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = open(options_of(&cluster)).await;
    let queue = direct(Lane::Normal);
    open_pushes(&store, &keys(200), &queue).await;
    let moving = Moving::begin(&cluster, "rv:{s00*}:dev:contoso");
    moving.migrate(&moving.names());

    // when all of it is looked at
    let (census, ready) = (store.census().await.unwrap(), store.ready().await.unwrap());

    // then what has moved is seen, too
    assert_eq!((census[0].entries, census[0].due), (200, 200));
    assert_eq!(ready.len(), 1);
    moving.end();
    assert_eq!(store.census().await.unwrap()[0].entries, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_to_a_redirected_call_keeps_its_kind() {
    // given a shard that has moved, but for the last word, and whose devices are of another type than they should
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = open(options_of(&cluster)).await;
    let keys = keys(200);
    open_pushes(&store, &keys, &direct(Lane::Normal)).await;
    let moving = Moving::begin(&cluster, "rv:{s00*}:dev:contoso");
    let names = moving.names();
    let devices = names.iter().find(|name| name.contains(":dev:")).unwrap();
    moving.from.ask::<()>(&["SET", devices, "text"]);
    moving.migrate(&names);

    // when its devices are read
    let mut told = Vec::new();
    for key in &keys {
        told.extend(store.read(std::slice::from_ref(key)).await.err());
    }

    // then it is told what is wrong with them
    let detail = "a key has another type than expected".to_owned();
    let damaged = StoreError::Damaged { detail };
    assert!(!told.is_empty());
    assert!(told.iter().all(|error| *error == damaged), "{told:?}");
    moving.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_commits_go_on_while_a_slot_is_migrated() {
    // given a cluster whose shard of one device moves from its server to the next, key by key
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = open(options_of(&cluster)).await;
    let queue = direct(Lane::Normal);
    let all = keys(400);
    open_pushes(&store, &all, &queue).await;
    let moving = Moving::begin(&cluster, "rv:{s00*}:dev:contoso");
    let names = moving.names();
    assert!(names.len() >= 3, "{names:?}");

    // when half of its keys have moved and pushes are claimed and settled meanwhile
    let (first, rest) = names.split_at(names.len() / 2);
    moving.migrate(first);
    let working = tokio::spawn({
        let (store, queue) = (store.clone(), queue.clone());
        async move {
            let mut settled = 0;
            while settled < 400 {
                let wants = [Want {
                    queue: queue.clone(),
                    limit: 64,
                }];
                let Ok(claimed) = store.claim(&wants).await else {
                    continue;
                };
                for claimed in claimed {
                    let settle = replace(&claimed.key, 1, 2).under(&claimed.lease);
                    let answer = commit_surely(&store, settle.moving(counter(), 1)).await;
                    // an answer that was lost shows as the revision that it was to put
                    let done = [Committed::Done, Committed::Conflict(Some(stored(2)))];
                    assert!(done.contains(&answer), "{answer:?}");
                    settled += 1;
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    moving.migrate(rest);
    moving.migrate(&moving.names());
    moving.end();

    // then every push is settled once and nothing is half done
    tokio::time::timeout(Duration::from_secs(60), working)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(count(&store, &counter()).await, 400);
    assert_eq!(store.census().await.unwrap(), vec![]);
    let found = store.read(&all).await.unwrap();
    assert!(found.iter().all(|s| *s == Some(stored(2))));
    // and what the moved shard announces is heard
    let mut wakes = store.wakes();
    eventually("a wake from the moved shard", async || {
        let keys: Vec<_> = (0..200)
            .map(|n| key(&format!("late-{n}-{}", now().as_nanosecond())))
            .collect();
        open_pushes(&store, &keys, &direct(Lane::Urgent)).await;
        wakes.try_recv().is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_look_that_is_refused_is_not_repeated_for_each_shard() {
    let cluster = RedisCluster::start(3, 0, &[]);
    let store = open(options_of(&cluster)).await;
    live(&store, 64).await;
    store.ready().await.unwrap();
    let monitors: Vec<Monitor> = cluster.masters.iter().map(Monitor::of).collect();

    for master in &cluster.masters {
        master.ask::<()>(&["ACL", "SETUSER", "default", "-zrange"]);
    }
    let refused = store.ready().await;

    assert!(refused.is_err(), "{refused:?}");
    let sent: Vec<String> = monitors.iter().flat_map(Monitor::sent).collect();
    let looks = sent.iter().filter(|line| line.contains("\"ZRANGE\""));
    assert_eq!(looks.count(), 3, "{sent:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slot_is_migrated_no_change_is_done_in_part() {
    // given a shard with every key that a call about it names, and the last entry of a queue, claimed
    let cluster = RedisCluster::start(3, 0, &[]);
    let mut options = options_of(&cluster);
    (options.shards, options.timeout) = (Some(1), Duration::from_millis(400));
    let store = open(options).await;
    let (queue, parked) = (
        direct(Lane::Urgent),
        "contoso:bulk:c/renew".parse().unwrap(),
    );
    let (one, other) = (key("one"), key("other"));
    let due = create(&one, 1).to(&queue, now()).saying(event(&one, 1));
    apply(&store, vec![due, create(&other, 1).to(&parked, now())]).await;
    let selector = Selector {
        tenant: contoso(),
        flow: Some(parked.flow.clone()),
    };
    store.park(&selector).await.unwrap();
    let fence = Fence {
        name: "campaign".to_owned(),
        epoch: 1,
    };
    store.raise_fence(&fence).await.unwrap();
    let lease = claim(&store, &queue, 1).await.remove(0).lease;
    let settle = || {
        let later = now() + Duration::from_secs(600);
        let settled = replace(&one, 1, 2).under(&lease).moving(counter(), 1);
        vec![settled.to(&direct(Lane::Repush), later)]
    };
    let put = || store.put("a", "{}".into(), Precondition::Absent, None);

    // when its slot begins to move, and nothing has moved yet
    let moving = Moving::begin(&cluster, "rv:{s00*}:dev:contoso");
    let before = contents(moving.from);
    let settled = store.commit(settle(), Urgency::Settle, None).await;
    let unparked = store.unpark(&selector).await;

    // then changes are refused, and nothing is changed
    assert!(
        settled.is_err() && unparked.is_err(),
        "{settled:?}, {unparked:?}"
    );
    assert!(put().await.is_err());
    assert_eq!(contents(moving.from), before);

    // and with all of it moved they are done
    moving.migrate(&moving.names());
    moving.end();
    let settled = store.commit(settle(), Urgency::Settle, None).await;
    assert_eq!(settled, Ok(vec![Committed::Done]));
    store.unpark(&selector).await.unwrap();
    put().await.unwrap();
    assert_eq!(claim(&store, &parked, 10).await.len(), 1);
    assert_eq!(count(&store, &counter()).await, 1);
}

/// All that a server keeps, but for what it notes by the way.
fn contents(server: &RedisServer) -> BTreeMap<String, String> {
    let names: Vec<String> = server.ask(&["KEYS", "*"]);
    let kept = names.into_iter().filter(|name| !name.ends_with(":meta"));
    let dumped = kept.map(|name| {
        let bytes: Vec<u8> = server.ask(&["DUMP", &name]);
        (name, format!("{bytes:?}"))
    });
    dumped.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_master_holds_up_the_shards_of_no_other() {
    let cluster = RedisCluster::start(3, 0, &["--cluster-require-full-coverage", "no"]);
    let mut options = options_of(&cluster);
    options.timeout = Duration::from_millis(400);
    let store = open(options).await;
    let queue = direct(Lane::Normal);
    open_pushes(&store, &keys(300), &queue).await;
    let shards: Vec<String> = cluster.masters[1].ask(&["KEYS", "rv:{*}:dev:contoso"]);
    let on_shard = |shard: &String| cluster.masters[1].ask::<Vec<String>>(&["HKEYS", shard]);
    let away: HashSet<String> = shards.iter().flat_map(on_shard).collect();
    assert!((50..150).contains(&away.len()), "{}", away.len());

    // when one master says nothing any more
    cluster.masters[1].signal("STOP");
    let mut held = Vec::new();
    eventually("all that the others have is claimed", async || {
        let wants = [Want {
            queue: queue.clone(),
            limit: 256,
        }];
        held.extend(store.claim(&wants).await.unwrap_or_default());
        held.len() == 300 - away.len()
    })
    .await;

    // then what is claimed and settled of the others succeeds, and claims go on
    let mut items: Vec<Item> = held
        .iter()
        .map(|c| replace(&c.key, 1, 2).under(&c.lease).moving(counter(), 1))
        .collect();
    let lost = key(away.iter().next().unwrap());
    items.push(replace(&lost, 1, 2));
    let mut answers = store.commit_each(items, Urgency::Settle).await;
    assert!(answers.pop().unwrap().is_err());
    assert!(answers.iter().all(|answer| *answer == Ok(Committed::Done)));
    let others = keys(300);
    let others = others
        .iter()
        .filter(|key| !away.contains(key.device.as_str()));
    let due = others.map(|key| replace(key, 2, 3).to(&queue, now()));
    let again = store.commit_each(due.collect(), Urgency::Settle).await;
    let again = again.iter().filter(|a| **a == Ok(Committed::Done)).count();
    assert_eq!(again, held.len());
    let mut claimed = 0;
    while claimed < again {
        claimed += claim(&store, &queue, 256).await.len();
    }
    assert_eq!(claim(&store, &queue, 256).await, []);
    store.ready().await.unwrap();

    // and the rest is claimed when it is back
    cluster.masters[1].signal("CONT");
    let mut rest = HashSet::new();
    eventually("what was away is claimed", async || {
        let found = claim(&store, &queue, 256).await;
        rest.extend(found.into_iter().map(|c| c.key.device.as_str().to_owned()));
        rest == away
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_death_of_a_master() {
    let mut cluster = RedisCluster::start(3, 1, &[]);
    let mut options = options_of(&cluster);
    options.min_replicas_to_ack = 1;
    options.timeout = Duration::from_millis(1_000);
    let store = open(options).await;
    let queue = direct(Lane::Normal);
    // given pushes that are being opened while a master dies
    let opening = tokio::spawn({
        let (store, queue) = (store.clone(), queue.clone());
        async move {
            for key in keys(600) {
                let answer = commit_surely(&store, create(&key, 1).to(&queue, now())).await;
                let done = [Committed::Done, Committed::Conflict(Some(stored(1)))];
                assert!(done.contains(&answer), "{answer:?}");
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.masters[1].kill();

    // when its replica has taken over and the dead one is back as a replica of that
    wait_until("the promotion", || cluster.replicas[1].is_master());
    cluster.masters[1].run();
    tokio::time::timeout(Duration::from_secs(60), opening)
        .await
        .unwrap()
        .unwrap();

    // then all that was acknowledged is claimed and settled
    let mut settled = HashSet::new();
    eventually("the end of all pushes", async || {
        let wants = [Want {
            queue: queue.clone(),
            limit: 256,
        }];
        for claimed in store.claim(&wants).await.unwrap_or_default() {
            let settle = replace(&claimed.key, 1, 2).under(&claimed.lease);
            commit_surely(&store, settle).await;
            settled.insert(claimed.key);
        }
        settled.len() == 600
    })
    .await;
}
