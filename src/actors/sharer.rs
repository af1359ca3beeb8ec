//! Renews this broker's shares of all apps' paces, all in one call.
//!
//! Owns nothing: the rates lie in the apps' limiters and run out by themselves when they are not renewed.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use tokio::time::{Instant, sleep_until};

use super::{app::App, broker::Broker, supervise::live};
use crate::{ports::shares::ShareRequest, telemetry::ActorMetrics};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// How long a share is valid: the one of a broker that died is free after it.
const TERM: Duration = Duration::from_secs(1);
/// How often shares are renewed while something is sent: one renewal may be late.
const INTERVAL_BUSY: Duration = Duration::from_millis(400);
/// How often they are renewed otherwise, so that an idle broker asks for little.
const INTERVAL_IDLE: Duration = Duration::from_millis(950);
/// How soon after a renewal the next one may be, for an app that turns out to need more than it asked for.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Part of the pace that is asked for while nothing waits: the first push goes at once, and more is asked for when it does not suffice.
const IDLE_PART: f64 = 0.02;
/// When to try again after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Renews shares.
#[derive(Clone)]
pub struct Sharer {
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for Sharer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, share(self.clone()));
    }
}

impl Supervised for Sharer {}

async fn share(sharer: Sharer) {
    let broker = &sharer.broker;
    let mut used = Used::new(broker.apps.len());
    loop {
        let began = Instant::now();
        sharer.metrics.progressed(began);
        let lately = used.lately(&broker.apps, began);
        let hungry: Vec<bool> = broker
            .apps
            .iter()
            .map(|app| app.limiter.was_hungry())
            .collect();
        let busy = lately.iter().any(|per_second| *per_second > 0.0) || hungry.contains(&true);
        let requests = requests(&broker.apps, &lately, &hungry);
        for (app, request) in broker.apps.iter().zip(&requests) {
            app.limiter.at_most(request.demand_per_second);
        }
        let owner = &broker.settings.broker;
        let Ok(shares) = broker.store.renew(owner, &requests, TERM).await else {
            sleep_until(began + RETRY).await;
            continue;
        };
        for (app, share) in broker.apps.iter().zip(shares) {
            app.limiter.set(share.per_second, began + TERM);
        }
        broker.ready.ring_all();
        let interval = if busy { INTERVAL_BUSY } else { INTERVAL_IDLE };
        wait(broker, &hungry, (began, interval)).await;
    }
}

/// Waits for the next renewal: until the interval is over, or one of the apps that did not ask for all needs more.
async fn wait(broker: &Broker, asked_all: &[bool], (began, interval): (Instant, Duration)) {
    let is_hungry = |(app, asked_all): (&Arc<App>, &bool)| !asked_all && app.limiter.is_hungry();
    while !broker.apps.iter().zip(asked_all).any(is_hungry) {
        tokio::select! {
            () = sleep_until(began + interval) => return,
            () = broker.hunger.notified() => {}
        }
    }
    sleep_until(began + INTERVAL_MIN).await;
}

/// How many requests the apps had started, and when that was looked at.
struct Used {
    started: Vec<u64>,
    at: Option<Instant>,
}

impl Used {
    fn new(apps: usize) -> Self {
        Self {
            started: vec![0; apps],
            at: None,
        }
    }

    /// Requests a second that each app has started since the last look.
    fn lately(&mut self, apps: &[Arc<App>], now: Instant) -> Vec<f64> {
        let span = self.at.replace(now).map_or(INTERVAL_IDLE, |at| now - at);
        let seconds = span.as_secs_f64().max(RETRY.as_secs_f64());
        let started: Vec<u64> = apps.iter().map(|app| app.limiter.started()).collect();
        let before = std::mem::replace(&mut self.started, started);
        #[expect(
            clippy::cast_precision_loss,
            reason = "requests of a second are far below 2^52"
        )]
        let per_second = |(now, before): (&u64, u64)| (now - before) as f64 / seconds;
        self.started.iter().zip(before).map(per_second).collect()
    }
}

fn requests(apps: &[Arc<App>], lately: &[f64], hungry: &[bool]) -> Vec<ShareRequest> {
    let ask = |((app, lately), hungry): ((&Arc<App>, &f64), &bool)| {
        let pace = app.pace_per_second();
        ShareRequest {
            app: app.settings.id.clone(),
            pace_per_second: pace,
            demand_per_second: demand(pace, *lately, *hungry),
        }
    };
    apps.iter().zip(lately).zip(hungry).map(ask).collect()
}

/// What a broker could use of a pace: all, if something has to wait, else twice of what it used, which leaves room to grow.
fn demand(pace: f64, lately: f64, hungry: bool) -> f64 {
    if hungry {
        return pace;
    }
    (lately * 2.0).clamp(pace * IDLE_PART, pace)
}
