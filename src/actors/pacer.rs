//! Keeps an app's pace and what stands in its way, together with the other brokers.
//!
//! Owns the pace controller. What dispatchers report takes effect in the [`App`] at once; the pacer writes it to the app's
//! document, tells the app's tenants, and takes up what others have written. After a restart it reads the document again,
//! and until it has, nothing is sent.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::{app::App, broker::Broker, decisions::decided, supervise::live, tokens::Standing};
use crate::{
    domain::{
        app_state::{AppState, Change, Decided},
        event::{Event, EventKind},
        pace::PaceController,
    },
    ports::{
        documents::{Document, Precondition, Put},
        error::StoreError,
    },
    service::channels::revive,
    telemetry::ActorMetrics,
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// How often the pace is adapted.
const TICK: Duration = Duration::from_secs(1);
/// When to try again after the store failed.
const RETRY: Duration = Duration::from_millis(250);
/// How often a change is made anew after another broker was faster.
const ROUNDS_MAX: usize = 16;

/// Keeps the pace of one app.
#[derive(Clone)]
pub struct Pacer {
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Whose pace.
    pub app: Arc<App>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for Pacer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, keep(self.clone()));
    }
}

impl Supervised for Pacer {}

/// The name of the document that brokers keep of an app.
#[must_use]
pub fn document_name(app: &App) -> String {
    format!("app/{}/state", app.settings.id)
}

async fn keep(pacer: Pacer) {
    let Pacer { broker, app, .. } = &pacer;
    let mut documents = broker.store.changed();
    let mut untold = Vec::new();
    let mut decided = loop {
        match synchronise(&pacer, &mut untold).await {
            Ok(decided) => break decided,
            Err(error) => broker.unreadable(&error),
        }
        sleep(RETRY).await;
    };
    let limit = app.standing().0.limit;
    let mut controller = PaceController::new(
        app.settings.pace.decided(&decided),
        limit,
        broker.clock.now(),
    );
    let mut started = app.limiter.started();
    let mut tick = Instant::now() + TICK;
    let mut dirty = false;
    let mut told = None;
    loop {
        pacer.metrics.progressed(Instant::now());
        told = tell_pace(&pacer, &controller, told);
        tokio::select! {
            () = sleep_until(tick) => {
                let now_started = app.limiter.started();
                controller.tick(broker.clock.now(), now_started - started);
                started = now_started;
                tick = Instant::now() + TICK;
                app.look_for_silence();
            }
            () = app.changed() => dirty = true,
            _ = documents.changed() => dirty = true,
        }
        dirty |= note_ends(app, &decided, broker.clock.now());
        if !dirty && untold.is_empty() && app.healing().is_none() {
            continue;
        }
        match renew(&pacer, &mut untold).await {
            Ok(now) => {
                dirty = false;
                follow(&pacer, &mut controller, (&mut decided, now));
            }
            Err(error) => {
                broker.unreadable(&error);
                sleep(RETRY).await;
            }
        }
    }
}

/// Lets everybody know the pace, if it has changed.
fn tell_pace(pacer: &Pacer, controller: &PaceController, told: Option<f64>) -> Option<f64> {
    let Pacer { broker, app, .. } = pacer;
    let pace = controller.per_second();
    if told != Some(pace) {
        app.set_pace(pace);
        let ceiling = controller.ceiling_per_second();
        broker.telemetry.pace_changed(&app.metrics, pace, ceiling);
    }
    Some(pace)
}

async fn renew(pacer: &Pacer, untold: &mut Vec<Event>) -> Result<Decided, StoreError> {
    let decided = synchronise(pacer, untold).await?;
    heal(pacer).await?;
    Ok(decided)
}

/// Takes back the marks of channels that were made in a hold which a probe has ended: they were the app's fault.
async fn heal(pacer: &Pacer) -> Result<(), StoreError> {
    let Pacer { broker, app, .. } = pacer;
    let Some(since) = app.healing() else {
        return Ok(());
    };
    let desk = broker.desk();
    for tenant in broker.directory.tenants_of(&app.settings.id).await? {
        revive(&desk, &tenant, since).await?;
    }
    app.healed(since);
    Ok(())
}

