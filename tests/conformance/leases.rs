//! Cases of the leases port.

use reveille::ports::error::StoreError;
use reveille::ports::records::{Committed, Fence, Urgency};

use crate::{backend::Backend, items::*};

pub(crate) async fn one_owner_holds_a_lease(b: &mut dyn Backend) {
    let (store, other, term) = (b.store(), b.other(), b.tick() * 6);

    let first = store.hold("janitor", "broker-1", term).await.unwrap();
    let second = other.hold("janitor", "broker-2", term).await.unwrap();
    let another = other.hold("campaign:c", "broker-2", term).await.unwrap();

    assert!(first.is_some() && another.is_some());
    assert_eq!(second, None);
}

pub(crate) async fn prolonging_keeps_the_epoch(b: &mut dyn Backend) {
    let (store, term) = (b.store(), b.tick() * 6);
    let first = store.hold("janitor", "broker-1", term).await.unwrap();

    for _ in 0..3 {
        b.pass(b.tick() * 3).await;
        assert_eq!(
            store.hold("janitor", "broker-1", term).await.unwrap(),
            first
        );
    }

    assert_eq!(
        b.other().hold("janitor", "broker-2", term).await.unwrap(),
        None
    );
}

pub(crate) async fn the_epoch_rises_with_each_owner(b: &mut dyn Backend) {
    let (store, term) = (b.store(), b.tick() * 3);
    let mut last = store.hold("janitor", "broker-0", term).await.unwrap();
    for n in 1..4 {
        let owner = format!("broker-{}", n % 2);
        b.pass(term + b.tick()).await;
        let next = b.other().hold("janitor", &owner, term).await.unwrap();
        assert!(next.is_some() && next > last, "{next:?} after {last:?}");
        last = next;
    }
}

pub(crate) async fn a_released_lease_is_free(b: &mut dyn Backend) {
    let (store, term) = (b.store(), b.tick() * 60);
    let first = store.hold("janitor", "broker-1", term).await.unwrap();

    store.release("janitor", "broker-2").await.unwrap();
    store.release("unknown", "broker-1").await.unwrap();
    assert_eq!(store.hold("janitor", "broker-2", term).await.unwrap(), None);
    store.release("janitor", "broker-1").await.unwrap();
    let second = store.hold("janitor", "broker-2", term).await.unwrap();

    assert!(second > first);
    assert_eq!(store.hold("janitor", "broker-1", term).await.unwrap(), None);
}

pub(crate) async fn the_epoch_rises_across_a_crash(b: &mut dyn Backend) {
    let term = b.tick() * 3;
    let first = b.store().hold("janitor", "broker-1", term).await.unwrap();

    b.crash().await;
    b.pass(term + b.tick()).await;
    let second = b.store().hold("janitor", "broker-2", term).await.unwrap();

    assert!(first.is_some() && second > first);
}

pub(crate) async fn a_former_owner_is_fenced(b: &mut dyn Backend) {
    let (store, term) = (b.store(), b.tick() * 3);
    let fence = |epoch: Option<u64>| Fence {
        name: "campaign:contoso:c".to_owned(),
        epoch: epoch.unwrap(),
    };
    let former = fence(store.hold("c", "broker-1", term).await.unwrap());
    store.raise_fence(&former).await.unwrap();
    b.pass(term + b.tick()).await;
    let owner = fence(b.other().hold("c", "broker-2", term).await.unwrap());
    b.other().raise_fence(&owner).await.unwrap();

    let late = store.commit(vec![create(&key("a"), 1)], Urgency::Open, Some(&former));
    let now = b.other();
    let held = now.commit(vec![create(&key("a"), 1)], Urgency::Open, Some(&owner));

    assert_eq!(late.await, Err(StoreError::Fenced));
    assert_eq!(held.await, Ok(vec![Committed::Done]));
}
