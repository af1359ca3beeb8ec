//! Counters: most follow from the records; those that only grow, or count what was never a record, are moved by what they lack.

use super::{CopyError, Copying};
use crate::{
    domain::{
        counter::{Counter, Moves},
        id::{DeviceId, DeviceKey, TenantId},
    },
    ports::{
        error::StoreError,
        records::{Change, Expect, Item, Placement},
    },
};

/// Counters moved at a time.
const MOVES_MAX: usize = 128;
/// No console has a device of this name: it is what the moved counters are put down to.
const NOBODY: &str = "~store-copy~";

impl Copying {
    /// Moves the counters of a tenant to what they are in the source.
    pub(super) async fn counters(&self, tenant: &TenantId) -> Result<(), CopyError> {
        let wanted = self.source.counters(tenant, "").await;
        let mut lacking = wanted.map_err(CopyError::source)?;
        let there = self.target.counters(tenant, "").await;
        for (name, count) in there.map_err(CopyError::target)? {
            *lacking.entry(name).or_default() -= count;
        }
        let lacking: Vec<(String, i64)> = lacking.into_iter().filter(|(_, by)| *by != 0).collect();
        for part in lacking.chunks(MOVES_MAX) {
            let mut moves = Moves::default();
            for (name, by) in part {
                let counter: Counter = name.parse().map_err(|_| unknown(tenant, name))?;
                moves.add(counter, *by);
            }
            let device = DeviceId::new(NOBODY).expect("the name is of the alphabet");
            let item = Item {
                key: DeviceKey::new(tenant.clone(), device),
                expect: Expect::Absent,
                lease: None,
                change: Change::Keep,
                placement: Placement::default(),
                moves,
                lists: Vec::new(),
                events: Vec::new(),
            };
            self.commit(vec![item]).await?;
        }
        Ok(())
    }
}

fn unknown(tenant: &TenantId, name: &str) -> CopyError {
    CopyError::source(StoreError::Damaged {
        detail: format!("the counter {name} of tenant {tenant} is of a newer broker"),
    })
}
