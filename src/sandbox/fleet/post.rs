//! Posts check-ins to the broker, again and again until it takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{StatusCode, header::RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, mpsc};

use super::{
    FleetConfig,
    outbox::{Batch, Slot},
};
use crate::sandbox::world::World;

/// Requests at the same time.
const POSTMEN: usize = 4;
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// First wait before a repetition; doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// One who knows the broker's address.
#[derive(Clone)]
pub(super) struct Postman {
    world: Arc<World>,
    client: Client,
    config: FleetConfig,
}

/// What to do with a batch that was posted.
enum Verdict {
    Delivered,
    Refused(StatusCode),
    Again { not_before: Option<Duration> },
}

impl Postman {
    /// # Errors
    /// The client's error when it cannot be set up.
    pub(super) fn new(world: Arc<World>, config: FleetConfig) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(REQUEST_MAX)
            .no_proxy()
            .pool_max_idle_per_host(POSTMEN)
            .build()?;
        Ok(Self {
            world,
            client,
            config,
        })
    }

    /// Sets the postmen to work, on the runtime of the caller.
    pub(super) fn start(self) -> Slot {
        let (batches, inbox) = mpsc::channel(POSTMEN);
        let inbox = Arc::new(Mutex::new(inbox));
        let on_the_way = Arc::new(AtomicUsize::new(0));
        for _ in 0..POSTMEN {
            let (postman, inbox, on_the_way) = (self.clone(), inbox.clone(), on_the_way.clone());
            tokio::spawn(async move {
                while let Some(batch) = next(&inbox).await {
                    postman.deliver(&batch).await;
                    on_the_way.fetch_sub(batch.lines, Relaxed);
                }
            });
        }
        Slot {
            batches,
            on_the_way,
        }
    }

    async fn deliver(&self, batch: &Batch) {
        let counts = &self.world.fleet_counts;
        let mut wait = WAIT_FIRST;
        loop {
            match judge(self.request(batch).send().await) {
                Verdict::Delivered => {
                    counts.delivered.fetch_add(batch.lines as u64, Relaxed);
                    return;
                }
                Verdict::Refused(status) => {
                    tracing::warn!(lines = batch.lines, %status, "the broker refused check-ins of the sandbox's devices");
                    counts.refused.fetch_add(batch.lines as u64, Relaxed);
                    return;
                }
                Verdict::Again { not_before } => {
                    counts.retries.fetch_add(1, Relaxed);
                    tokio::time::sleep(not_before.unwrap_or(wait).min(WAIT_MAX)).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
            }
        }
    }

    fn request(&self, batch: &Batch) -> RequestBuilder {
        let tenant = &self.world.app(batch.app).tenant;
        let url = format!(
            "{}/v1/tenants/{tenant}/check-ins",
            self.config.url.trim_end_matches('/')
        );
        let request = self
            .client
            .post(url)
            .header("content-type", "application/x-ndjson")
            .body(batch.body.clone());
        match &self.config.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }
}

async fn next(inbox: &Mutex<mpsc::Receiver<Batch>>) -> Option<Batch> {
    inbox.lock().await.recv().await
}

fn judge(posted: reqwest::Result<Response>) -> Verdict {
    let Ok(reply) = posted else {
        return Verdict::Again { not_before: None };
    };
    let status = reply.status();
    if status.is_success() {
        return Verdict::Delivered;
    }
    let again = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if !again {
        return Verdict::Refused(status);
    }
    let seconds = reply
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Verdict::Again {
        not_before: seconds.map(Duration::from_secs),
    }
}
