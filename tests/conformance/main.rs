//! The contract of the store ports, case by case: every backend passes the same cases.
//!
//! A file of cases belongs to a port. [`suite!`] makes one test of each case and backend, named `<backend>::<port>::<case>`.
//! A backend implements [`backend::Backend`] and [`Start`] in a file under `backend/` and gets one line at the end of this file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "servers are processes of their own and live in real time"
)]
#![allow(
    clippy::await_holding_lock,
    reason = "it keeps the tests of one server apart"
)]
#![allow(clippy::too_many_lines, reason = "a history reads from top to bottom")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod backend;
mod documents;
mod feed;
mod items;
mod leases;
mod lists;
mod on_redis;
mod parks;
mod places;
mod probe;
mod queues;
mod records;
#[path = "../support/redis_cluster.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_cluster;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_server;
mod shares;
mod tally;

use backend::Backend;

/// How a backend comes to life for one case.
trait Start: Backend + Sized {
    /// An empty store of its own, on the current-thread runtime of the test.
    fn start() -> impl Future<Output = Self>;
}

/// Names the cases of one port for a backend.
macro_rules! cases {
    ($backend:ty, $port:ident: $($case:ident)*) => {
        mod $port {
            $(
                #[tokio::test]
                async fn $case() {
                    let mut backend = <$backend as crate::Start>::start().await;
                    crate::$port::$case(&mut backend).await;
                }
            )*
        }
    };
}

