//! Cases of the records port about places: what a commit with or without a lease does to a device's turn.

use std::time::Duration;

use reveille::{
    domain::{queue::Lane, record::Revision},
    ports::records::{Change, Committed, Expect, ListName},
};

use crate::{backend::Backend, items::*};

pub(crate) async fn a_settle_moves_the_push_to_its_next_place(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (first, next) = (direct(Lane::Bulk), direct(Lane::Repush));
    apply(&store, vec![create(&key("a"), 1).to(&first, now)]).await;
    let claimed = claim_one(&store, &first).await;

    let settle = replace(&key("a"), 1, 2).under(&claimed.lease);
    apply(&store, vec![settle.to(&next, now)]).await;

    let again = claim_one(&store, &next).await;
    assert_eq!(again.stored, stored(2));
    b.pass(b.lease() + b.tick()).await;
    assert_eq!(claim(&store, &first, 1).await, vec![]);
}

pub(crate) async fn a_settle_to_nowhere_ends_the_turn(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;

    apply(&store, vec![replace(&key("a"), 1, 2).under(&claimed.lease)]).await;

    b.pass(b.lease() + b.tick()).await;
    assert_eq!(claim(&store, &queue, 1).await, vec![]);
    assert_eq!(store.census().await.unwrap(), vec![]);
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(2)));
}

pub(crate) async fn a_settle_after_the_lease_has_ended_is_refused(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    b.pass(b.lease() + b.tick()).await;

    let late = commit_one(&store, replace(&key("a"), 1, 2).under(&claimed.lease)).await;

    assert_eq!(late, Committed::LeaseLost(Some(stored(1))));
    assert_eq!(claim_one(&store, &queue).await.stored, stored(1));
}

pub(crate) async fn a_former_lease_is_refused_and_the_new_one_holds(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let former = claim_one(&store, &queue).await;
    b.pass(b.lease() + b.tick()).await;
    let holder = claim_one(&b.other(), &queue).await;

    let late = commit_one(&store, replace(&key("a"), 1, 2).under(&former.lease)).await;
    let held = commit_one(&b.other(), replace(&key("a"), 1, 3).under(&holder.lease)).await;

    assert_eq!(late, Committed::LeaseLost(Some(stored(1))));
    assert_eq!(held, Committed::Done);
}

pub(crate) async fn a_lease_settles_once(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    let settle = replace(&key("a"), 1, 2).under(&claimed.lease);
    apply(&store, vec![settle.to(&queue, now)]).await;

    let again = commit_one(&store, replace(&key("a"), 2, 3).under(&claimed.lease)).await;

    assert_eq!(again, Committed::LeaseLost(Some(stored(2))));
    assert_eq!(claim_one(&store, &queue).await.stored, stored(2));
}

pub(crate) async fn a_conflict_leaves_the_lease_alive(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    let merge = replace(&key("a"), 1, 2).from(&queue).to(&queue, now);
    apply(&store, vec![merge]).await;

    let stale = commit_one(&store, replace(&key("a"), 1, 3).under(&claimed.lease)).await;
    let fresh = commit_one(&store, replace(&key("a"), 2, 3).under(&claimed.lease)).await;

    assert_eq!(stale, Committed::Conflict(Some(stored(2))));
    assert_eq!(fresh, Committed::Done);
}

pub(crate) async fn a_merge_keeps_the_lease_and_the_place(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (bulk, urgent) = (direct(Lane::Bulk), direct(Lane::Urgent));
    apply(&store, vec![create(&key("a"), 1).to(&bulk, now)]).await;
    let claimed = claim_one(&store, &bulk).await;

    let merge = replace(&key("a"), 1, 2).from(&bulk).to(&urgent, now);
    apply(&store, vec![merge]).await;

    assert_eq!(claim(&store, &urgent, 1).await, vec![]);
    assert_eq!(claim(&store, &bulk, 1).await, vec![]);
    let settle = replace(&key("a"), 2, 3).under(&claimed.lease);
    apply(&store, vec![settle.to(&urgent, now)]).await;
    assert_eq!(claim_one(&store, &urgent).await.stored, stored(3));
}

