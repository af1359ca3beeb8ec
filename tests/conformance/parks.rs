//! Cases of the queues port about parking: whole queues in and out of service.

use std::collections::HashSet;

use reveille::{
    domain::queue::{Flow, Lane, Queue},
    ports::queues::Selector,
};

use crate::{backend::Backend, items::*};

fn whole() -> Selector {
    let tenant = contoso();
    Selector { tenant, flow: None }
}

fn only(flow: Flow) -> Selector {
    let (tenant, flow) = (contoso(), Some(flow));
    Selector { tenant, flow }
}

fn only_campaign(name: &str) -> Selector {
    only(Flow::Campaign(campaign(name)))
}

/// Puts one device that is due now into each queue.
async fn fill_queues(b: &mut dyn Backend, queues: &[Queue]) {
    let now = b.now().await;
    for (n, queue) in queues.iter().enumerate() {
        let key = key(&format!("in-{n}"));
        apply(&b.store(), vec![create(&key, 1).to(queue, now)]).await;
    }
}

async fn ready_queues(b: &mut dyn Backend) -> HashSet<Queue> {
    let ready = b.other().ready().await.unwrap();
    ready.into_iter().map(|r| r.queue).collect()
}

pub(crate) async fn a_parked_queue_is_neither_ready_nor_claimable(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), flow_of("c", Lane::Bulk));
    fill_queues(b, std::slice::from_ref(&queue)).await;

    store.park(&only_campaign("c")).await.unwrap();

    assert_eq!(ready_queues(b).await, HashSet::new());
    assert_eq!(claim(&b.other(), &queue, 10).await, vec![]);
    let census = store.census().await.unwrap();
    assert_eq!(census.len(), 1);
    let held = &census[0];
    assert_eq!((&held.ready.queue, held.entries), (&queue, 1));
    let page = store.browse(&queue, None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

pub(crate) async fn what_comes_while_parked_stays_parked(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), flow_of("c", Lane::Bulk));
    store.park(&only_campaign("c")).await.unwrap();

    let now = b.now().await;
    let waiting = create(&key("in"), 1).to(&queue, now);
    apply(&store, vec![waiting]).await;
    assert_eq!(claim(&store, &queue, 10).await, vec![]);
    assert_eq!(ready_queues(b).await, HashSet::new());

    let mut wakes = b.other().wakes();
    store.unpark(&only_campaign("c")).await.unwrap();
    let wake = soon(wakes.recv()).await.unwrap();
    assert_eq!(wake.queue, queue);
    assert_eq!(wake.earliest.as_millisecond(), now.as_millisecond());
    assert_eq!(claim(&store, &queue, 10).await.len(), 1);
}

pub(crate) async fn timer_lanes_are_never_parked(b: &mut dyn Backend) {
    let timers = [direct(Lane::Timer), flow_of("c", Lane::Timer)];
    fill_queues(b, &timers).await;
    b.store().park(&whole()).await.unwrap();
    b.store().park(&only_campaign("c")).await.unwrap();

    assert_eq!(ready_queues(b).await, HashSet::from(timers.clone()));
    for queue in &timers {
        assert_eq!(claim(&b.store(), queue, 10).await.len(), 1);
    }
}

pub(crate) async fn a_selector_parks_its_own_flow_only(b: &mut dyn Backend) {
    let parked = [flow_of("c", Lane::Bulk), flow_of("c", Lane::Repush)];
    let foreign = Queue {
        tenant: tenant("fabrikam"),
        ..flow_of("c", Lane::Bulk)
    };
    let served = [direct(Lane::Bulk), flow_of("d", Lane::Bulk), foreign];
    fill_queues(b, &[parked.as_slice(), &served[..2]].concat()).await;
    let (now, mut stranger) = (b.now().await, key("stranger"));
    stranger.tenant = tenant("fabrikam");
    apply(&b.store(), vec![create(&stranger, 1).to(&served[2], now)]).await;

    b.store().park(&only_campaign("c")).await.unwrap();

    assert_eq!(ready_queues(b).await, HashSet::from(served.clone()));
    b.store().park(&only(Flow::Direct)).await.unwrap();
    assert_eq!(ready_queues(b).await, served[1..].iter().cloned().collect());
    b.store().park(&whole()).await.unwrap();
    assert_eq!(ready_queues(b).await, served[2..].iter().cloned().collect());
}

pub(crate) async fn selectors_are_taken_back_one_by_one(b: &mut dyn Backend) {
    let queues = [flow_of("c", Lane::Bulk), direct(Lane::Bulk)];
    fill_queues(b, &queues).await;
    let store = b.store();
    store.park(&only_campaign("c")).await.unwrap();
    store.park(&whole()).await.unwrap();
    store.park(&whole()).await.unwrap();

    store.unpark(&only(Flow::Direct)).await.unwrap();
    assert_eq!(ready_queues(b).await, HashSet::new());
    store.unpark(&whole()).await.unwrap();
    assert_eq!(ready_queues(b).await, queues[1..].iter().cloned().collect());
    store.unpark(&only_campaign("c")).await.unwrap();
    assert_eq!(ready_queues(b).await, queues.into_iter().collect());
}

pub(crate) async fn what_was_claimed_before_a_park_may_still_be_settled(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), flow_of("c", Lane::Bulk));
    fill_queues(b, std::slice::from_ref(&queue)).await;
    let claimed = claim_one(&store, &queue).await;
    store.park(&only_campaign("c")).await.unwrap();

    let settle = replace(&claimed.key, 1, 2).under(&claimed.lease);
    apply(&store, vec![settle.to(&queue, b.now().await)]).await;

    assert_eq!(claim(&store, &queue, 10).await, vec![]);
    store.unpark(&only_campaign("c")).await.unwrap();
    assert_eq!(claim_one(&store, &queue).await.stored, stored(2));
}

pub(crate) async fn a_lease_that_ends_while_parked_stays_parked(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), flow_of("c", Lane::Bulk));
    fill_queues(b, std::slice::from_ref(&queue)).await;
    claim_one(&store, &queue).await;
    store.park(&whole()).await.unwrap();

    b.pass(b.lease() + b.tick()).await;

    assert_eq!(ready_queues(b).await, HashSet::new());
    assert_eq!(claim(&store, &queue, 10).await, vec![]);
    store.unpark(&whole()).await.unwrap();
    claim_one(&store, &queue).await;
}

pub(crate) async fn a_park_survives_a_crash(b: &mut dyn Backend) {
    let queues = [flow_of("c", Lane::Bulk), direct(Lane::Bulk)];
    fill_queues(b, &queues).await;
    b.store().park(&only_campaign("c")).await.unwrap();
    b.store().park(&whole()).await.unwrap();
    b.store().unpark(&whole()).await.unwrap();

    b.crash().await;

    assert_eq!(ready_queues(b).await, HashSet::from([direct(Lane::Bulk)]));
}