/// Names every case for a backend.
macro_rules! suite {
    ($name:ident, $backend:ty) => {
        mod $name {
            #[allow(unused_imports, reason = "a name may be whole or relative")]
            use super::*;
            cases!($backend, records:
                read_answers_each_key_in_order
                records_come_back_byte_for_byte
                names_never_run_into_each_other
                the_largest_batch_is_taken_whole
                absent_creates_once
                a_revision_is_replaced_once
                a_deleted_device_never_matches_an_old_revision
                a_refused_item_leaves_the_others_applied
                nothing_of_a_refused_item_is_applied
                a_second_item_of_one_device_conflicts
                items_may_have_answers_of_their_own
                keep_moves_counters_and_leaves_the_record
                one_of_many_concurrent_commits_wins
                thousands_of_commits_at_once_are_each_answered
                a_dropped_commit_is_applied_whole_or_not
                what_was_acknowledged_survives_a_crash
                a_raised_fence_refuses_lower_epochs
                a_fence_survives_a_crash
                scan_finds_the_devices_of_the_tenant
                scan_finds_what_stays_while_others_come_and_go
                scan_refuses_a_cursor_of_another_kind
                a_full_store_refuses_new_work_and_still_settles
            );
            cases!($backend, places:
                a_settle_moves_the_push_to_its_next_place
                a_settle_to_nowhere_ends_the_turn
                a_settle_after_the_lease_has_ended_is_refused
                a_former_lease_is_refused_and_the_new_one_holds
                a_lease_settles_once
                a_conflict_leaves_the_lease_alive
                a_merge_keeps_the_lease_and_the_place
                a_holder_is_told_of_every_change_wherever_the_device_waits
                what_was_changed_while_it_was_held_can_be_handed_back
                a_merged_push_is_due_again_when_its_lease_ends
                a_cancel_takes_a_leased_push_away
                a_deleted_device_leaves_its_queue_and_lease
                a_recreated_device_refuses_the_old_lease
                a_move_without_lease_takes_effect_at_once
                an_empty_placement_leaves_the_place_alone
                a_keep_under_a_lease_moves_the_place
                a_place_without_a_record_gives_nothing
                due_times_are_kept_to_the_millisecond
                a_lease_is_lost_when_its_claim_is_handed_back
                an_expired_lease_does_not_shield_the_place
            );
            cases!($backend, queues:
                claim_takes_each_entry_once
                concurrent_claims_never_share_an_entry
                claim_takes_only_what_is_due_and_the_earliest_first
                claim_serves_each_want_up_to_its_limit
                a_claim_carries_the_record_as_it_is_now
                an_ended_lease_makes_the_entry_due_again
                no_device_has_a_token_twice
                claims_of_a_crashed_broker_are_due_again
                ready_tells_when_each_queue_is_due
                a_claimed_entry_is_ready_when_its_lease_ends
                census_counts_every_queue
                what_is_handed_back_is_due_at_the_given_time
                what_was_held_when_it_was_moved_is_moved_by_the_next_change
                what_is_not_held_any_more_is_not_handed_back
                a_wake_tells_that_a_queue_is_due_earlier
                a_hand_back_wakes
                nothing_wakes_without_a_change
                browse_shows_a_queue_with_its_records
                browse_refuses_a_cursor_of_another_kind
            );
            cases!($backend, parks:
                a_parked_queue_is_neither_ready_nor_claimable
                what_comes_while_parked_stays_parked
                timer_lanes_are_never_parked
                a_selector_parks_its_own_flow_only
                selectors_are_taken_back_one_by_one
                what_was_claimed_before_a_park_may_still_be_settled
                a_lease_that_ends_while_parked_stays_parked
                a_park_survives_a_crash
            );
            cases!($backend, lists:
                members_are_ordered_by_score_and_device
                a_put_changes_score_and_text
                a_removed_member_is_gone
                lists_are_kept_apart
                an_item_may_move_between_lists
                a_device_is_enlisted_once
                find_answers_each_device_in_order
                first_takes_from_the_front_and_removes_nothing
                a_dropped_list_is_empty_and_the_counters_stay
                lists_survive_a_crash
                members_refuse_a_cursor_of_another_kind
            );
            cases!($backend, tally:
                counters_are_read_by_prefix
                tenants_are_known_by_their_counters_and_events
                concurrent_moves_add_up
                what_moves_together_is_seen_together
                dropped_counters_are_forgotten_by_prefix
                counters_survive_a_crash
            );
            cases!($backend, feed:
                a_commit_may_bring_thousands_of_events
                events_of_a_device_come_in_order
                an_event_is_kept_as_its_json
                reading_goes_on_after_any_event
                a_reader_who_has_caught_up_is_never_refused
                newest_begins_with_what_comes
                an_empty_feed_has_a_place_to_begin
                feeds_of_tenants_are_kept_apart
                events_without_a_device_are_appended
                an_append_is_announced
                a_cursor_of_another_kind_is_unknown
                trimming_keeps_the_newest_events
                trimming_forgets_old_events
                a_cursor_survives_a_crash
            );
            cases!($backend, documents:
                a_document_is_kept_as_it_was_put
                preconditions_decide
                one_of_many_concurrent_puts_wins
                a_deleted_document_is_absent
                list_pages_by_name_under_a_prefix
                list_refuses_a_cursor_of_another_kind
                a_document_with_ttl_is_gone_after_it
                a_put_replaces_the_ttl
                lasting_changes_are_announced
                documents_survive_a_crash
            );
            cases!($backend, leases:
                one_owner_holds_a_lease
                prolonging_keeps_the_epoch
                the_epoch_rises_with_each_owner
                a_released_lease_is_free
                the_epoch_rises_across_a_crash
                a_former_owner_is_fenced
            );
            cases!($backend, shares:
                a_single_broker_gets_what_it_can_use
                live_shares_never_exceed_the_pace
                a_share_that_became_smaller_counts_until_its_term_is_over
                every_broker_gets_a_part_in_time
                a_share_is_free_again_after_its_term
                the_lowest_pace_counts
            );
            cases!($backend, probe:
                a_well_store_says_what_it_is
                a_closed_store_is_unavailable
                a_closed_store_keeps_everything
            );
        }
    };
}

suite!(embedded, crate::backend::embedded::Embedded);
suite!(redis, crate::on_redis::Redis<crate::on_redis::Single>);
suite!(on_cluster, crate::on_redis::Redis<crate::on_redis::Cluster>);
suite!(
    on_sentinel,
    crate::on_redis::Redis<crate::on_redis::Sentinel>
);
