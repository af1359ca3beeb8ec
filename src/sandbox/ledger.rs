//! The ledger: what arrived, what became of it, and how fast it came.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    channel::Target,
    clock::Moment,
    connection::Connections,
    counters::{ReplyKind, Violation, second_to},
    world::{App, World},
};

/// The ledger as a whole; the body of `GET /sandbox/v1/ledger`.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// When counting began.
    pub since: Timestamp,
    /// When the ledger was read.
    pub at: Timestamp,
    /// Requests to channels, whatever became of them.
    pub requests: u64,
    /// Notifications that were delivered, or kept for a device that is offline.
    pub accepted: u64,
    /// Notifications that were kept for a device and reached it when it came online.
    pub delivered_late: u64,
    /// Requests by reply; every kind is listed.
    pub replies: BTreeMap<&'static str, u64>,
    /// Departures from what WNS documents; every kind is listed.
    pub violations: BTreeMap<&'static str, u64>,
    /// The token endpoints.
    pub tokens: TokenLedger,
    /// Each app.
    pub apps: Vec<AppLedger>,
    /// The devices of all apps together.
    pub devices: DeviceTotals,
    /// What woken devices did.
    pub fleet: FleetLedger,
    /// Connections.
    pub connections: ConnectionLedger,
}

/// What the token endpoints did.
#[derive(Clone, Debug, Serialize)]
pub struct TokenLedger {
    /// Tokens issued.
    pub issued: u64,
    /// Requests refused with an OAuth error.
    pub refused: u64,
    /// Requests that met an outage.
    pub unavailable: u64,
}

/// What one app did.
#[derive(Clone, Debug, Serialize)]
pub struct AppLedger {
    /// Its id.
    pub app: String,
    /// Requests with a valid token to its channels.
    pub requests: u64,
    /// Notifications accepted.
    pub accepted: u64,
    /// The most requests in any one second, in steps of 10 ms.
    pub highest_second: u64,
    /// Penalties that were started.
    pub penalties: u64,
    /// Requests that came while a penalty ran.
    pub during_penalty: u64,
    /// When the running penalty ends.
    pub throttled_until: Option<Timestamp>,
}

/// Devices by what they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceTotals {
    /// All there are.
    pub total: u64,
    /// At least one notification arrived for them.
    pub reached: u64,
    /// At least one was accepted.
    pub accepted: u64,
    /// Notifications beyond the first accepted one, summed.
    pub repeats: u64,
    /// The most notifications for one device.
    pub most: u32,
    /// They checked in at least once.
    pub checked_in: u64,
}

/// What woken devices did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FleetLedger {
    /// Sessions that devices began.
    pub sessions: u64,
    /// Check-ins that the broker took.
    pub delivered: u64,
    /// Check-ins that the broker refused for good.
    pub refused: u64,
    /// Requests with check-ins that had to be repeated.
    pub retries: u64,
    /// Check-ins that are on their way to the broker.
    pub waiting: u64,
    /// Sessions, returns and polls that lie ahead.
    pub planned: u64,
}

/// The connections to the sandbox.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConnectionLedger {
    /// Open now.
    pub open: u64,
    /// Opened so far over HTTP/1.1.
    pub http1: u64,
    /// Opened so far over HTTP/2.
    pub http2: u64,
}

/// One device; a line of `GET /sandbox/v1/ledger/devices`.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceLedger {
    /// Its id.
    pub device: String,
    /// Notifications that arrived, whatever became of them.
    pub arrived: u32,
    /// Notifications that were accepted.
    pub accepted: u32,
    /// Check-ins it made.
    pub check_ins: u32,
    /// When the first notification arrived.
    pub first: Option<Timestamp>,
    /// When the last one arrived.
    pub last: Option<Timestamp>,
    /// Whether it is online.
    pub online: bool,
    /// Whether a notification is kept for it.
    pub cached: bool,
    /// The generation of its newest channel.
    pub generation: u16,
    /// Whether that channel is dead.
    pub dead: bool,
}

