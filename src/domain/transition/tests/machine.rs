//! Random lives: whatever happens in whatever order, every ask ends once and all counters follow.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    counter::{Counter, WakeSlot},
    schedule::earlier,
    trace_context::TraceContext,
};

#[derive(Clone, Debug)]
enum Event {
    Register(u32),
    Open(usize, Class, Goal, i64),
    Attempt(usize, i64),
    CheckIn(i64),
    Review(bool),
    Cancel(usize),
    Hold(usize, bool),
    Revive(i64),
    Forget,
    Wait(i64),
}

fn outcomes() -> Vec<Outcome> {
    let kind = UnavailableKind::Reset;
    vec![
        received(),
        Outcome::Accepted {
            cached: true,
            stated: false,
        },
        Outcome::Dropped,
        Outcome::ChannelThrottled { retry_after: None },
        Outcome::TokenRefused,
        Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        },
        Outcome::DomainBlocked { status: 410 },
        Outcome::AppThrottled {
            retry_after: Duration::from_secs(900),
        },
        Outcome::OurFault {
            status: 400,
            description: None,
        },
        Outcome::Unavailable {
            kind,
            retry_after: None,
        },
        Outcome::Redirected { status: 302 },
    ]
}

fn source(n: usize) -> Source {
    if n == 0 {
        Source::Direct
    } else {
        campaign(&format!("c{n}"))
    }
}

fn event() -> impl Strategy<Value = Event> {
    let class = proptest::sample::select(Class::ALL.to_vec());
    let goal = proptest::sample::select(vec![Goal::Accepted, Goal::CheckIn]);
    prop_oneof![
        (1_u32..4).prop_map(Event::Register),
        (0_usize..4, class, goal, 1_i64..200_000).prop_map(|(s, c, g, d)| Event::Open(s, c, g, d)),
        (0_usize..11, 0_i64..20).prop_map(|(o, ago)| Event::Attempt(o, ago)),
        (-100_i64..100).prop_map(Event::CheckIn),
        any::<bool>().prop_map(Event::Review),
        (0_usize..5).prop_map(Event::Cancel),
        (1_usize..4, any::<bool>()).prop_map(|(s, held)| Event::Hold(s, held)),
        (0_i64..1_000).prop_map(Event::Revive),
        Just(Event::Forget),
        (-4_000_i64..100_000).prop_map(Event::Wait),
    ]
}

fn apply(b: &mut Bench, event: &Event) -> bool {
    let now = b.now;
    let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
    match event {
        Event::Register(n) => drop(b.register(*n)),
        Event::Open(s, class, goal, seconds) => {
            let deadline = now + SignedDuration::from_secs(*seconds);
            let (class, goal, source) = (*class, *goal, source(*s));
            let request = AskRequest {
                source,
                class,
                goal,
                deadline,
                reason: Some("a|b%\n".into()),
                trace: TraceContext::new([u8::from(*seconds > 0); 16], [7; 8]),
            };
            b.run(|step, record| open(step, record, request).unwrap());
        }
        Event::Attempt(o, seconds) => b.settle(ago(*seconds), outcomes()[*o].clone()),
        Event::CheckIn(seconds) => b.check_in(ago(*seconds)),
        Event::Review(wave) => {
            if let Some(due) = place(&b.tenant, &b.record) {
                b.run(|step, record| review(step, record, &due.queue, *wave));
            }
        }
        Event::Cancel(4) => b.run(|step, record| ((), cancel(step, record, &Cancel::All))),
        Event::Cancel(s) => {
            let which = match source(*s) {
                Source::Direct => Cancel::Direct,
                Source::Campaign(id) => Cancel::Campaign(id),
            };
            b.run(|step, record| ((), cancel(step, record, &which)));
        }
        Event::Hold(s, held) => {
            let Source::Campaign(id) = source(*s) else {
                return false;
            };
            b.run(|step, record| (hold(step, record, &id, *held), Effects::default()));
        }
        Event::Revive(seconds) => {
            let since = ago(*seconds);
            b.run(|step, record| (revive(step, record, since), Effects::default()));
        }
        Event::Forget => {
            b.run(|step, record| ((), forget(step, record)));
            return true;
        }
        Event::Wait(seconds) => b.now = now + SignedDuration::from_secs(*seconds),
    }
    false
}

/// What brings a device into the store as the record says it.
fn first_item(record: Option<&DeviceRecord>) -> Item {
    let key = DeviceKey::new(TenantId::new("t").unwrap(), DeviceId::new("d").unwrap());
    let after = After {
        record: record.cloned(),
        revision: Revision(0),
        effects: Effects::default(),
    };
    let before = Before {
        revision: None,
        record: None,
    };
    compose(key, before, after, None)
}

/// The counters as a recount of the record gives them.
fn recount(record: Option<&DeviceRecord>) -> HashMap<String, i64> {
    let mut counts = HashMap::new();
    add(&mut counts, &first_item(record));
    counts
}

