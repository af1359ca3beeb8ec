//! One notification on the wire: sent, its answer understood, and once more if the token was refused.

use std::{rc::Rc, sync::Arc};

use jiff::Timestamp;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    desk::Desk,
    hosts,
    work::{Job, Work},
};
use crate::{
    actors::{
        app::{Allowance, App},
        tokens::Token,
    },
    domain::{
        transition::Attempt,
        wns::{
            channel_uri::UriHash,
            ms_cv::MsCv,
            reply::Outcome,
            request::{RawPush, Ttl},
        },
    },
    ports::wns::{Answer, Notification},
    telemetry::{AttemptFinished, InFlight},
};

/// What a notification holds while it is on the wire.
pub(super) struct Seat {
    /// Bounds what one dispatcher has on the wire.
    pub(super) _wire: OwnedSemaphorePermit,
    /// Counts at the host.
    pub(super) _host: hosts::InFlight,
    /// Counts at the app.
    pub(super) _app: InFlight,
}

/// How a notification is sent.
pub(super) struct Flight {
    /// The index of the app.
    pub(super) app: usize,
    /// The token to send with.
    pub(super) token: Arc<Token>,
    /// Whether it is the probe of a hold.
    pub(super) probe: bool,
}

/// One answered request.
struct Sent {
    began_at: Timestamp,
    answer: Answer,
    push: RawPush,
}

/// Gives the probe of a hold back if nothing came of it, even by a panic.
struct ProbeGuard<'a>(Option<&'a App>);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        if let Some(app) = self.0 {
            app.return_probe();
        }
    }
}

/// Sends a push and hands what came of it to the desk.
pub(super) async fn fly(desk: Rc<Desk>, work: Work, flight: Flight, seat: Seat) {
    let app = desk.broker.apps[flight.app].clone();
    let mut probe = ProbeGuard(flight.probe.then_some(&*app));
    let mut sent = send(&desk, &work, (&app, &flight.token)).await;
    if sent.answer.outcome == Outcome::TokenRefused {
        app.tokens.refuse(flight.token.serial);
        drop(seat);
        let Some((token, seat)) = second_seat(&desk, &work, &flight).await else {
            desk.hand_back(work.claim, desk.broker.clock.now());
            return;
        };
        sent = send(&desk, &work, (&app, &token)).await;
        if sent.answer.outcome == Outcome::TokenRefused {
            app.tokens.refuse(token.serial);
        }
        drop(seat);
    } else {
        drop(seat);
    }
    let now = desk.broker.clock.now();
    let met = (flight.probe, work.claim.was_refused());
    let wave = app.observe(&work.host.name, &sent.answer.outcome, met, now);
    probe.0 = None;
    let attempt = Attempt {
        began_at: sent.began_at,
        asks: work.claim.record.asked(),
        generation: work.generation,
        outcome: sent.answer.outcome,
        trace: sent.answer.trace,
        ms_cv: sent.push.ms_cv.as_str().into(),
        ttl: sent.push.ttl.duration(),
        wave,
    };
    desk.settle(work.claim, Job::Attempt(attempt));
}

async fn send(desk: &Desk, work: &Work, (app, token): (&App, &Token)) -> Sent {
    let broker = &desk.broker;
    let (began, began_at) = (Instant::now(), broker.clock.now());
    let longest = began_at
        .saturating_add(broker.rules.ttl_max)
        .unwrap_or(Timestamp::MAX);
    let push = RawPush {
        payload: broker.settings.payload.clone(),
        ttl: Ttl::until(work.deadline.min(longest), began_at),
        priority: broker.settings.priority,
        ms_cv: MsCv::from_random(rand::random()),
    };
    let notification = Notification {
        uri: work.uri.clone(),
        bearer: token.bearer.clone(),
        push: push.clone(),
    };
    let answer = desk.wns.send(notification, began_at).await;
    let took = began.elapsed();
    let accepted = matches!(answer.outcome, Outcome::Accepted { .. });
    work.host
        .heard(!matches!(answer.outcome, Outcome::Unavailable { .. }), took);
    let finished = AttemptFinished {
        device: &work.claim.key,
        class: work.class,
        host: &work.host.name,
        // Only failures are told with their channel.
        channel: if accepted {
            UriHash::from_bytes([0; 8])
        } else {
            work.uri.hash(&broker.settings.hash_key)
        },
        outcome: &answer.outcome,
        trace: &answer.trace,
        ms_cv: &push.ms_cv,
        traces: &work.traces,
        began_at,
        took,
    };
    broker
        .telemetry
        .attempt_finished(&app.metrics, &finished, broker.clock.now(), Instant::now());
    Sent {
        began_at,
        answer,
        push,
    }
}

/// Waits for a newer token and for the leave to send once more, holding nothing that others need meanwhile. None if there is
/// no token, if the app must not send now, or if it has become too late.
async fn second_seat(desk: &Desk, work: &Work, flight: &Flight) -> Option<(Arc<Token>, Seat)> {
    let app = &desk.broker.apps[flight.app];
    let refused = flight.token.serial;
    app.tokens.newer(refused, work.claim.start_by).await?;
    if !app.limiter.taken(work.claim.start_by).await {
        return None;
    }
    let wire = desk.wire.clone().acquire_owned().await.ok()?;
    let now = desk.broker.clock.now();
    let token = match app.allowance(now) {
        Allowance::Free(token) => token,
        Allowance::Probe(token) if flight.probe => token,
        Allowance::Probe(_) | Allowance::Shut(_) => return None,
    };
    let goes = !work.is_late(now) && token.serial > refused;
    let seat = Seat {
        _wire: wire,
        _host: work.host.enter(),
        _app: desk.broker.telemetry.attempt_started(&app.metrics),
    };
    goes.then_some((token, seat))
}