/// Reads the ledger.
pub(crate) fn read(world: &World, connections: &Connections) -> Ledger {
    let now = world.clock.now();
    let replies: BTreeMap<_, _> = ReplyKind::ALL
        .iter()
        .map(|kind| {
            (
                kind.label(),
                world.shards.iter().map(|shard| shard.replies(*kind)).sum(),
            )
        })
        .collect();
    let violations = Violation::ALL
        .iter()
        .map(|kind| {
            (
                kind.label(),
                world
                    .shards
                    .iter()
                    .map(|shard| shard.violations(*kind))
                    .sum(),
            )
        })
        .collect();
    let apps: Vec<_> = (0..)
        .zip(&world.apps)
        .map(|(index, app)| read_app(world, index, app, now))
        .collect();
    let (http1, http2) = connections.opened();
    Ledger {
        since: world.clock.wall(Moment(world.counted_since.load(Relaxed))),
        at: world.clock.wall(now),
        requests: replies.values().sum(),
        accepted: apps.iter().map(|app| app.accepted).sum(),
        delivered_late: world.delivered_late.load(Relaxed),
        replies,
        violations,
        tokens: TokenLedger {
            issued: world.token_counts.issued.load(Relaxed),
            refused: world.token_counts.refused.load(Relaxed),
            unavailable: world.token_counts.unavailable.load(Relaxed),
        },
        apps,
        devices: device_totals(world),
        fleet: read_fleet(world),
        connections: ConnectionLedger {
            open: connections.open() as u64,
            http1,
            http2,
        },
    }
}

/// Reads one device, if there is one.
pub(crate) fn read_device(world: &World, app: u16, device: u32) -> Option<DeviceLedger> {
    let target = Target {
        app,
        device,
        generation: 1,
    };
    let state = world.device(target)?;
    let live = world.live.load();
    let counts = state.counts();
    let newest = Target {
        generation: state.generation(),
        ..target
    };
    let mut id = String::new();
    world.write_device_id(device, &mut id);
    Some(DeviceLedger {
        device: id,
        arrived: counts.arrived,
        accepted: counts.accepted,
        check_ins: counts.check_ins,
        first: counts.first.map(|moment| world.clock.wall(moment)),
        last: counts.last.map(|moment| world.clock.wall(moment)),
        online: !world.is_offline(target, state, &live.behaviour),
        cached: state.has_cached(world.clock.now()),
        generation: newest.generation,
        dead: world.is_dead(newest, state, &live.behaviour),
    })
}

/// Sets every count to zero; devices keep their state, and running scripts and penalties go on.
pub(crate) fn reset(world: &World) {
    for shard in &world.shards {
        shard.reset();
    }
    for app in &world.apps {
        app.devices
            .iter()
            .for_each(super::device::Device::reset_counts);
        app.penalties.store(0, Relaxed);
        app.highest_second.store(0, Relaxed);
    }
    world.delivered_late.store(0, Relaxed);
    let (tokens, fleet) = (&world.token_counts, &world.fleet_counts);
    for count in [&tokens.issued, &tokens.refused, &tokens.unavailable] {
        count.store(0, Relaxed);
    }
    for count in [
        &fleet.sessions,
        &fleet.delivered,
        &fleet.refused,
        &fleet.retries,
    ] {
        count.store(0, Relaxed);
    }
    world.counted_since.store(world.clock.now().0, Relaxed);
}

fn read_app(world: &World, index: u16, app: &App, now: Moment) -> AppLedger {
    let shards = || world.shards.iter().map(move |shard| shard.app(index));
    // A second that nothing came after has not been added up yet.
    let latest = shards()
        .map(|shard| second_to(&world.shards, index, shard.rate.newest()))
        .max();
    AppLedger {
        app: app.id.to_string(),
        requests: shards().map(|shard| shard.requests.load(Relaxed)).sum(),
        accepted: shards().map(|shard| shard.accepted.load(Relaxed)).sum(),
        highest_second: app.highest_second.load(Relaxed).max(latest.unwrap_or(0)),
        penalties: app.penalties.load(Relaxed),
        during_penalty: shards()
            .map(|shard| shard.during_penalty.load(Relaxed))
            .sum(),
        throttled_until: app.penalty(now).map(|until| world.clock.wall(until)),
    }
}

fn read_fleet(world: &World) -> FleetLedger {
    let counts = &world.fleet_counts;
    // Before the sessions: what is no longer planned is among them.
    let planned = world.wheel.planned();
    FleetLedger {
        sessions: counts.sessions.load(Relaxed),
        delivered: counts.delivered.load(Relaxed),
        refused: counts.refused.load(Relaxed),
        retries: counts.retries.load(Relaxed),
        waiting: counts.waiting.load(Relaxed),
        planned,
    }
}

fn device_totals(world: &World) -> DeviceTotals {
    let mut totals = DeviceTotals::default();
    for device in world.apps.iter().flat_map(|app| &app.devices) {
        let counts = device.counts();
        totals.total += 1;
        totals.reached += u64::from(counts.arrived > 0);
        totals.accepted += u64::from(counts.accepted > 0);
        totals.repeats += u64::from(counts.accepted.saturating_sub(1));
        totals.most = totals.most.max(counts.arrived);
        totals.checked_in += u64::from(counts.check_ins > 0);
    }
    totals
}
