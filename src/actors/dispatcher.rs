//! Claims due pushes, sends them, and settles what came of them: one dispatcher on each arbiter.
//!
//! Owns one HTTP client, the pushes it has claimed and the outcomes that wait to be committed. After a restart all of that is
//! lost, the leases end, and the pushes are due again; what is on the wire then is repeated, which is harmless. The permits
//! outlive it.

mod claim;
mod desk;
mod flight;
mod hosts;
mod policy;
mod pump;
mod settle;
mod waiting;
mod work;

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message, Supervised};
use tokio::time::{Instant, sleep_until};

use self::desk::Desk;
pub use self::desk::Permits;
use super::{broker::Broker, supervise::live};
use crate::{ports::wns::Wns, telemetry::ActorMetrics};

/// Messages that may wait.
pub const CAPACITY: usize = 16;
/// How often the gauge of permits is written.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// Claims and sends nothing more; what is on the wire is settled. It is done when all permits are back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// One dispatcher.
pub struct Dispatcher {
    /// Which of the broker's dispatchers.
    pub number: usize,
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Its own way to WNS.
    pub wns: Rc<dyn Wns>,
    /// What bounds it.
    pub permits: Permits,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
    desk: Option<Rc<Desk>>,
    draining: bool,
}

impl Dispatcher {
    /// A dispatcher that sends by `wns`.
    #[must_use]
    pub fn new(
        number: usize,
        broker: Arc<Broker>,
        wns: Rc<dyn Wns>,
        permits: Permits,
        metrics: Arc<ActorMetrics>,
    ) -> Self {
        Self {
            number,
            broker,
            wns,
            permits,
            metrics,
            desk: None,
            draining: false,
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let bell = self.broker.ready.bell(self.number);
        let desk = Desk::new(
            self.broker.clone(),
            self.wns.clone(),
            self.permits.clone(),
            bell,
        );
        desk.draining.set(self.draining);
        self.desk = Some(desk.clone());
        live(ctx, work(desk, self.number, self.metrics.clone()));
    }
}

impl Supervised for Dispatcher {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.desk = None;
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.draining = true;
        if let Some(desk) = &self.desk {
            desk.draining.set(true);
            desk.ring();
        }
    }
}

async fn work(desk: Rc<Desk>, number: usize, metrics: Arc<ActorMetrics>) {
    let mut gauge = Instant::now();
    loop {
        let next = desk.turn();
        let now = Instant::now();
        metrics.progressed(now);
        if now >= gauge {
            desk.broker
                .telemetry
                .permits_left(number, desk.wire.available_permits());
            gauge = now + GAUGE_INTERVAL;
        }
        tokio::select! {
            () = desk.rung() => {}
            () = sleep_until(next) => {}
        }
    }
}
