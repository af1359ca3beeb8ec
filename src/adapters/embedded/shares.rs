//! The shares port. One broker uses an embedded store, so shares live in memory; the arithmetic is the same for several.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::EmbeddedStore;
use crate::{
    domain::id::AppId,
    ports::{
        error::StoreError,
        shares::{Share, ShareRequest, Shares},
    },
};

/// What a broker asked for and has, until its term ends.
#[derive(Clone, Debug)]
struct Portion {
    pace: f64,
    demand: f64,
    /// The last grant, then former ones that are greater and still live, with their ends.
    grants: Vec<(f64, Instant)>,
}

impl Portion {
    fn is_live(&self, now: Instant) -> bool {
        self.grants.first().is_some_and(|(_, until)| *until > now)
    }

    fn greatest(&self, now: Instant) -> f64 {
        let live = self.grants.iter().filter(|(_, until)| *until > now);
        live.map(|(granted, _)| *granted).fold(0.0, f64::max)
    }
}

/// The portions of each app, by broker.
#[derive(Default)]
pub(super) struct Portions(HashMap<AppId, BTreeMap<String, Portion>>);

#[async_trait]
impl Shares for EmbeddedStore {
    async fn renew(
        &self,
        broker: &str,
        requests: &[ShareRequest],
        term: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        self.shared.side()?;
        let now = Instant::now();
        let mut portions = self
            .shares
            .lock()
            .expect("nothing panics while it holds this");
        let grant = |request: &ShareRequest| Share {
            app: request.app.clone(),
            per_second: portions.renew(broker, request, now, term),
        };
        Ok(requests.iter().map(grant).collect())
    }
}

impl Portions {
    fn renew(&mut self, broker: &str, request: &ShareRequest, now: Instant, term: Duration) -> f64 {
        let portions = self.0.entry(request.app.clone()).or_default();
        let former = portions.remove(broker);
        portions.retain(|_, portion| portion.is_live(now));
        let pace = portions
            .values()
            .map(|p| p.pace)
            .fold(request.pace_per_second, f64::min);
        let taken: f64 = portions.values().map(|p| p.greatest(now)).sum();
        let demands: Vec<f64> = portions.values().map(|p| p.demand).collect();
        let wanted = fair_part(pace, request.demand_per_second, &demands);
        let granted = wanted.min(pace - taken).max(0.0);
        let mut grants = vec![(granted, now + term)];
        for (before, until) in former.into_iter().flat_map(|former| former.grants) {
            let before = before.min(request.demand_per_second);
            if until > now && grants.last().is_none_or(|(least, _)| before > *least) {
                grants.push((before, until));
            }
        }
        let portion = Portion {
            pace: request.pace_per_second,
            demand: request.demand_per_second,
            grants,
        };
        portions.insert(broker.to_owned(), portion);
        granted
    }
}

/// What one gets of `pace` when nobody gets more than asked for and what is left is shared equally.
fn fair_part(pace: f64, demand: f64, others: &[f64]) -> f64 {
    let mut others = others.to_vec();
    others.sort_by(f64::total_cmp);
    let (mut left, mut heads) = (pace, others.len() + 1);
    for other in others {
        let equal = left / f64::from(u32::try_from(heads).unwrap_or(u32::MAX));
        if other >= equal || demand <= equal {
            return demand.min(equal);
        }
        left -= other;
        heads -= 1;
    }
    demand.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_leave_goes_to_who_can_use_it() {
        let cases = [
            (100.0, 900.0, vec![], 100.0),
            (100.0, 20.0, vec![], 20.0),
            (100.0, 900.0, vec![900.0], 50.0),
            (100.0, 900.0, vec![10.0], 90.0),
            (100.0, 900.0, vec![10.0, 900.0], 45.0),
            (100.0, 30.0, vec![900.0, 900.0], 30.0),
            (100.0, 40.0, vec![900.0, 900.0], 100.0 / 3.0),
        ];
        for (pace, demand, others, part) in cases {
            let got = fair_part(pace, demand, &others);
            assert!(
                (got - part).abs() < 1e-9,
                "{pace} {demand} {others:?}: {got}"
            );
        }
    }
}
