//! Cases of the tally port.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::{join, join_all};
use reveille::{
    domain::{
        ask::Class,
        channel::ChannelKind,
        counter::{Counter, TargetState},
    },
    ports::Store,
};

use crate::{backend::Backend, items::*};

async fn nonzero(store: &Arc<dyn Store>, name: &str, prefix: &str) -> BTreeMap<String, i64> {
    let mut all = store.counters(&tenant(name), prefix).await.unwrap();
    all.retain(|_, count| *count != 0);
    all
}

pub(crate) async fn counters_are_read_by_prefix(b: &mut dyn Backend) {
    let store = b.store();
    let moving = create(&key("a"), 1)
        .moving(Counter::Channels(ChannelKind::Live), 5)
        .moving(Counter::Pushes(Class::Bulk), -2)
        .moving(Counter::Campaign(campaign("c"), TargetState::Open), 1)
        .moving(Counter::Campaign(campaign("c2"), TargetState::Open), 4);
    apply(&store, vec![moving]).await;
    let mut foreign = key("a");
    foreign.tenant = tenant("fabrikam");
    let moving = create(&foreign, 1).moving(Counter::Channels(ChannelKind::Live), 7);
    apply(&store, vec![moving]).await;

    let of = |pairs: &[(&str, i64)]| {
        let pairs = pairs.iter().map(|(name, n)| ((*name).to_owned(), *n));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let all = of(&[
        ("campaign.c.open", 1),
        ("campaign.c2.open", 4),
        ("channels.live", 5),
        ("pushes.bulk", -2),
    ]);
    assert_eq!(nonzero(&store, "contoso", "").await, all);
    let found = nonzero(&store, "contoso", "campaign.c.").await;
    assert_eq!(found, of(&[("campaign.c.open", 1)]));
    let found = nonzero(&store, "fabrikam", "").await;
    assert_eq!(found, of(&[("channels.live", 7)]));
    assert_eq!(nonzero(&store, "nobody", "").await, of(&[]));

    let names = ["fabrikam", "nobody", "contoso"].map(tenant);
    let mut found = store.counters_of(&names, "channels.").await.unwrap();
    found.iter_mut().for_each(|all| all.retain(|_, n| *n != 0));
    let channels = |count: i64| of(&[("channels.live", count)]);
    assert_eq!(found, [channels(7), of(&[]), channels(5)]);
}

pub(crate) async fn tenants_are_known_by_their_counters_and_events(b: &mut dyn Backend) {
    let store = b.store();
    assert_eq!(store.tenants().await.unwrap(), []);
    for name in ["fabrikam", "contoso", "a"] {
        let mut key = key("a");
        key.tenant = tenant(name);
        let moving = create(&key, 1).moving(Counter::Channels(ChannelKind::Live), 1);
        apply(&store, vec![moving]).await;
    }
    let told = event(&key("x"), 1);
    store.append(&tenant("told"), vec![told]).await.unwrap();

    let named = ["a", "contoso", "fabrikam", "told"].map(tenant);
    assert_eq!(store.tenants().await.unwrap(), named);
}

pub(crate) async fn concurrent_moves_add_up(b: &mut dyn Backend) {
    let store = b.store();
    let live = Counter::Channels(ChannelKind::Live);
    let commits = (0..50).map(|round| {
        let (store, live) = (store.clone(), live.clone());
        async move {
            let items = (0..20).map(|n| {
                let key = key(&format!("d{round}-{n}"));
                create(&key, 1).moving(live.clone(), 1)
            });
            apply(&store, items.collect()).await;
        }
    });

    join_all(commits).await;

    assert_eq!(count(&store, &live).await, 1_000);
}

pub(crate) async fn what_moves_together_is_seen_together(b: &mut dyn Backend) {
    let (store, reader) = (b.store(), b.other());
    let waiting = Counter::Campaign(campaign("c"), TargetState::Waiting);
    let open = Counter::Campaign(campaign("c"), TargetState::Open);
    let start = create(&key("a"), 1).moving(waiting.clone(), 500);
    apply(&store, vec![start]).await;

    let moving = async {
        for n in 1..100 {
            let step = replace(&key("a"), n, n + 1).moving(waiting.clone(), -1);
            apply(&store, vec![step.moving(open.clone(), 1)]).await;
        }
    };
    let reading = async {
        for _ in 0..100 {
            let counts = reader.counters(&contoso(), "campaign.c.").await.unwrap();
            assert_eq!(counts.values().sum::<i64>(), 500);
            tokio::task::yield_now().await;
        }
    };
    join(moving, reading).await;
}

pub(crate) async fn dropped_counters_are_forgotten_by_prefix(b: &mut dyn Backend) {
    let store = b.store();
    let moving = create(&key("a"), 1)
        .moving(Counter::Campaign(campaign("c"), TargetState::Open), 1)
        .moving(Counter::Campaign(campaign("c2"), TargetState::Open), 4);
    apply(&store, vec![moving]).await;

    store
        .drop_counters(&contoso(), "campaign.c.")
        .await
        .unwrap();

    let left = nonzero(&store, "contoso", "").await;
    assert_eq!(left, BTreeMap::from([("campaign.c2.open".to_owned(), 4)]));
}

pub(crate) async fn counters_survive_a_crash(b: &mut dyn Backend) {
    let (store, live) = (b.store(), Counter::Channels(ChannelKind::Live));
    let dead = Counter::Channels(ChannelKind::Dead);
    let items = keys(100);
    let items = items.iter().map(|k| create(k, 1).moving(live.clone(), 1));
    apply(&store, items.collect()).await;
    apply(&store, vec![keep(&key("d0000"), 1).moving(dead.clone(), 2)]).await;
    store
        .drop_counters(&contoso(), "channels.dead")
        .await
        .unwrap();
    apply(&store, vec![keep(&key("d0000"), 1).moving(dead.clone(), 3)]).await;
    drop(store);

    b.crash().await;

    assert_eq!(count(&b.store(), &live).await, 100);
    assert_eq!(count(&b.store(), &dead).await, 3);
}