/// Notes that a throttle is over, by time or by hand, and that the clock was set back. Returns whether there was anything to note.
fn note_ends(app: &App, decided: &Decided, now: Timestamp) -> bool {
    let (state, _) = app.standing();
    let over = state
        .throttle
        .as_ref()
        .is_some_and(|t| t.until <= now || decided.ended(t.since))
        || state.hold.as_ref().is_some_and(|h| decided.ended(h.since));
    let look = over || state.is_ahead(now);
    if look {
        app.note(
            Change::Looked {
                resumed_at: decided.resumed_at,
            },
            now,
        );
    }
    look
}

/// Adapts the pace to what was learnt and decided, and lets the dispatchers look.
fn follow(pacer: &Pacer, controller: &mut PaceController, (old, new): (&mut Decided, Decided)) {
    let Pacer { broker, app, .. } = pacer;
    if *old != new {
        if old.resumed_at != new.resumed_at {
            app.forget_hosts();
            if !matches!(*app.tokens.standing(), Standing::Granted) {
                // Whoever lets an app go on has mended its credential, or wants to know that it is not mended yet.
                app.tokens.want();
            }
        }
        controller.rebound(app.settings.pace.decided(&new), broker.clock.now());
        *old = new;
    }
    if let Some(limit) = app.standing().0.limit {
        controller.adopt(limit);
    }
    broker.ready.ring_all();
}

/// Writes what has happened to the app's document, takes up what others wrote, and tells the tenants.
async fn synchronise(pacer: &Pacer, untold: &mut Vec<Event>) -> Result<Decided, StoreError> {
    let Pacer { broker, app, .. } = pacer;
    let decided = decided(&*broker.store, &app.settings.id).await?;
    let decided = decided.without_ahead(broker.clock.now());
    for _ in 0..ROUNDS_MAX {
        let kept = broker.store.get(&document_name(app)).await?;
        let mut state = read(app, kept.as_ref())?;
        let before = state.clone();
        let pending = app.pending();
        let mut events = Vec::new();
        for (change, at) in &pending {
            if let Some(kind) = state.apply(change, *at, &app.settings.probing) {
                events.push(event(app, &state, (kind, *at)));
            }
        }
        if state != before && !put(pacer, &state, kept.as_ref()).await? {
            continue;
        }
        app.synchronised(state, decided, pending.len());
        untold.extend(events);
        tell(pacer, untold).await?;
        return Ok(decided);
    }
    Err(StoreError::Unavailable {
        detail: format!(
            "the state of app {} changed {ROUNDS_MAX} times meanwhile",
            app.settings.id
        ),
        retry_after: None,
    })
}

fn read(app: &App, kept: Option<&Document>) -> Result<AppState, StoreError> {
    let Some(document) = kept else {
        return Ok(AppState::default());
    };
    serde_json::from_slice(&document.bytes).map_err(|error| StoreError::Damaged {
        detail: format!("document {}: {error}", document_name(app)),
    })
}

async fn put(pacer: &Pacer, state: &AppState, kept: Option<&Document>) -> Result<bool, StoreError> {
    let bytes = serde_json::to_vec(state).expect("an app's state is plain JSON");
    let precondition = kept.map_or(Precondition::Absent, |d| Precondition::Version(d.version));
    let name = document_name(&pacer.app);
    let put = pacer
        .broker
        .store
        .put(&name, Bytes::from(bytes), precondition, None)
        .await?;
    Ok(matches!(put, Put::Done(_)))
}

fn event(app: &App, state: &AppState, (kind, time): (EventKind, Timestamp)) -> Event {
    let mut event = Event::new(kind, time).with("app", app.settings.id.as_str());
    if let Some(throttle) = &state.throttle {
        event = event.with("until", throttle.until.to_string());
    }
    if let Some(hold) = &state.hold {
        event = event
            .with("cause", hold.reason.as_str())
            .with("since", hold.since.to_string());
    }
    event
}

/// Writes the events into the feeds of the app's tenants; what cannot be written now is kept for the next time.
async fn tell(pacer: &Pacer, untold: &mut Vec<Event>) -> Result<(), StoreError> {
    if untold.is_empty() {
        return Ok(());
    }
    let Pacer { broker, app, .. } = pacer;
    for tenant in broker.directory.tenants_of(&app.settings.id).await? {
        broker.store.append(&tenant, untold.clone()).await?;
    }
    untold.clear();
    Ok(())
}
