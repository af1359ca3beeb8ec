//! How campaigns end that are paused, late or called off at an awkward moment, and how their reports are paged.

use reveille::domain::{
    ask::Goal,
    campaign::{Selection, State, TargetStatus, score},
};

use super::world::{World, definition, devices, local};

/// More than a runner lists at once.
const MANY: usize = 1_600;
/// The most that it lists at once.
const PAGE: u64 = 512;

#[tokio::test(start_paused = true)]
async fn every_target_of_a_campaign_that_was_paused_while_it_was_listed_has_its_end() {
    local(async {
        let world = World::new(MANY).await;
        let id = world
            .started(definition(Selection::All, Goal::CheckIn), 0)
            .await;
        world.campaigns.pause(&world.tenant, &id).await.unwrap();
        let _shift = world.shift(&id);

        let listed = world.until(&id, |r| r.campaign.prepared_at.is_some()).await;
        assert_eq!(listed.campaign.state, State::Paused);
        let (targets, waiting) = (listed.counts.targets, listed.counts.waiting);
        assert_eq!((targets, waiting), (MANY as u64, MANY as u64));

        world.pass(3_601);
        let over = world
            .until(&id, |r| r.campaign.state == State::Finished)
            .await;
        assert_eq!(over.counts.closed_as("expired"), MANY as u64);
        let told = ["campaign.started", "campaign.paused", "campaign.finished"];
        world.until_told(&told).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_target_of_a_campaign_that_nobody_listed_in_time_has_its_end() {
    local(async {
        let world = World::new(MANY).await;
        let id = world
            .started(definition(Selection::All, Goal::CheckIn), 0)
            .await;
        world.pass(3_601);
        let _shift = world.shift(&id);

        let over = world
            .until(&id, |r| r.campaign.state == State::Finished)
            .await;

        assert_eq!(over.counts.closed_as("expired"), MANY as u64);
        assert_eq!(over.counts.attempts, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_is_called_off_lists_no_more_than_what_was_on_its_way() {
    local(async {
        let world = World::new(MANY * 2).await;
        let id = world
            .started(definition(Selection::All, Goal::CheckIn), 0)
            .await;
        let _shift = world.shift(&id);
        world.until(&id, |r| r.counts.targets > 0).await;

        world.campaigns.cancel(&world.tenant, &id).await.unwrap();
        let at_once = world.report(&id).await;
        let cleared = world.until(&id, |r| r.campaign.counted_out()).await;

        let more = cleared.counts.targets - at_once.counts.targets;
        assert!(more <= PAGE, "{more} targets were listed after the cancel");
        assert_eq!(
            cleared.counts.closed_as("cancelled"),
            cleared.counts.targets
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_check_in_after_the_cancel_counts_for_no_target_that_waits() {
    local(async {
        let world = World::new(4).await;
        let id = world
            .started(definition(Selection::Listed, Goal::CheckIn), 4)
            .await;
        world.pass(10);
        world.check_in(0).await;
        world.pass(10);
        world.campaigns.cancel(&world.tenant, &id).await.unwrap();
        world.pass(10);
        world.check_in(1).await;

        let _shift = world.shift(&id);
        let cleared = world.until(&id, |r| r.campaign.counted_out()).await;

        assert_eq!(cleared.counts.closed_as("checked_in"), 1);
        assert_eq!(cleared.counts.closed_as("cancelled"), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_page_of_few_among_many_looks_until_it_has_them() {
    local(async {
        let world = World::new(MANY).await;
        let id = world
            .started(definition(Selection::Listed, Goal::CheckIn), MANY)
            .await;
        world.pass(10);
        for n in [3, 700, 1_500] {
            world.check_in(n).await;
        }
        let _shift = world.shift(&id);
        world
            .until(&id, |r| r.counts.closed_as("checked_in") == 3)
            .await;

        let pages = async |limit: usize| {
            let mut sizes = Vec::new();
            let mut cursor: Option<String> = None;
            loop {
                let page = (cursor.as_deref(), limit);
                let states = [TargetStatus::CheckedIn];
                let page = world.campaigns.targets(&world.tenant, &id, &states, page);
                let page = page.await.unwrap();
                sizes.push(page.items.len());
                cursor = page.next;
                if cursor.is_none() {
                    return sizes;
                }
            }
        };

        assert_eq!(pages(10).await, [3]);
        assert_eq!(pages(2).await, [2, 1]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_record_cannot_be_read_holds_up_neither_the_others_nor_the_end() {
    local(async {
        // given a campaign with room for one at a time, and three targets of which the first is damaged
        let world = World::new(3).await;
        let mut definition = definition(Selection::Listed, Goal::CheckIn);
        definition.pace.per_second = Some(1.0);
        let id = world.draft(definition, 3).await;
        let first = devices(3)
            .into_iter()
            .min_by_key(|d| score(&id, d))
            .unwrap();
        world.damage(&first).await;
        world
            .campaigns
            .start(&world.tenant, &id, None)
            .await
            .unwrap();
        let _shift = world.shift(&id);

        // when the others are released and the deadline comes
        world.until(&id, |r| r.counts.waiting == 1).await;
        world.pass(3_601);
        let over = world
            .until(&id, |r| r.campaign.state == State::Finished)
            .await;

        // then each has its end
        assert_eq!(over.counts.closed_as("expired"), 3);
    })
    .await;
}
