//! Shares of an app's pace: a hash of brokers for each app, all in one slot, so that one call renews all apps of a broker.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;

use super::{
    RedisStore,
    errors::damaged,
    script::{SHARE, ScriptCall},
    tick::Described,
    writes::Kind,
};
use crate::ports::{
    error::StoreError,
    shares::{Share, ShareRequest, Shares},
};

#[async_trait]
impl Shares for RedisStore {
    async fn renew(
        &self,
        broker: &str,
        requests: &[ShareRequest],
        term: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        self.core.open()?;
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let core = &self.core;
        let control = core.keys().control();
        let mut call = ScriptCall::new(&SHARE)
            .key(core.keys().own(control, "store"))
            .arg(broker)
            .arg(core.share_calls.fetch_add(1, Ordering::Relaxed).to_string())
            .arg(term.as_micros().to_string());
        for request in requests {
            call = call
                .key(core.keys().share(&request.app))
                .arg(amount(request.pace_per_second))
                .arg(amount(request.demand_per_second));
        }
        let answer = core.client.run(control, call).await;
        core.writes.note(Kind::Shares, &answer);
        let answer = answer?;
        let (grants, described): (Vec<f64>, Described) =
            redis::from_redis_value(answer).map_err(|_| damaged("shares"))?;
        core.note_description(described);
        let shares = requests.iter().zip(grants);
        Ok(shares
            .map(|(request, per_second)| Share {
                app: request.app.clone(),
                per_second,
            })
            .collect())
    }
}

/// A rate as text, rounded down; what is not a rate is none.
fn amount(per_second: f64) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return "0".to_owned();
    }
    format!("{:.6}", (per_second * 1e6).floor() / 1e6)
}
