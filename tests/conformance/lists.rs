//! Cases of the lists port.

use std::sync::Arc;

use reveille::{
    domain::counter::{Counter, TargetState},
    ports::{
        Store,
        error::StoreError,
        lists::Member,
        records::{Committed, ListName},
    },
};

use crate::{backend::Backend, items::*};

fn waiting() -> ListName {
    ListName::Waiting(campaign("c"))
}

fn member(name: &str, score: i64, text: &str) -> Member {
    let (device, text) = (device(name), text.to_owned());
    Member {
        device,
        score,
        text,
    }
}

async fn members_of(store: &Arc<dyn Store>, list: &ListName, limit: usize) -> Vec<Member> {
    let tenant = &contoso();
    let all = all_pages(|cursor| async move {
        let page = store.members(tenant, list, cursor.as_deref(), limit);
        page.await.unwrap()
    });
    all.await
}

/// Sorts what a store of several shards may give in another order.
fn in_order(mut members: Vec<Member>, b: &dyn Backend) -> Vec<Member> {
    if b.shards() > 1 {
        members.sort_by(|x, y| (x.score, &x.device).cmp(&(y.score, &y.device)));
    }
    members
}

pub(crate) async fn members_are_ordered_by_score_and_device(b: &mut dyn Backend) {
    let store = b.store();
    let given = [
        ("b", 5),
        ("a", 5),
        ("z", -3),
        ("m", 0),
        ("y", i64::from(i32::MAX) * 1_000),
        ("c", 4),
    ];
    let items = given.map(|(name, score)| enlist(&key(name), &waiting(), score, name));
    apply(&store, items.into()).await;

    for limit in [1_024, 2, 1] {
        let found = in_order(members_of(&store, &waiting(), limit).await, b);
        let names: Vec<_> = found.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(names, ["z", "m", "c", "a", "b", "y"]);
    }
    let unknown = ListName::Waiting(campaign("unknown"));
    assert_eq!(members_of(&store, &unknown, 5).await, vec![]);
}

pub(crate) async fn a_put_changes_score_and_text(b: &mut dyn Backend) {
    let store = b.store();
    let long = "ü".repeat(128);
    apply(
        &store,
        vec![create(&key("a"), 1).listed(&waiting(), 1, "one")],
    )
    .await;
    apply(
        &store,
        vec![create(&key("b"), 1).listed(&waiting(), 2, "two")],
    )
    .await;

    apply(
        &store,
        vec![keep(&key("a"), 1).listed(&waiting(), 3, &long)],
    )
    .await;
    apply(&store, vec![keep(&key("b"), 1).listed(&waiting(), 2, "")]).await;

    let found = in_order(members_of(&store, &waiting(), 10).await, b);
    assert_eq!(found, [member("b", 2, ""), member("a", 3, &long)]);
}

pub(crate) async fn a_removed_member_is_gone(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1).listed(&waiting(), 1, "")]).await;

    apply(&store, vec![keep(&key("a"), 1).unlisted(&waiting())]).await;
    apply(&store, vec![keep(&key("a"), 1).unlisted(&waiting())]).await;

    assert_eq!(members_of(&store, &waiting(), 10).await, vec![]);
}

pub(crate) async fn lists_are_kept_apart(b: &mut dyn Backend) {
    let store = b.store();
    let lists = [
        ListName::Channels("dead"),
        ListName::Channels("silent"),
        ListName::Waiting(campaign("dead")),
        ListName::Targets(campaign("dead")),
        ListName::Targets(campaign("dead2")),
    ];
    // targets have no order but that of their devices
    let scores = [7, 8, 9, 0, 0];
    let mut stranger = key("a");
    stranger.tenant = tenant("fabrikam");
    apply(&store, vec![enlist(&stranger, &lists[0], 9, "9")]).await;

    for (score, list) in scores.iter().zip(&lists) {
        apply(&store, vec![enlist(&key("a"), list, *score, "")]).await;
    }

    for (score, list) in scores.iter().zip(&lists) {
        assert_eq!(
            members_of(&store, list, 10).await,
            [member("a", *score, "")]
        );
    }
}

pub(crate) async fn an_item_may_move_between_lists(b: &mut dyn Backend) {
    let store = b.store();
    let targets = ListName::Targets(campaign("c"));
    apply(&store, vec![create(&key("a"), 1).listed(&waiting(), 7, "")]).await;

    let release = keep(&key("a"), 1).unlisted(&waiting());
    apply(&store, vec![release.listed(&targets, 0, "open")]).await;

    assert_eq!(members_of(&store, &waiting(), 10).await, vec![]);
    assert_eq!(
        members_of(&store, &targets, 10).await,
        [member("a", 0, "open")]
    );
}

