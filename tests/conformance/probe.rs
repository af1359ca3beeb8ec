//! Cases of the probe: how the store is, and its end.

use reveille::ports::{error::StoreError, queues::Want, records::Urgency};

use crate::{backend::Backend, items::*};

pub(crate) async fn a_well_store_says_what_it_is(b: &mut dyn Backend) {
    let health = b.store().probe().await.unwrap();

    assert!(!health.description.is_empty() && !health.durability.is_empty());
    assert!(!health.description.contains('\n'));
}

pub(crate) async fn a_closed_store_is_unavailable(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), direct(reveille::domain::queue::Lane::Normal));
    apply(&store, vec![create(&key("a"), 1)]).await;

    store.close().await.unwrap();

    let wants = [Want { queue, limit: 1 }];
    let answers = [
        store.read(&[key("a")]).await.err(),
        store
            .commit(vec![create(&key("b"), 1)], Urgency::Open, None)
            .await
            .err(),
        store.claim(&wants).await.err(),
        store.ready().await.err(),
        store.get("n").await.err(),
        store.probe().await.err(),
    ];
    for answer in answers {
        assert!(
            matches!(answer, Some(StoreError::Unavailable { .. })),
            "{answer:?}"
        );
    }
}

pub(crate) async fn a_closed_store_keeps_everything(b: &mut dyn Backend) {
    apply(&b.store(), vec![create(&key("a"), 1)]).await;
    b.store().close().await.unwrap();

    b.crash().await;

    assert_eq!(read_one(&b.store(), &key("a")).await, Some(stored(1)));
}