fn add(counts: &mut HashMap<String, i64>, item: &Item) {
    for (counter, by) in item.moves.iter() {
        let open = !matches!(counter, Counter::Closed(_));
        let attempts = counter.to_string().ends_with(".attempts");
        let closed = counter.to_string().starts_with("campaign.")
            && CloseReason::LABELS
                .iter()
                .any(|l| counter.to_string().ends_with(l));
        let delays = counter.to_string().contains(".delay_");
        let woken = matches!(counter, Counter::Woken(..));
        if open && !attempts && !closed && !delays && !woken {
            let count = counts.entry(counter.to_string()).or_default();
            *count += by;
        }
    }
    counts.retain(|_, v| *v != 0);
}

/// Adds what an item moves of the slots in which devices were told to wake.
fn add_woken(counts: &mut HashMap<WakeSlot, i64>, item: &Item) {
    for (counter, by) in item.moves.iter() {
        if let Counter::Woken(_, slot) = counter {
            *counts.entry(*slot).or_default() += by;
        }
    }
}

/// The slots that lie wholly within the time that a session may take.
fn recent(counts: &HashMap<WakeSlot, i64>, now: Timestamp) -> Vec<(WakeSlot, i64)> {
    let first = WakeSlot::of(earlier(now, WakeSlot::SESSION));
    let recent = counts.iter().filter(|(slot, n)| **slot > first && **n != 0);
    let mut recent: Vec<_> = recent.map(|(slot, n)| (*slot, *n)).collect();
    recent.sort_unstable();
    recent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_ask_ends_once_and_the_counters_follow(events in proptest::collection::vec(event(), 1..60)) {
        let key = DeviceKey::new(TenantId::new("contoso").unwrap(), DeviceId::new("d1").unwrap());
        let mut b = Bench::new();
        // What is over stays over when the clock is set back.
        let mut latest = b.now;
        let (mut counts, mut woken) = (HashMap::new(), HashMap::new());
        let (mut stored, mut opened, mut ended): (Option<DeviceRecord>, i64, i64) = (None, 0, 0);
        for event in &events {
            let asks = |r: &DeviceRecord| r.push.as_ref().map_or(0, |p| p.asks.len() as i64);
            b.effects = Effects::default();
            let before = asks(&b.record);
            let merged = match event {
                Event::Open(s, ..) => b.record.push.as_ref().is_some_and(|p| p.asks.iter().any(|a| a.source == source(*s))),
                _ => true,
            };
            let deleted = apply(&mut b, event);

            opened += i64::from(!merged);
            ended += b.effects.closed.len() as i64;
            prop_assert_eq!(asks(&b.record), before + i64::from(!merged) - b.effects.closed.len() as i64);
            prop_assert_eq!(opened - ended, asks(&b.record));
            prop_assert_eq!(b.record.push.is_some(), asks(&b.record) > 0);

            let record = (!deleted).then(|| b.record.clone());
            let after = After { record: record.clone(), revision: Revision(1), effects: b.effects.clone() };
            let before = Before { revision: stored.as_ref().map(|_| Revision(0)), record: stored.as_ref() };
            let item = compose(key.clone(), before, after, None);
            add(&mut counts, &item);
            prop_assert_eq!(&counts, &recount(record.as_ref()));
            add_woken(&mut woken, &item);
            let mut afresh = HashMap::new();
            add_woken(&mut afresh, &first_item(record.as_ref()));
            latest = latest.max(b.now);
            prop_assert_eq!(recent(&woken, latest), recent(&afresh, latest));
            if let Change::Put(_, bytes) = &item.change {
                prop_assert_eq!(codec::decode(bytes), Ok(b.record.clone()));
            }
            // Whatever is open has a place, and that place comes no later than its first deadline.
            if let Some(push) = &b.record.push {
                let due = place(&b.tenant, &b.record).unwrap();
                prop_assert!(due.at <= push.earliest_deadline());
            }
            if deleted {
                b.record = DeviceRecord::default();
            }
            stored = record;
        }
    }

    #[test]
    fn damaged_records_are_an_error_never_a_panic(text in "[1capkz|0-9,ld\n%/]{0,200}") {
        drop(codec::decode(text.as_bytes()));
    }

    #[test]
    fn nothing_is_sent_to_a_channel_that_is_known_dead(
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut b = Bench::new();
        for event in &events {
            if apply(&mut b, event) {
                b.record = DeviceRecord::default();
            }
            if let Some(due) = place(&b.tenant, &b.record) {
                let queue = Queue { tenant: b.tenant.clone(), ..due.queue };
                let verdict = b.run(|step, record| review(step, record, &queue, false));
                prop_assert!(verdict == Verdict::Commit || b.record.reachable());
                prop_assert!(verdict == Verdict::Commit || b.record.channel.as_ref().is_some_and(Channel::usable));
            }
        }
    }
}
