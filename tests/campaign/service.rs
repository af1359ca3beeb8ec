//! Campaigns over a real store: what consoles do, what the runner does, and what they see of each other.

use std::time::Duration;

use reveille::{
    domain::{
        ask::Goal,
        campaign::{Pace, PauseCause, Refusal, Selection, State, TargetStatus},
        wns::reply::{ChannelRefusal, Outcome},
    },
    ports::{error::StoreError, records::Fence},
    service::campaign::{CampaignError, Ended, Listing},
};
use tokio::time::sleep;

use super::world::{World, definition, device, devices, local, wave};

/// A runner's lease lasts no longer than this; one that goes on looks at its campaign many times meanwhile.
const TERM: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_campaign_runs_from_draft_to_finished_and_tells_so() {
    local(async {
        let world = World::new(700).await;
        let id = world
            .draft(definition(Selection::Listed, Goal::CheckIn), 700)
            .await;
        let draft = world.report(&id).await;
        assert_eq!((draft.counts.targets, draft.counts.waiting), (700, 700));

        world
            .campaigns
            .start(&world.tenant, &id, None)
            .await
            .unwrap();
        let shift = world.shift(&id);
        world.until(&id, |r| r.counts.open == 700).await;
        assert_eq!(world.claimable().await, 256);
        for n in 0..700 {
            world.accept(n).await;
        }
        world.pass(20);
        for n in 0..700 {
            world.check_in(n).await;
        }

        let report = world
            .until(&id, |r| r.campaign.state == State::Finished)
            .await;
        assert_eq!(report.counts.closed_as("checked_in"), 700);
        assert_eq!(report.counts.attempts, 700);
        assert_eq!(report.counts.delays.count(), 700);
        assert!(shift.await.unwrap() == Ok(Ended::Done));
        let told = ["campaign.started", "campaign.finished"];
        world.until_told(&told).await;
        let targets = world.targets(&id, &[]).await;
        assert_eq!(targets.len(), 700);
        let result = &targets[0].result;
        assert_eq!(
            (targets[0].status, result.attempts),
            (TargetStatus::CheckedIn, 1)
        );
        assert_eq!(result.check_in_delay().unwrap().as_secs(), 20);
        assert_eq!(result.ms_cv.as_deref(), Some("cv"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn repeats_and_strangers_are_told_apart_when_targets_are_added() {
    let world = World::new(2).await;
    let id = world
        .draft(definition(Selection::Listed, Goal::Accepted), 0)
        .await;
    let add = |known| {
        let list = [device(0), device(1), device(0), device(7)];
        let (campaigns, tenant, id) = (world.campaigns.clone(), world.tenant.clone(), id.clone());
        async move {
            campaigns
                .add_targets(&tenant, &id, &list, known)
                .await
                .unwrap()
        }
    };
    use Listing::{Added, Repeated, Unknown};
    assert_eq!(add(false).await, [Added, Added, Repeated, Unknown]);
    assert_eq!(add(true).await, [Repeated, Repeated, Repeated, Added]);
    assert_eq!(world.report(&id).await.counts.targets, 3);

    world
        .campaigns
        .start(&world.tenant, &id, None)
        .await
        .unwrap();
    let late = world
        .campaigns
        .add_targets(&world.tenant, &id, &[device(1)], false)
        .await;
    assert!(matches!(
        late,
        Err(CampaignError::Refused(Refusal::WrongState {
            state: State::Running,
            ..
        }))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_pause_takes_everything_out_of_service_and_a_resume_puts_it_back() {
    local(async {
        let world = World::new(60).await;
        let id = world
            .started(definition(Selection::Listed, Goal::CheckIn), 60)
            .await;
        let _shift = world.shift(&id);
        world.until(&id, |r| r.counts.open == 60).await;

        world.campaigns.pause(&world.tenant, &id).await.unwrap();
        assert_eq!(world.claimable().await, 0);
        let paused = world.report(&id).await;
        assert_eq!((paused.counts.held, paused.counts.open), (60, 0));
        let held = world.targets(&id, &[TargetStatus::Held]).await;
        assert_eq!(held.len(), 60);

        // A second campaign wants half of the same devices: its pushes go out all the same.
        let other = world
            .started(definition(Selection::Listed, Goal::CheckIn), 30)
            .await;
        let _other_shift = world.shift(&other);
        world.until(&other, |r| r.counts.open == 30).await;
        assert_eq!(world.claimable().await, 30);

        world.campaigns.resume(&world.tenant, &id).await.unwrap();
        let report = world.until(&id, |r| r.counts.held == 0).await;
        assert_eq!(report.counts.open, 60);
        assert_eq!(world.claimable().await, 60);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_campaign_ends_what_is_left_and_leaves_no_trace_in_the_queues() {
    local(async {
        let world = World::new(40).await;
        let mut slow = definition(Selection::Listed, Goal::CheckIn);
        slow.pace.per_second = Some(10.0);
        slow.until = reveille::domain::campaign::Until::ExpiresIn(Duration::from_secs(36_000));
        let id = world.started(slow, 40).await;
        let _shift = world.shift(&id);
        world.until(&id, |r| r.counts.open >= 10).await;
        world.check_in(first_open(&world, &id).await).await;

        world.campaigns.cancel(&world.tenant, &id).await.unwrap();
        assert_eq!(world.claimable().await, 0);
        let at_once = world.report(&id).await.counts;
        assert_eq!(at_once.closed_as("cancelled"), 39);
        assert_eq!(
            world.targets(&id, &[TargetStatus::Cancelled]).await.len(),
            39
        );
        assert_eq!(world.targets(&id, &[TargetStatus::Waiting]).await, []);
        let report = world.until(&id, |r| r.campaign.swept).await;

        assert_eq!(report.counts.closed, at_once.closed);
        assert_eq!(report.counts.closed_as("checked_in"), 1);
        assert_eq!(report.counts.closed_as("cancelled"), 39);
        for n in 0..40 {
            world.check_in(n).await;
        }
        assert_eq!(world.report(&id).await.counts.closed_as("checked_in"), 1);
        // A later campaign of the same devices is not caught by the park of the former. It starts well after their
        // check-ins, which would otherwise count for it and finish it.
        world.pass(60);
        let next = world
            .started(definition(Selection::Listed, Goal::CheckIn), 5)
            .await;
        let _next_shift = world.shift(&next);
        world.pass(60);
        world.until(&next, |r| r.counts.open == 5).await;
        assert_eq!(world.claimable().await, 5);
        let told = ["campaign.started", "campaign.cancelled", "campaign.started"];
        world.until_told(&told).await;
    })
    .await;
}

async fn first_open(world: &World, id: &reveille::domain::id::CampaignId) -> usize {
    let open = world.targets(id, &[TargetStatus::Open]).await;
    open[0].device.as_str()[1..].parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failed_gate_pauses_with_its_reason_and_a_resume_goes_on_with_the_next_wave() {
    local(async {
        let world = World::new(100).await;
        let mut waves = definition(Selection::Listed, Goal::CheckIn);
        waves.waves = vec![wave("30%", 60, "50%"), wave("100%", 60, "")];
        let id = world.started(waves, 100).await;
        let _shift = world.shift(&id);
        let first = world.until(&id, |r| r.campaign.judge_at.is_some()).await;
        assert_eq!((first.counts.released(), first.counts.waiting), (30, 70));
        let released = world.targets(&id, &[TargetStatus::Open]).await;
        for (at, target) in released.iter().enumerate() {
            let n: usize = target.device.as_str()[1..].parse().unwrap();
            world.accept(n).await;
            if at < 10 {
                world.check_in(n).await;
            }
        }

        world.pass(61);
        let paused = world
            .until(&id, |r| r.campaign.state == State::Paused)
            .await;
        let pause = paused.campaign.pause.unwrap();
        assert_eq!(pause.cause, PauseCause::Gate);
        let reason = "10 of 30 reachable targets checked in, below 50%";
        assert_eq!(pause.detail.as_deref(), Some(reason));
        let told = [
            "campaign.started",
            "campaign.gate_failed",
            "campaign.paused",
        ];
        world.until_told(&told).await;

        world.campaigns.resume(&world.tenant, &id).await.unwrap();
        let report = world.until(&id, |r| r.counts.waiting == 0).await;
        assert_eq!(report.campaign.gates.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn targets_are_released_before_the_last_is_listed() {
    local(async {
        let world = World::new(600).await;
        let mut waves = definition(Selection::All, Goal::CheckIn);
        waves.waves = vec![wave("1%", 60, "")];
        let id = world.started(waves, 0).await;
        let _shift = world.shift(&id);

        let held = world.until(&id, |r| r.campaign.judge_at.is_some()).await;

        assert_eq!((held.counts.targets, held.counts.released()), (600, 6));
        let first = world.targets(&id, &[TargetStatus::Open]).await;
        assert_eq!(first.len(), 6);
        // All of them are judged, those of the first page as well.
        for n in world.accept_open(&id).await {
            world.check_in(n).await;
        }
        world.pass(61);
        let judged = world.until(&id, |r| r.counts.waiting == 0).await;
        let gate = &judged.campaign.gates[0];
        assert_eq!((gate.counts.reachable, gate.counts.checked_in), (6, 6));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_not_judged_while_nothing_is_sent() {
    local(async {
        let world = World::new(100).await;
        let mut waves = definition(Selection::Listed, Goal::CheckIn);
        waves.waves = vec![wave("30%", 60, "")];
        let id = world.started(waves, 100).await;
        let _shift = world.shift(&id);
        let held = world.until(&id, |r| r.campaign.judge_at.is_some()).await;
        let due = held.campaign.judge_at;

        // when WNS is out for the whole of the hold
        world.pass(61);
        let again = world.until(&id, |r| r.campaign.judge_at != due).await;

        // then nothing is released upon the word of a fleet that was never asked
        assert_eq!(
            (again.campaign.gates.len(), again.counts.released()),
            (0, 30)
        );
        world.accept_open(&id).await;
        world.pass(61);
        let judged = world.until(&id, |r| r.counts.waiting == 0).await;
        assert_eq!(judged.campaign.gates[0].counts.sent, 30);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn open_sessions_are_counted_by_what_is_stored() {
    local(async {
        let world = World::new(60).await;
        let mut capped = definition(Selection::Listed, Goal::CheckIn);
        capped.pace.open_sessions_max = Some(20);
        let id = world.started(capped, 60).await;
        let shift = world.shift(&id);
        world.until(&id, |r| r.counts.released() == 20).await;
        let early = world.accept_open(&id).await;

        // A runner that begins anew knows of the sessions.
        shift.abort();
        assert!(shift.await.is_err_and(|e| e.is_cancelled()));
        world.pass(15);
        sleep(TERM * 2).await;
        let _shift = world.shift(&id);
        sleep(TERM).await;
        assert_eq!(world.report(&id).await.counts.released(), 20);

        // Devices that have had their minute make room; when they come at last, all at once, they make none.
        world.pass(60);
        world.until(&id, |r| r.counts.released() == 40).await;
        let late = world.accept_open(&id).await;
        for n in early {
            world.check_in(n).await;
        }
        sleep(TERM).await;
        assert_eq!(world.report(&id).await.counts.released(), 40);

        // Those of the last minute do.
        for n in &late[..5] {
            world.check_in(*n).await;
        }
        world.until(&id, |r| r.counts.released() == 45).await;
        sleep(TERM).await;
        assert_eq!(world.report(&id).await.counts.released(), 45);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_what_waits_and_what_is_open_each_with_its_cause() {
    local(async {
        let world = World::new(30).await;
        let mut slow = definition(Selection::Listed, Goal::CheckIn);
        slow.pace.per_second = Some(1.0);
        let id = world.started(slow, 30).await;
        let _shift = world.shift(&id);
        world.until(&id, |r| r.counts.open > 0).await;
        world.campaigns.pause(&world.tenant, &id).await.unwrap();

        world.pass(3_601);
        let report = world
            .until(&id, |r| r.campaign.state == State::Finished)
            .await;

        assert_eq!(report.counts.closed_as("expired"), 30);
        let causes = world.targets(&id, &[TargetStatus::Expired]).await;
        let held = |cause: &str| {
            causes
                .iter()
                .filter(|t| t.result.cause.as_deref() == Some(cause))
                .count()
        };
        assert_eq!(held("held") + held("not_sent"), 30);
        let never = causes.iter().filter(|t| t.result.opened_at.is_none());
        let never = never.count();
        assert!((1..30).contains(&never), "{never} were never released");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_selection_finds_its_devices_when_the_campaign_starts() {
    local(async {
        let world = World::new(600).await;
        for n in 0..5 {
            world.check_in(n).await;
        }
        world.pass(7_200);
        world.check_in(0).await;
        let all = world
            .started(definition(Selection::All, Goal::CheckIn), 0)
            .await;
        let silent = Selection::NotCheckedInFor(Duration::from_secs(3_600));
        let silent = world.started(definition(silent, Goal::CheckIn), 0).await;
        for id in [&all, &silent] {
            let preparing = world.report(id).await.campaign.state;
            assert_eq!(preparing, State::Preparing);
            drop(world.shift(id));
        }
        let told = ["campaign.started", "campaign.started"];
        world.until_told(&told).await;

        let all = world
            .until(&all, |r| {
                r.counts.waiting == 0 && r.campaign.prepared_at.is_some()
            })
            .await;
        let silent = world
            .until(&silent, |r| {
                r.counts.waiting == 0 && r.campaign.prepared_at.is_some()
            })
            .await;

        assert_eq!(all.counts.targets, 600);
        assert_eq!(silent.counts.targets, 599);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_one_campaign_leaves_behind_is_the_next_ones_list() {
    local(async {
        let world = World::new(20).await;
        let id = world
            .started(definition(Selection::Listed, Goal::CheckIn), 20)
            .await;
        let shift = world.shift(&id);
        world.until(&id, |r| r.counts.open == 20).await;
        shift.abort();
        for n in 0..12 {
            world.check_in(n).await;
        }
        world.forget(19).await;
        // Nobody has ended what is left yet.
        world.campaigns.cancel(&world.tenant, &id).await.unwrap();

        let left = Selection::LeftOf {
            campaign: id.clone(),
            states: vec![TargetStatus::Cancelled],
        };
        let next = world.started(definition(left, Goal::CheckIn), 0).await;
        let _next_shift = world.shift(&next);
        let report = world
            .until(&next, |r| r.campaign.prepared_at.is_some())
            .await;

        assert_eq!(report.counts.targets, 7);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn targets_without_a_channel_wait_for_one_and_deleted_ones_end() {
    local(async {
        let world = World::new(3).await;
        let gone = Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        };
        world.answer(0, gone).await;
        let id = world
            .draft(definition(Selection::Listed, Goal::Accepted), 3)
            .await;
        world.forget(1).await;
        world
            .campaigns
            .start(&world.tenant, &id, None)
            .await
            .unwrap();
        let _shift = world.shift(&id);

        let report = world.until(&id, |r| r.counts.waiting == 0).await;
        assert_eq!((report.counts.blocked, report.counts.open), (1, 1));
        let ended = world.targets(&id, &[TargetStatus::Cancelled]).await;
        assert_eq!(ended[0].device, device(1));
        assert_eq!(ended[0].result.cause.as_deref(), Some("device_deleted"));

        world.register(0, 2).await;
        let report = world.report(&id).await;
        assert_eq!((report.counts.blocked, report.counts.open), (0, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_has_checked_in_since_the_start_is_done_without_a_push() {
    local(async {
        let world = World::new(3).await;
        let id = world
            .started(definition(Selection::Listed, Goal::CheckIn), 3)
            .await;
        world.pass(10);
        world.check_in(2).await;
        let _shift = world.shift(&id);

        let report = world.until(&id, |r| r.counts.waiting == 0).await;

        assert_eq!(
            (report.counts.open, report.counts.closed_as("checked_in")),
            (2, 1)
        );
        assert_eq!(report.counts.delays.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_turn_never_came_has_checked_in_if_it_did_so_in_time() {
    for cancels in [true, false] {
        local(async {
            let world = World::new(12).await;
            let mut slow = definition(Selection::Listed, Goal::CheckIn);
            slow.pace.per_second = Some(1.0);
            let id = world.started(slow, 12).await;
            let _shift = world.shift(&id);
            world.until(&id, |r| r.counts.open > 0).await;
            world.campaigns.pause(&world.tenant, &id).await.unwrap();
            world.pass(10);
            for n in 0..10 {
                world.check_in(n).await;
            }

            match cancels {
                true => drop(world.campaigns.cancel(&world.tenant, &id).await.unwrap()),
                false => world.pass(3_600),
            }
            // Too late for both.
            world.pass(1);
            let report = world.until(&id, |r| r.campaign.swept).await;

            assert_eq!(report.counts.closed_as("checked_in"), 10, "{cancels}");
            let rest = if cancels { "cancelled" } else { "expired" };
            assert_eq!(report.counts.closed_as(rest), 2);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_campaign_has_one_shift_and_a_former_owner_is_refused() {
    local(async {
        let world = World::new(5).await;
        let mut slow = definition(Selection::Listed, Goal::CheckIn);
        slow.pace = Pace {
            per_second: Some(0.1),
            open_sessions_max: None,
        };
        let id = world.started(slow, 5).await;
        let first = world.shift(&id);
        world.until(&id, |r| r.counts.open > 0).await;

        assert_eq!(world.shift(&id).await.unwrap(), Ok(Ended::Elsewhere));

        let fence = Fence {
            name: format!("campaign:{}:{id}", world.tenant),
            epoch: u64::MAX,
        };
        world.store.raise_fence(&fence).await.unwrap();
        assert_eq!(first.await.unwrap(), Err(StoreError::Fenced));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_campaign_leaves_nothing() {
    let world = World::new(4).await;
    let id = world
        .draft(definition(Selection::Listed, Goal::Accepted), 4)
        .await;

    world.campaigns.delete(&world.tenant, &id).await.unwrap();

    assert_eq!(
        world.campaigns.get(&world.tenant, &id).await,
        Err(CampaignError::Unknown(id.clone()))
    );
    let counters = world
        .store
        .counters(&world.tenant, "campaign.")
        .await
        .unwrap();
    assert!(counters.values().all(|n| *n == 0), "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_whom_it_would_reach_and_how_long_it_takes() {
    let world = World::new(40).await;
    let mut paced = definition(Selection::Listed, Goal::CheckIn);
    paced.pace.per_second = Some(2.0);
    paced.waves = vec![wave("10%", 60, "")];
    let id = world.draft(paced, 40).await;
    let strangers = devices(50);
    world
        .campaigns
        .add_targets(&world.tenant, &id, &strangers[40..], true)
        .await
        .unwrap();

    let run = world.campaigns.dry_run(&world.tenant, &id).await.unwrap();

    assert_eq!((run.targets, run.reachable), (50, 40));
    assert_eq!(run.takes, Duration::from_secs(25 + 60));
    assert_eq!((run.in_time, run.too_late()), (50, 0));
    assert_eq!(world.report(&id).await.counts.waiting, 50);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_whom_the_deadline_cuts_off() {
    let world = World::new(100).await;
    let mut held = definition(Selection::All, Goal::CheckIn);
    held.pace.per_second = Some(1.0);
    held.waves = vec![wave("20%", 600, ""), wave("50%", 7_200, "")];
    let id = world.draft(held.clone(), 0).await;

    let run = world.campaigns.dry_run(&world.tenant, &id).await.unwrap();
    assert_eq!(run.takes, Duration::from_secs(100 + 600 + 7_200));
    assert_eq!((run.in_time, run.too_late()), (50, 50));
    assert_eq!((run.reachable, run.reachable_in_time()), (100, 50));

    held.waves.clear();
    held.until = reveille::domain::campaign::Until::ExpiresIn(Duration::from_secs(200));
    held.pace.open_sessions_max = Some(10);
    let id = world.draft(held, 0).await;
    let run = world.campaigns.dry_run(&world.tenant, &id).await.unwrap();
    assert_eq!(run.takes, Duration::from_secs(9 * 70 + 10));
    assert_eq!(run.takes_at_best, Duration::from_secs(100));
    assert_eq!((run.in_time, run.too_late()), (30, 70));
}