pub(crate) async fn a_device_is_enlisted_once(b: &mut dyn Backend) {
    let store = b.store();
    let counter = Counter::Campaign(campaign("c"), TargetState::Waiting);
    let enlisting = |score| enlist(&key("a"), &waiting(), score, "").moving(counter.clone(), 1);
    apply(&store, vec![enlisting(1)]).await;

    let again = commit_one(&store, enlisting(2)).await;
    let both = commit(
        &store,
        vec![enlisting(3), enlist(&key("b"), &waiting(), 3, "")],
    )
    .await;

    assert_eq!(again, Committed::Listed);
    assert_eq!(both, [Committed::Listed, Committed::Done]);
    assert_eq!(count(&store, &counter).await, 1);
    let found = in_order(members_of(&store, &waiting(), 10).await, b);
    assert_eq!(found, [member("a", 1, ""), member("b", 3, "")]);
    assert_eq!(read_one(&store, &key("a")).await, None);
}

pub(crate) async fn find_answers_each_device_in_order(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![enlist(&key("a"), &waiting(), 1, "x")]).await;
    apply(&store, vec![enlist(&key("b"), &waiting(), 2, "y")]).await;

    let asked = [device("b"), device("nobody"), device("a"), device("b")];
    let found = store.find(&contoso(), &waiting(), &asked).await.unwrap();

    let b = Some(member("b", 2, "y"));
    assert_eq!(found, [b.clone(), None, Some(member("a", 1, "x")), b]);
    let none = store.find(&contoso(), &waiting(), &[]).await.unwrap();
    assert_eq!(none, []);
}

pub(crate) async fn first_takes_from_the_front_and_removes_nothing(b: &mut dyn Backend) {
    let store = b.store();
    let keys = keys(200);
    let items = (0..).zip(&keys).map(|(n, k)| enlist(k, &waiting(), -n, ""));
    apply(&store, items.collect()).await;

    for _ in 0..2 {
        let first = store.first(&contoso(), &waiting(), 20).await.unwrap();
        assert_eq!(first.len(), 20);
        if b.shards() == 1 {
            let scores: Vec<_> = first.iter().map(|m| m.score).collect();
            assert_eq!(scores, (-199..-179).collect::<Vec<_>>());
        }
    }
    let all = store.first(&contoso(), &waiting(), 1_024).await.unwrap();
    assert_eq!(all.len(), 200);
}

pub(crate) async fn a_dropped_list_is_empty_and_the_counters_stay(b: &mut dyn Backend) {
    let store = b.store();
    let (dropped, stays) = (waiting(), ListName::Waiting(campaign("c2")));
    let counter = Counter::Campaign(campaign("c"), TargetState::Waiting);
    let items = keys(600);
    let items = items
        .iter()
        .map(|k| enlist(k, &dropped, 0, "").moving(counter.clone(), 1));
    apply(&store, items.collect()).await;
    apply(&store, vec![enlist(&key("a"), &stays, 0, "")]).await;

    store.drop_list(&contoso(), &dropped).await.unwrap();
    store.drop_list(&contoso(), &dropped).await.unwrap();

    assert_eq!(members_of(&store, &dropped, 100).await, vec![]);
    assert_eq!(members_of(&store, &stays, 100).await.len(), 1);
    assert_eq!(count(&store, &counter).await, 600);
    apply(&store, vec![enlist(&key("d0000"), &dropped, 1, "")]).await;
    assert_eq!(members_of(&store, &dropped, 100).await.len(), 1);
}

pub(crate) async fn lists_survive_a_crash(b: &mut dyn Backend) {
    apply(&b.store(), vec![enlist(&key("a"), &waiting(), 4, "t")]).await;
    apply(&b.store(), vec![enlist(&key("b"), &waiting(), 5, "t")]).await;
    let first = b.store().members(&contoso(), &waiting(), None, 1).await;

    b.crash().await;

    let found = in_order(members_of(&b.store(), &waiting(), 10).await, b);
    assert_eq!(found, [member("a", 4, "t"), member("b", 5, "t")]);
    if b.shards() == 1 {
        let (store, cursor) = (b.store(), first.unwrap().next);
        let page = store
            .members(&contoso(), &waiting(), cursor.as_deref(), 10)
            .await;
        assert_eq!(page.unwrap().items, [member("b", 5, "t")]);
    }
}

pub(crate) async fn members_refuse_a_cursor_of_another_kind(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![enlist(&key("a"), &waiting(), 4, "t")]).await;
    for cursor in ["", "garbage", "-", "zz99", "é"] {
        let answer = store
            .members(&contoso(), &waiting(), Some(cursor), 10)
            .await;
        assert!(
            matches!(answer, Err(StoreError::Damaged { .. })),
            "{cursor}"
        );
    }
}
