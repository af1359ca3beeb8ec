//! Keeps an app's access token: fetches it, renews it ahead of its end, and again when WNS refuses it.
//!
//! Owns nothing but the time of its next request; the token lies in [`Tokens`](super::tokens::Tokens), where dispatchers read it without asking. It
//! makes one request at a time, so there is never more than one in flight. After a restart it fetches again only if there is
//! no good token. A refused credential is tried again every hour and when somebody asks, an outage with backoff; a token that is
//! still valid goes on serving meanwhile. When it ends after a refusal, the app is stopped.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message, Supervised};
use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use super::{app::App, ready::ReadyView, supervise::live};
use crate::{
    domain::{schedule::Backoff, wns::token::TokenFailure},
    ports::{clock::Clock, wns::TokenSource},
    telemetry::ActorMetrics,
};

/// Messages that may wait.
pub const CAPACITY: usize = 16;
/// How often a refused credential is tried again.
const REFUSED_RETRY: Duration = Duration::from_hours(1);
/// Least time between two requests, whatever happens.
const GAP_MIN: Duration = Duration::from_secs(1);
/// Longest time between two signs of life.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Fetches a token now, even if there is one or the credential was refused.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RefreshToken;

/// What a keeper works with.
#[derive(Clone)]
pub struct TokenKeeper {
    /// Whose token.
    pub app: Arc<App>,
    /// Where it comes from.
    pub source: Arc<dyn TokenSource>,
    /// Who waits for a token.
    pub ready: Arc<ReadyView>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for TokenKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, keep(self.clone()));
    }
}

impl Supervised for TokenKeeper {}

impl Handler<RefreshToken> for TokenKeeper {
    type Result = ();

    fn handle(&mut self, _: RefreshToken, _: &mut Context<Self>) {
        self.app.tokens.want();
    }
}

async fn keep(keeper: TokenKeeper) {
    let tokens = &keeper.app.tokens;
    let mut failures = 0;
    let mut next = tokens
        .usable()
        .map_or_else(Instant::now, |token| token.renew);
    let mut last: Option<Instant> = None;
    loop {
        wait(&keeper, next).await;
        let refused = failures == 0 && tokens.refused();
        if Instant::now() < next && !refused && !tokens.take_by_hand() {
            continue;
        }
        if let Some(last) = last {
            sleep_until(last + GAP_MIN).await;
        }
        last = Some(Instant::now());
        next = match fetch(&keeper).await {
            Ok(renew) => {
                failures = 0;
                renew
            }
            Err(failure) => {
                failures += 1;
                Instant::now() + pause(&failure, failures, rand::random())
            }
        };
    }
}

/// Waits until `next`, or until somebody wants a token.
async fn wait(keeper: &TokenKeeper, next: Instant) {
    loop {
        let now = Instant::now();
        keeper.metrics.progressed(now);
        keeper.app.look_at_token();
        if now >= next {
            return;
        }
        tokio::select! {
            () = sleep_until(next.min(now + IDLE_MAX)) => {}
            () = keeper.app.tokens.wanted() => return,
        }
    }
}

async fn fetch(keeper: &TokenKeeper) -> Result<Instant, TokenFailure> {
    let TokenKeeper {
        app, source, clock, ..
    } = keeper;
    let (asked, asked_at) = (Instant::now(), clock.now());
    match source.fetch().await {
        Ok(reply) => {
            let waited_for = app.tokens.usable().is_none();
            let token = app.token_granted(&reply, asked, asked_at);
            if waited_for {
                keeper.ready.ring_all();
            }
            Ok(token.renew)
        }
        Err(failure) => {
            app.token_failed(&failure, clock.now());
            Err(failure)
        }
    }
}

/// How long to wait after the `failures`-th failure in a row.
fn pause(failure: &TokenFailure, failures: u16, jitter: f64) -> Duration {
    let outage = Backoff::new(SignedDuration::from_secs(1), SignedDuration::from_mins(5))
        .expect("one second is less than five minutes");
    match failure {
        TokenFailure::Credential { .. } => REFUSED_RETRY,
        TokenFailure::Unavailable { retry_after, .. } => {
            let backoff = outage.delay(failures.saturating_sub(1), jitter);
            let backoff = Duration::try_from(backoff).unwrap_or(REFUSED_RETRY);
            backoff.max(retry_after.unwrap_or(Duration::ZERO))
        }
    }
}
