//! Renews this broker's shares of all apps' paces, in one call a second.
//!
//! Owns nothing: the rates lie in the apps' limiters and run out by themselves when they are not renewed.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use tokio::time::{Instant, sleep_until};

use super::{broker::Broker, supervise::live};
use crate::{ports::shares::ShareRequest, telemetry::ActorMetrics};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// How often shares are renewed, and how long they are valid: one renewal may be late.
const INTERVAL: Duration = Duration::from_secs(1);
const TERM: Duration = Duration::from_secs(2);
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
    let mut started = vec![0; sharer.broker.apps.len()];
    loop {
        let began = Instant::now();
        sharer.metrics.progressed(began);
        let requests = requests(&sharer.broker, &mut started);
        let renewed = sharer
            .broker
            .store
            .renew(&sharer.broker.settings.broker, &requests, TERM)
            .await;
        let Ok(shares) = renewed else {
            sleep_until(began + RETRY).await;
            continue;
        };
        for (app, share) in sharer.broker.apps.iter().zip(shares) {
            app.limiter.set(share.per_second, began + TERM);
        }
        sharer.broker.ready.ring_all();
        sleep_until(began + INTERVAL).await;
    }
}

fn requests(broker: &Broker, started: &mut [u64]) -> Vec<ShareRequest> {
    let ask = |(app, before): (&Arc<super::app::App>, &mut u64)| {
        let now = app.limiter.started();
        let lately = now - *before;
        *before = now;
        let pace = app.pace_per_second();
        // Twice of what was used leaves room to grow; a little is always asked for, so that the first push need not wait.
        #[expect(
            clippy::cast_precision_loss,
            reason = "requests of a second are far below 2^52"
        )]
        let demand = (lately as f64 * 2.0).clamp(pace * 0.1, pace);
        ShareRequest {
            app: app.settings.id.clone(),
            pace_per_second: pace,
            demand_per_second: demand,
        }
    };
    broker.apps.iter().zip(started).map(ask).collect()
}
