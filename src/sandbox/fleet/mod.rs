//! The devices behind the channels: what they do when woken, and the thread that does it.
//!
//! Owns nothing that must survive: plans lie in the wheel, at most three a device. Memory is bounded by the fleet, and what
//! is not yet delivered to the broker by [`OUTBOX_LINES_MAX`]; beyond it devices begin their sessions later.

mod outbox;
mod post;
mod wheel;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub(crate) use self::wheel::{Deed, Due, Wheel};
use self::{outbox::Outbox, post::Postman, wheel::TICK_NANOS};
use super::{
    channel::Target,
    clock::Moment,
    device::{Device, Flag},
    mix::Purpose,
    units::{Delay, Period, Share},
    world::World,
};

/// Check-ins that wait for the broker, at most; more devices begin their sessions later.
const OUTBOX_LINES_MAX: usize = 200_000;

/// Where devices check in.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The broker's API without a path, such as `http://127.0.0.1:8470`.
    pub url: String,
    /// The key for it, if it wants one.
    pub key: Option<SecretString>,
}

/// What devices do when woken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckIns {
    /// Time from a notification's arrival to the session it starts.
    pub delay: Delay,
    /// Share of devices that never begin a session.
    pub never: Share,
    /// Share of sessions that report a new channel URI; the old one stays valid, as at WNS.
    pub renew: Share,
    /// Within this time after a notification met a dead channel, its device gets a new one and reports it; never if absent.
    pub poll: Option<Period>,
}

impl Default for CheckIns {
    fn default() -> Self {
        Self {
            delay: Delay::between(Duration::from_millis(200), Duration::from_secs(2)),
            never: Share::NONE,
            renew: Share::NONE,
            poll: None,
        }
    }
}

/// What the fleet did.
#[derive(Debug, Default)]
pub(crate) struct FleetCounts {
    pub(crate) sessions: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

impl World {
    /// A notification reaches its device: a session will begin, unless one is planned already.
    pub(crate) fn wake(&self, target: Target, device: &Device, now: Moment) {
        let live = self.live.load();
        let check_ins = &live.behaviour.check_in;
        if self.never_checks_in(target, check_ins) || device.set(Flag::CheckInPlanned) {
            return;
        }
        let count = u64::from(device.counts().arrived);
        let delay = check_ins
            .delay
            .pick(self.draw(Purpose::CheckInDelay, target, count));
        self.plan(target, Deed::CheckIn, now.after(delay));
    }

    /// A notification was kept for a device that is offline: it will return, if offline devices do.
    pub(crate) fn plan_return(&self, target: Target, device: &Device, now: Moment) {
        let live = self.live.load();
        let Some(offline_for) = live.behaviour.offline_for else {
            return;
        };
        if device.has(Flag::Offline) || device.set(Flag::ReturnPlanned) {
            return;
        }
        let delay = offline_for.pick(self.draw(Purpose::ReturnDelay, target, 0));
        self.plan(target, Deed::Return, now.after(delay));
    }

    /// A notification met a dead channel: its device will find out, if devices poll.
    pub(crate) fn plan_poll(&self, target: Target, device: &Device, now: Moment) {
        let live = self.live.load();
        let check_ins = &live.behaviour.check_in;
        let Some(poll) = check_ins.poll else {
            return;
        };
        if self.never_checks_in(target, check_ins) || device.set(Flag::PollPlanned) {
            return;
        }
        let delay =
            Delay::between(Duration::ZERO, poll.0).pick(self.draw(Purpose::PollDelay, target, 0));
        self.plan(target, Deed::Poll, now.after(delay));
    }

    /// Connects a device; the notification that was kept for it reaches it now.
    pub(crate) fn come_online(&self, target: Target, device: &Device) {
        device.clear(Flag::Offline);
        device.set(Flag::Online);
        let now = self.clock.now();
        if device.take_cached(now) {
            self.delivered_late.fetch_add(1, Relaxed);
            self.wake(target, device, now);
        }
    }

    fn never_checks_in(&self, target: Target, check_ins: &CheckIns) -> bool {
        check_ins
            .never
            .hits(self.draw(Purpose::NeverChecksIn, target, 0))
    }

    fn plan(&self, target: Target, deed: Deed, at: Moment) {
        self.wheel.plan(Due {
            device: target.device,
            app: target.app,
            deed,
            at,
        });
    }

    /// Does what is due; a session's line goes to `outbox`.
    fn act(&self, due: Due, outbox: &mut Outbox) {
        let target = Target {
            app: due.app,
            device: due.device,
            generation: 1,
        };
        let Some(device) = self.device(target) else {
            return;
        };
        match due.deed {
            Deed::Return => {
                device.clear(Flag::ReturnPlanned);
                self.come_online(target, device);
            }
            Deed::CheckIn => {
                device.clear(Flag::CheckInPlanned);
                let sessions = u64::from(device.check_in());
                let renew = self.live.load().behaviour.check_in.renew;
                let generation = renew
                    .hits(self.draw(Purpose::RenewsChannel, target, sessions))
                    .then(|| device.renew());
                self.report(target, generation, outbox);
            }
            Deed::Poll => {
                device.clear(Flag::PollPlanned);
                device.check_in();
                self.report(target, Some(device.renew()), outbox);
            }
        }
    }

    fn report(&self, target: Target, renewed: Option<u16>, outbox: &mut Outbox) {
        self.fleet_counts.sessions.fetch_add(1, Relaxed);
        if !outbox.is_open() {
            return;
        }
        let line = outbox.line(target.app);
        let at = self.clock.wall(self.clock.now());
        let mut id = String::with_capacity(32);
        self.write_device_id(target.device, &mut id);
        // Neither an id nor a time nor a channel URI has a character that JSON would escape.
        line.extend_from_slice(format!("{{\"device\":\"{id}\",\"at\":\"{at}\"").as_bytes());
        if let Some(generation) = renewed {
            line.extend_from_slice(b",\"channel_uri\":\"");
            self.write_channel(
                Target {
                    generation,
                    ..target
                },
                line,
            );
            line.push(b'"');
        }
        line.extend_from_slice(b"}\n");
    }
}

/// Starts the thread of the fleet; it ends after `stop` is cancelled.
///
/// # Errors
/// The system's error when the thread or its runtime cannot be made, the client's when it cannot be set up.
pub(crate) fn start(
    world: Arc<World>,
    config: Option<FleetConfig>,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let postman = match config {
        Some(config) => Some(Postman::new(world.clone(), config).map_err(std::io::Error::other)?),
        None => None,
    };
    std::thread::Builder::new()
        .name("sandbox-fleet".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = live(&world, postman) => {}
                    () = stop.cancelled() => {}
                }
            });
            runtime.shutdown_background();
        })
}

async fn live(world: &World, postman: Option<Postman>) {
    let mut outbox = Outbox::new(world.apps.len(), postman.map(Postman::start));
    let mut tick = tokio::time::interval(Duration::from_nanos(TICK_NANOS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let mut taken = Vec::new();
        let room = OUTBOX_LINES_MAX.saturating_sub(outbox.waiting());
        let room_left = std::cell::Cell::new(room);
        world.wheel.take(
            world.clock.now(),
            |due| {
                room_left.set(room_left.get().saturating_sub(1));
                taken.push(due);
            },
            || room_left.get() > 0,
        );
        let deeds = taken.len();
        for due in taken {
            world.act(due, &mut outbox);
        }
        world.wheel.done(deeds);
        outbox.hand_over();
        world
            .fleet_counts
            .waiting
            .store(outbox.waiting() as u64, Relaxed);
    }
}
