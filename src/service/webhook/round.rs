//! One round of deliveries: what is left of a page of events, sent in the order of each device.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    domain::{
        event,
        id::TenantId,
        webhook::{Receipt, Webhook, message_id, sign},
    },
    ports::{
        feed::Entry,
        webhooks::{Courier, Delivery},
    },
};

/// Requests to one endpoint at once.
const LANES: usize = 8;

/// An event on its way.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    device: Option<String>,
    kind: String,
    time: Option<Timestamp>,
    /// What names the event, whatever its place in the feed is when it is read again.
    digest_of: Bytes,
    body: Value,
}

impl Waiting {
    /// The event of an entry; one that is not JSON (which the feed never writes) is passed over.
    pub(super) fn new(entry: Entry) -> Option<Self> {
        let mut body: Value = serde_json::from_slice(&entry.json).ok()?;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let (device, kind) = (text(&body["data"]["device"]), text(&body["type"])?);
        let stated = body["time"].clone();
        let event = body.as_object_mut()?;
        event.insert("id".to_owned(), entry.id.0.into());
        // The name that the specification gives to the time of an event.
        event.insert("timestamp".to_owned(), stated.clone());
        Some(Self {
            device,
            kind,
            time: stated.as_str().and_then(|t| t.parse().ok()),
            digest_of: entry.json,
            body,
        })
    }

    /// Tells the endpoint that events were trimmed before they could be delivered.
    pub(super) fn gap(tenant: &TenantId, now: Timestamp) -> Self {
        let mut body = event::gap(tenant, now);
        body["timestamp"] = now.to_string().into();
        Self {
            device: None,
            kind: event::GAP.to_owned(),
            time: Some(now),
            digest_of: Bytes::from(body.to_string()),
            body,
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        self.time
    }
}

/// What became of a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Events that were taken.
    pub(super) taken: u64,
    /// Requests that they were in.
    pub(super) requests: u64,
    /// Requests that were not taken.
    pub(super) failures: u64,
    /// What came of the first of these.
    pub(super) failed: Option<Receipt>,
}

/// When and how much a round sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The time of day, which is signed.
    pub(super) now: Timestamp,
    /// Nothing new is begun from then on.
    pub(super) until: Instant,
    /// Makes one request at most, to see whether the endpoint is back.
    pub(super) probe: bool,
}

/// Sends what waits, until all is taken, something is not, or time is up; what was taken leaves `waiting`.
pub(super) async fn send(
    courier: &dyn Courier,
    webhook: &Webhook,
    waiting: &mut VecDeque<Waiting>,
    bounds: Bounds,
) -> Round {
    if webhook.settings.batch_max > 1 {
        return send_batches(courier, webhook, waiting, bounds).await;
    }
    if bounds.probe {
        let mut first: VecDeque<Waiting> = waiting.pop_front().into_iter().collect();
        let round = send_lanes(courier, webhook, &mut first, bounds).await;
        if let Some(left) = first.pop_front() {
            waiting.push_front(left);
        }
        return round;
    }
    send_lanes(courier, webhook, waiting, bounds).await
}

async fn send_batches(
    courier: &dyn Courier,
    webhook: &Webhook,
    waiting: &mut VecDeque<Waiting>,
    Bounds { now, until, probe }: Bounds,
) -> Round {
    let mut round = Round::default();
    while !waiting.is_empty() && round.failed.is_none() && Instant::now() < until {
        let size = usize::from(webhook.settings.batch_max).min(waiting.len());
        let batch: Vec<&Waiting> = waiting.iter().take(size).collect();
        match courier.deliver(batch_delivery(webhook, &batch, now)).await {
            Receipt::Taken => {
                round.taken += size as u64;
                round.requests += 1;
                waiting.drain(..size);
            }
            failed @ (Receipt::Gone | Receipt::Refused { .. } | Receipt::Unreachable { .. }) => {
                round.failures += 1;
                round.failed = Some(failed);
            }
        }
        if probe {
            break;
        }
    }
    round
}

/// Events of one device follow one another; those of several devices go at once. After a failure nothing new is begun.
async fn send_lanes(
    courier: &dyn Courier,
    webhook: &Webhook,
    waiting: &mut VecDeque<Waiting>,
    Bounds { now, until, .. }: Bounds,
) -> Round {
    let mut round = Round::default();
    let mut lanes: HashMap<Option<String>, VecDeque<usize>> = HashMap::new();
    let mut order: VecDeque<Option<String>> = VecDeque::new();
    for (at, event) in waiting.iter().enumerate() {
        let lane = lanes.entry(event.device.clone()).or_default();
        if lane.is_empty() {
            order.push_back(event.device.clone());
        }
        lane.push_back(at);
    }
    let mut taken = vec![false; waiting.len()];
    let mut running = FuturesUnordered::new();
    loop {
        let open = round.failed.is_none() && Instant::now() < until;
        while open && running.len() < LANES {
            let Some(lane) = order.pop_front() else { break };
            let Some(at) = lanes.get_mut(&lane).and_then(VecDeque::pop_front) else {
                continue;
            };
            let delivery = delivery(webhook, &waiting[at], now);
            running.push(async move { (lane, at, courier.deliver(delivery).await) });
        }
        let Some((lane, at, receipt)) = running.next().await else {
            break;
        };
        if receipt == Receipt::Taken {
            round.taken += 1;
            round.requests += 1;
            taken[at] = true;
            order.push_back(lane);
        } else {
            round.failures += 1;
            round.failed.get_or_insert(receipt);
        }
    }
    drop(running);
    let mut taken = taken.into_iter();
    waiting.retain(|_| !taken.next().unwrap_or(false));
    round
}

fn delivery(webhook: &Webhook, event: &Waiting, now: Timestamp) -> Delivery {
    let body = Bytes::from(event.body.to_string());
    signed(webhook, message_id(&event.digest_of), body, now)
}

fn batch_delivery(webhook: &Webhook, batch: &[&Waiting], now: Timestamp) -> Delivery {
    let named: Vec<u8> = batch.iter().flat_map(|e| e.digest_of.to_vec()).collect();
    let events: Vec<&Value> = batch.iter().map(|e| &e.body).collect();
    let body = json!({
        "type": "batch",
        "timestamp": now.to_string(),
        "data": { "events": events },
    });
    signed(
        webhook,
        message_id(&named),
        Bytes::from(body.to_string()),
        now,
    )
}

fn signed(webhook: &Webhook, id: String, body: Bytes, now: Timestamp) -> Delivery {
    let timestamp = now.as_second();
    Delivery {
        url: webhook.settings.url.clone(),
        signature: sign(&webhook.secrets(now), &id, timestamp, &body),
        id,
        timestamp,
        body,
    }
}
