//! The leases port. Owner and epoch are durable; the term is not, so after a restart every lease is free.

use std::time::Duration;

use async_trait::async_trait;

use super::{EmbeddedStore, ops::Op, state::Owner};
use crate::ports::{error::StoreError, leases::Leases, records::Urgency};

#[async_trait]
impl Leases for EmbeddedStore {
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let now = self.shared.moment().instant;
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.change(format!("lease/{name}"), Urgency::Settle, move |stage| {
            let mut state = stage.shared.state();
            let former = state.owners.get(&name);
            let epoch = match former {
                None => 1,
                Some(former) if former.name == owner => former.epoch,
                Some(former) if former.until.is_some_and(|until| until > now) => return Ok(None),
                Some(former) => former.epoch + 1,
            };
            if former.is_none_or(|former| former.epoch != epoch) {
                let (name, owner) = (&name, &owner);
                stage.batch.add(&Op::Lease { name, owner, epoch });
            }
            let until = Some(now + term);
            let holder = Owner {
                name: owner,
                epoch,
                until,
            };
            state.owners.insert(name, holder);
            Ok(Some(epoch))
        })
        .await
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        self.shared.side()?;
        let mut state = self.shared.state();
        let held = state.owners.get_mut(name);
        if let Some(held) = held.filter(|holder| holder.name == owner) {
            held.until = None;
        }
        Ok(())
    }
}
