//! What a sample says, and which tenants a round takes.

use super::*;
use crate::ports::queues::Ready;

fn counters() -> BTreeMap<String, i64> {
    [
        ("channels.live", 7),
        ("pushes.urgent", 2),
        ("expiring.2025-10-09", 3),
        ("expiring.2025-10-14", 4),
        ("campaign.c1.targets", 9),
        ("campaign.c1.waiting", 5),
        ("campaign.c1.blocked", 3),
        ("campaign.c1.expired", 1),
        ("campaign.c1.wave1.waiting", 5),
        ("campaign.c2.targets", 6),
        ("campaign.c2.waiting", 6),
        ("campaign.over.targets", 90),
        ("campaign.over.checked_in", 90),
    ]
    .map(|(name, count): (&str, i64)| (name.to_owned(), count))
    .into()
}

/// Now, in seconds since 1970.
const NOW: i64 = 1_760_000_000;

/// A queue whose first entry is due `at` seconds from now.
fn held(queue: &str, at: i64, entries: u64, due: u64) -> Held {
    let ready = Ready {
        queue: queue.parse().unwrap(),
        earliest: Timestamp::from_second(NOW + at).unwrap(),
    };
    Held {
        ready,
        entries,
        due,
    }
}

#[test]
fn while_nothing_changes_many_tenants_are_looked_at_in_turns() {
    let tenant = |n: usize| TenantId::new(&format!("t{n}")).unwrap();
    let all: Vec<TenantId> = (0..2 * TENANTS_QUIET + 1).map(tenant).collect();
    let (mut seen, mut round) = (Vec::new(), Round::All);
    for _ in 0..4 {
        let mut chosen = all.clone();
        round = round.choose(&mut chosen);
        seen.push(chosen);
    }
    assert_eq!(seen[0], all);
    assert_eq!(seen[1], all[..TENANTS_QUIET]);
    assert_eq!(seen[2], all[TENANTS_QUIET..2 * TENANTS_QUIET]);
    assert_eq!(seen[3][..2], [all[2 * TENANTS_QUIET].clone(), tenant(0)]);
    Round::From(3).choose(&mut Vec::new());
}

#[test]
fn pushes_of_tenants_without_an_app_are_told_apart() {
    let census = [
        held("gone:urgent:direct", 0, 2, 0),
        held("gone:timer:direct", 0, 3, 0),
        held("contoso:bulk:direct", 0, 10, 0),
    ];
    let (contoso, gone) = ["contoso", "gone"]
        .map(|id| TenantId::new(id).unwrap())
        .into();
    let apps = HashMap::from([(contoso, 0)]);
    assert_eq!(unserved(&apps, &census), BTreeMap::from([(gone, 5)]));
    assert_eq!(unserved(&apps, &census[2..]), BTreeMap::new());
}

#[test]
fn a_tenant_is_counted_from_the_stores_counters_and_queues() {
    let now = Timestamp::from_second(NOW).unwrap();
    let tenant = TenantId::new("contoso").unwrap();
    let counters = counters();
    let census = [
        held("contoso:urgent:direct", -30, 5, 2),
        held("contoso:repush:direct", -60, 9, 4),
        held("contoso:bulk:direct", 40, 7, 0),
        held("other:bulk:direct", -999, 1, 1),
    ];
    let campaigns = [
        ("c1", State::Running),
        ("c2", State::Paused),
        ("over", State::Finished),
    ];
    let campaigns = campaigns
        .map(|(id, state)| (CampaignId::new(id).unwrap(), state))
        .into();
    let sample = sample(
        &tenant,
        &Seen {
            counters: &counters,
            census: &census,
            campaigns: &campaigns,
            leased: 7,
            now,
        },
    );
    assert_eq!(sample.oldest_due, Duration::from_secs(30));
    assert!(sample.pushes_open.contains(&(Class::Urgent, 2)));
    assert_eq!(
        sample.pushes,
        [
            (PushState::Awaiting, 9),
            (PushState::Due, 2),
            (PushState::Scheduled, 3)
        ]
    );
    assert!(sample.channels.contains(&(ChannelKind::Live, 7)));
    assert_eq!(
        sample.channels_expiring,
        [(Horizon::Day, 3), (Horizon::Week, 7)]
    );
    assert_eq!(
        sample.campaign_targets,
        [
            (TargetPhase::Waiting, 11),
            (TargetPhase::Open, 3),
            (TargetPhase::Closed, 1)
        ],
        "what is over no longer counts"
    );
    for (phase, count) in sample.campaigns {
        let known = match phase {
            CampaignPhase::Running | CampaignPhase::Paused | CampaignPhase::Finished => 1,
            CampaignPhase::Draft | CampaignPhase::Preparing | CampaignPhase::Cancelled => 0,
        };
        assert_eq!(count, known, "{phase:?}");
    }
}
