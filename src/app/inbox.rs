//! Starts what reads and writes the streams of consoles, if there are any.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Ground;
use crate::{
    config::Config,
    inbox::{Inbox, LEASE, Parts, Running, Settings},
    ports::streams::Streams,
    service::command::push::Lifetimes,
    telemetry::ActorKind,
};

/// Starts it on the current arbiter; `None` where the configuration names no tenants.
pub(super) fn start(
    ground: &Ground,
    config: &Config,
    streams: Option<Arc<dyn Streams>>,
    broker: &str,
) -> Option<Running> {
    let settings = Settings {
        broker: broker.to_owned(),
        tenants: config.streams.tenants.clone(),
        outbox: config.streams.outbox,
        message_bytes_max: config.streams.message_bytes_max as usize,
        dead_letters_max: config.streams.dead_letters_max,
        outbox_length_max: config.streams.outbox_length_max,
        lifetimes: Lifetimes {
            default: config.limits.push_deadline,
            max: config.limits.deadline_max,
        },
        lease: LEASE,
    };
    let parts = Parts {
        streams: streams?,
        desk: ground.desk.clone(),
        hosts: config.wns.hosts.clone(),
        settings: Arc::new(settings),
        stop: CancellationToken::new(),
    };
    let metrics = parts.desk.telemetry.actor(ActorKind::Inbox, Instant::now());
    Some(Inbox::new(parts, metrics).start(ground.watch.clone()))
}