pub(crate) async fn a_holder_is_told_of_every_change_wherever_the_device_waits(
    b: &mut dyn Backend,
) {
    let (store, now, key) = (b.store(), b.now().await, key("a"));
    let (former, own) = (direct(Lane::Normal), direct(Lane::Urgent));
    apply(&store, vec![create(&key, 1).to(&former, now)]).await;
    let mut revision = 1;
    for _ in 0..2 {
        // given one that is held, the second time in another queue than its record says
        let holder = claim_one(&store, &former).await;
        assert_eq!(holder.stored, stored(revision));
        // when it is changed twice
        let from = if revision == 1 { &former } else { &own };
        for (from, at) in [(from, now), (&own, now + b.tick())] {
            let merged = replace(&key, revision, revision + 1);
            apply(&store, vec![merged.from(from).to(&own, at)]).await;
            revision += 1;
            // then who holds it is told each time, and holds it still
            let late = replace(&key, revision - 1, 90).under(&holder.lease);
            let told = Committed::Conflict(Some(stored(revision)));
            assert_eq!(commit_one(&store, late).await, told);
        }
        b.pass(b.lease() + b.tick()).await;
    }
    let holder = claim_one(&store, &former).await;
    let settle = replace(&key, revision, 91).under(&holder.lease);
    apply(&store, vec![settle]).await;
    assert_eq!(store.census().await.unwrap(), vec![]);
}

pub(crate) async fn what_was_changed_while_it_was_held_can_be_handed_back(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    let merged = replace(&key("a"), 1, 2).from(&queue).to(&queue, now);
    apply(&store, vec![merged]).await;

    let back = vec![(key("a"), claimed.lease, now)];
    store.hand_back(back).await.unwrap();

    assert_eq!(claim_one(&store, &queue).await.stored, stored(2));
}

pub(crate) async fn a_merged_push_is_due_again_when_its_lease_ends(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    claim_one(&store, &queue).await;
    let merge = replace(&key("a"), 1, 2).from(&queue).to(&queue, now);
    apply(&store, vec![merge]).await;

    b.pass(b.lease() + b.tick()).await;

    assert_eq!(claim_one(&store, &queue).await.stored, stored(2));
}

pub(crate) async fn a_cancel_takes_a_leased_push_away(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;

    apply(&store, vec![replace(&key("a"), 1, 2).from(&queue)]).await;

    let stale = commit_one(&store, replace(&key("a"), 1, 3).under(&claimed.lease)).await;
    let lost = commit_one(&store, replace(&key("a"), 2, 3).under(&claimed.lease)).await;
    assert_eq!(stale, Committed::Conflict(Some(stored(2))));
    assert_eq!(lost, Committed::LeaseLost(Some(stored(2))));
    b.pass(b.lease() + b.tick()).await;
    assert_eq!(claim(&store, &queue, 1).await, vec![]);
    assert_eq!(store.census().await.unwrap(), vec![]);
}

