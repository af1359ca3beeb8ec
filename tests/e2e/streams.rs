//! A console that speaks with the broker through the streams of its Redis, while the broker is killed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use reveille::sandbox::{Behaviour, Delay};
use serde_json::{Value, json};

use crate::{
    redis_server::RedisServer,
    rig::{Rig, TENANT, redis, silent, until},
};

const DEVICES: u32 = 600;
/// Devices of one message.
const TOGETHER: usize = 20;
const INBOX: &str = "rv:{t:contoso}:inbox";
const DEAD: &str = "rv:{t:contoso}:dead";
const OUTBOX: &str = "rv:{t:contoso}:outbox";

/// Entries of a stream, oldest first.
type Entries = Vec<(String, HashMap<String, String>)>;

/// The console's side of the streams.
struct Console {
    redis: RedisServer,
    events: Vec<Value>,
}

impl Console {
    /// Adds messages of one kind; gives their ids.
    fn add(&self, command: &str, bodies: impl IntoIterator<Item = Value>) -> Vec<String> {
        let bodies: Vec<String> = bodies.into_iter().map(|body| body.to_string()).collect();
        let entries = bodies
            .iter()
            .map(|body| vec!["command", command, "body", body.as_str()]);
        self.redis.add_all(INBOX, entries)
    }

    fn length(&self, stream: &str) -> u64 {
        self.redis.ask(&["XLEN", stream])
    }

    /// Reads what is new in the outbox, as a member of a group of consumers.
    fn read_events(&mut self) {
        loop {
            let read: Option<Vec<(String, Entries)>> = self.redis.ask(&[
                "XREADGROUP",
                "GROUP",
                "console",
                "reader-1",
                "COUNT",
                "100",
                "STREAMS",
                OUTBOX,
                ">",
            ]);
            let Some((_, entries)) = read.unwrap_or_default().pop() else {
                return;
            };
            let mut done = vec!["XACK", OUTBOX, "console"];
            for (id, fields) in &entries {
                let event: Value = serde_json::from_str(&fields["event"]).unwrap();
                assert_eq!(event["type"], fields["type"].as_str());
                self.events.push(event);
                done.push(id);
            }
            self.redis.ask::<u64>(&done);
        }
    }

    /// How often each device has an event of a kind.
    fn told(&self, kind: &str) -> BTreeMap<&str, u32> {
        let mut counts = BTreeMap::new();
        for event in self.events.iter().filter(|event| event["type"] == kind) {
            let device = event["data"]["device"].as_str().unwrap();
            *counts.entry(device).or_default() += 1;
        }
        counts
    }
}

/// A fleet that says nothing to the broker, and a broker that serves streams; it has little in flight, so that it can be killed
/// in the middle.
async fn given() -> (Console, Rig) {
    let redis_server = RedisServer::durable();
    let behaviour = Behaviour {
        latency: Delay::fixed(Duration::from_millis(20)),
        ..silent()
    };
    let mut rig = Rig::new(DEVICES, behaviour);
    rig.store = redis(redis_server.port);
    rig.extra = format!(
        "[limits]\ndispatchers = 1\nin_flight_max = 4\n[streams]\ntenants = [\"{TENANT}\"]\n"
    );
    rig.start().await;
    let console = Console {
        redis: redis_server,
        events: Vec::new(),
    };
    let place = format!("rv:{{t:{TENANT}}}:outbox-place");
    until("the outbox is served", async || {
        console.redis.ask::<u64>(&["EXISTS", &place]) == 1
    })
    .await;
    console
        .redis
        .ask::<()>(&["XGROUP", "CREATE", OUTBOX, "console", "0", "MKSTREAM"]);
    (console, rig)
}

/// How many devices WNS has taken a notification for.
fn woken(rig: &Rig) -> u32 {
    u32::try_from(rig.sandbox.ledger().devices.accepted).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_without_http_loses_nothing_although_the_broker_is_killed() {
    let (mut console, mut rig) = given().await;
    let channels: Vec<(String, String)> = rig
        .sandbox
        .channels(TENANT)
        .map(|(device, uri)| (device.to_string(), uri.to_string()))
        .collect();
    let devices: Vec<&str> = channels.iter().map(|(device, _)| device.as_str()).collect();

    // when it registers and pushes the fleet, with a message in between that nobody can take, and the broker is killed
    let channel = |(device, uri): &(String, String)| json!({ "device": device, "uri": uri });
    console.add("register", channels.iter().map(channel));
    let poison = console.add("push", [json!({ "devices": ["nobody-knows-me"] })]);
    let wish = |devices| json!({ "devices": devices, "priority": "urgent", "goal": "check_in" });
    console.add("push", devices.chunks(TOGETHER).map(wish));
    until("the first device is woken", async || {
        rig.sandbox.ledger().requests > 0
    })
    .await;
    rig.kill();
    eprintln!(
        "killed with {} messages left and {} notifications sent",
        console.length(INBOX),
        rig.sandbox.ledger().requests
    );
    assert!(woken(&rig) < DEVICES, "it was killed too late");
    rig.start().await;
    until("every device is woken", async || woken(&rig) == DEVICES).await;

    // and reports their sessions, and the broker is killed again
    let session = |device| json!({ "device": device });
    console.add("check_in", devices.iter().map(session));
    until("some check-ins are taken", async || {
        console.length(INBOX) < u64::from(DEVICES)
    })
    .await;
    rig.kill();
    eprintln!("killed with {} messages left", console.length(INBOX));
    rig.start().await;
    rig.until_all_closed().await;
    until("the inbox is empty", async || console.length(INBOX) == 0).await;

    // then every message was done, and the one that nobody can take is where the console finds it, with the reason
    let pending: (u64, redis::Value, redis::Value, redis::Value) =
        console.redis.ask(&["XPENDING", INBOX, "reveille"]);
    assert_eq!(pending.0, 0);
    let dead: Entries = console.redis.ask(&["XRANGE", DEAD, "-", "+"]);
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].1["id"], poison[0]);
    assert_eq!(dead[0].1["command"], "push");
    let reason = &dead[0].1["reason"];
    assert!(reason.contains("nobody has named this device"), "{reason}");

    // and the console has read of every registration and of every end of a push, once
    until("the outbox tells of every push", async || {
        console.read_events();
        console.told("push.closed").len() == devices.len()
    })
    .await;
    for kind in ["channel.registered", "push.closed"] {
        let told = console.told(kind);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), devices, "{kind}");
        assert!(told.values().all(|count| *count == 1), "{kind}: {told:?}");
    }
    let closed = console.events.iter().filter(|e| e["type"] == "push.closed");
    let reasons: HashSet<&str> = closed
        .map(|event| event["data"]["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, HashSet::from(["checked_in"]));
}
