//! A console that lives on Redis: it adds commands and reads events, and never speaks HTTP.

use std::collections::HashMap;

use reveille::sandbox::Behaviour;
use serde_json::Value;

use crate::{
    redis_server::RedisServer,
    rig::{Rig, until},
};

const DEVICES: u32 = 200;
const INBOX: &str = "rv:{t:contoso}:inbox";
const OUTBOX: &str = "rv:{t:contoso}:outbox";

/// A rig whose broker keeps everything in `server`.
pub(crate) fn on_redis(rig: &mut Rig, server: &RedisServer) {
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    rig.env = vec![
        ("REVEILLE_STORE_KIND", "redis".to_owned()),
        ("REVEILLE_STORE_URL", url),
    ];
}

/// Pushes that closed: as accepted, or as checked in where the device was faster than the broker could note it.
fn closed(server: &RedisServer) -> usize {
    let entries: Vec<(String, HashMap<String, String>)> = server.ask(&["XRANGE", OUTBOX, "-", "+"]);
    let events = entries.into_iter().map(|(_, fields)| fields);
    events
        .filter(|fields| fields["type"] == "push.closed")
        .map(|fields| serde_json::from_str::<Value>(&fields["event"]).unwrap())
        .filter(|event| event["data"]["reason"] != "expired")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_woken_through_streams_although_the_broker_is_killed() {
    // given a broker on Redis, with streams
    let server = RedisServer::durable();
    let mut rig = Rig::new(DEVICES, Behaviour::default());
    on_redis(&mut rig, &server);
    rig.env
        .push(("REVEILLE_STREAMS_TENANTS", "contoso".to_owned()));
    rig.start().await;
    until("the outbox is begun", async || {
        server.ask::<u64>(&["EXISTS", "rv:{t:contoso}:outbox-place"]) == 1
    })
    .await;

    // when channels come through the inbox, the broker is killed, and pushes are asked for meanwhile
    let mut devices = Vec::new();
    for (device, uri) in rig.sandbox.channels("contoso") {
        let body = format!(r#"{{"device":"{device}","uri":"{uri}"}}"#);
        let fields = ["command", "register", "body", &body];
        let _id: String = server.ask(&[&["XADD", INBOX, "*"][..], &fields].concat());
        devices.push(device.to_string());
    }
    rig.kill();
    let body = serde_json::json!({ "devices": devices }).to_string();
    let _id: String = server.ask(&["XADD", INBOX, "*", "command", "push", "body", &body]);
    rig.start().await;

    // then every device is woken and told, and nothing is left
    until("every push is closed", async || {
        closed(&server) >= DEVICES as usize
    })
    .await;
    assert_eq!(rig.sandbox.ledger().devices.accepted, u64::from(DEVICES));
    assert_eq!(server.ask::<u64>(&["XLEN", INBOX]), 0);
    assert_eq!(server.ask::<u64>(&["XLEN", "rv:{t:contoso}:dead"]), 0);
}