pub(crate) async fn a_deleted_device_leaves_its_queue_and_lease(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    let both = [key("waiting"), key("leased")];
    apply(&store, vec![create(&both[1], 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    apply(&store, vec![create(&both[0], 1).to(&queue, now)]).await;

    apply(
        &store,
        both.iter().map(|k| delete(k, 1).from(&queue)).collect(),
    )
    .await;

    let late = commit_one(&store, replace(&both[1], 1, 2).under(&claimed.lease)).await;
    assert_eq!(late, Committed::Conflict(None));
    b.pass(b.lease() + b.tick()).await;
    assert_eq!(claim(&store, &queue, 2).await, vec![]);
}

pub(crate) async fn a_recreated_device_refuses_the_old_lease(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    apply(&store, vec![delete(&key("a"), 1).from(&queue)]).await;
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;

    let late = commit_one(&store, replace(&key("a"), 1, 2).under(&claimed.lease)).await;

    assert_eq!(late, Committed::LeaseLost(Some(stored(1))));
    assert_eq!(claim_one(&store, &queue).await.stored, stored(1));
}

pub(crate) async fn a_move_without_lease_takes_effect_at_once(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (bulk, urgent) = (direct(Lane::Bulk), direct(Lane::Urgent));
    apply(&store, vec![create(&key("a"), 1).to(&bulk, now)]).await;

    let merge = replace(&key("a"), 1, 2).from(&bulk).to(&urgent, now);
    apply(&store, vec![merge]).await;

    assert_eq!(claim(&store, &bulk, 1).await, vec![]);
    assert_eq!(claim_one(&store, &urgent).await.stored, stored(2));
}

pub(crate) async fn an_empty_placement_leaves_the_place_alone(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;

    apply(&store, vec![keep(&key("a"), 1)]).await;
    let claimed = claim_one(&store, &queue).await;
    apply(&store, vec![keep(&key("a"), 1)]).await;
    let list = ListName::Waiting(campaign("c"));
    apply(&store, vec![enlist(&key("a"), &list, 1, "")]).await;

    apply(&store, vec![replace(&key("a"), 1, 2).under(&claimed.lease)]).await;
}

pub(crate) async fn a_keep_under_a_lease_moves_the_place(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;

    let later = now + b.tick() * 3;
    let settle = keep(&key("a"), 1).under(&claimed.lease);
    apply(&store, vec![settle.to(&queue, later)]).await;

    assert_eq!(claim(&store, &queue, 1).await, vec![]);
    b.pass(b.tick() * 4).await;
    assert_eq!(claim_one(&store, &queue).await.stored, stored(1));
}

pub(crate) async fn a_place_without_a_record_gives_nothing(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    let nothing = item(&key("a"), Expect::Absent, Change::Keep);
    apply(&store, vec![nothing.to(&queue, now)]).await;

    assert_eq!(claim(&store, &queue, 1).await, vec![]);
    assert_eq!(read_one(&store, &key("a")).await, None);
}

pub(crate) async fn due_times_are_kept_to_the_millisecond(b: &mut dyn Backend) {
    let (store, queue) = (b.store(), direct(Lane::Bulk));
    let at = b.now().await + Duration::from_micros(3_600_123_999);
    apply(&store, vec![create(&key("a"), 1).to(&queue, at)]).await;

    let earliest = store.ready().await.unwrap().remove(0).earliest;

    assert_eq!(earliest.as_millisecond(), at.as_millisecond());
}

pub(crate) async fn a_lease_is_lost_when_its_claim_is_handed_back(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    apply(&store, vec![create(&key("a"), 1).to(&queue, now)]).await;
    let claimed = claim_one(&store, &queue).await;
    let back = vec![(key("a"), claimed.lease.clone(), now)];
    store.hand_back(back).await.unwrap();

    let late = replace(&key("a"), 1, 2).under(&claimed.lease);
    let answer = commit_one(&store, late).await;

    assert_eq!(answer, Committed::LeaseLost(Some(stored(1))));
}

pub(crate) async fn an_expired_lease_does_not_shield_the_place(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (bulk, urgent) = (direct(Lane::Bulk), direct(Lane::Urgent));
    apply(&store, vec![create(&key("a"), 1).to(&bulk, now)]).await;
    claim_one(&store, &bulk).await;
    b.pass(b.lease() + b.tick()).await;

    let change = Change::Put(Revision(2), bytes_of(2));
    let merge = item(&key("a"), Expect::Revision(Revision(1)), change);
    apply(&store, vec![merge.from(&bulk).to(&urgent, now)]).await;

    assert_eq!(claim(&store, &bulk, 1).await, vec![]);
    assert_eq!(claim_one(&store, &urgent).await.stored, stored(2));
}
