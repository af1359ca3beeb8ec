use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::{
    ask::{CancelCause, Class, ExpiryCause, Goal},
    channel::{Channel, ChannelState, Trial},
    id::{DeviceKey, TenantId},
    item::{After, Before, Change, Item, compose},
    queue::{Flow, Lane, Queue, place},
    record::{Revision, codec},
    wns::{
        channel_uri::ChannelUri,
        reply::{ChannelRefusal, Outcome, Trace, UnavailableKind},
    },
};

mod channels;
mod life;
mod machine;
mod overtaken;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

fn uri(n: u32) -> ChannelUri {
    ChannelUri::from_stored(&format!(
        "https://db5p.notify.windows.com/?token=AwYAAA{n}%2b"
    ))
}

/// One device under the rules, driven by hand.
struct Bench {
    rules: Rules,
    device: DeviceId,
    tenant: TenantId,
    record: DeviceRecord,
    now: Timestamp,
    effects: Effects,
}

impl Bench {
    fn new() -> Self {
        Self {
            rules: Rules::default(),
            device: DeviceId::new("d1").unwrap(),
            tenant: TenantId::new("contoso").unwrap(),
            record: DeviceRecord::default(),
            now: at(0),
            effects: Effects::default(),
        }
    }

    fn with_channel() -> Self {
        let mut bench = Self::new();
        bench.register(1);
        bench
    }

    fn run<R>(&mut self, f: impl FnOnce(&Step<'_>, &mut DeviceRecord) -> (R, Effects)) -> R {
        let rules = self.rules.clone();
        let device = self.device.clone();
        let step = Step {
            rules: &rules,
            device: &device,
            now: self.now,
            jitter: 1.0,
        };
        let (answer, effects) = f(&step, &mut self.record);
        self.effects.absorb(effects);
        answer
    }

    fn register(&mut self, n: u32) -> Registered {
        self.run(|step, record| register(step, record, uri(n)))
    }

    fn ask(&mut self, source: Source, class: Class, goal: Goal) -> Opened {
        let deadline = self.now + DAY;
        let request = AskRequest {
            source,
            class,
            goal,
            deadline,
            reason: None,
            trace: None,
        };
        self.run(|step, record| open(step, record, request).unwrap())
    }

    fn direct(&mut self, goal: Goal) -> Opened {
        self.ask(Source::Direct, Class::Normal, goal)
    }

    fn settle(&mut self, began_at: Timestamp, outcome: Outcome) {
        let attempt = self.attempt(began_at, outcome);
        self.run(|step, record| ((), settle(step, record, &attempt)));
    }

    fn attempt(&self, began_at: Timestamp, outcome: Outcome) -> Attempt {
        Attempt {
            began_at,
            asks: Vec::new(),
            generation: self.record.generation(),
            outcome,
            trace: Trace::default(),
            ms_cv: Arc::from("cv"),
            ttl: Duration::from_secs(3_600),
            wave: false,
        }
    }

    fn check_in(&mut self, began_at: Timestamp) {
        self.run(|step, record| ((), check_in(step, record, began_at).effects));
    }

    fn review(&mut self) -> Verdict {
        let queue = place(&self.tenant, &self.record).unwrap().queue;
        self.run(|step, record| review(step, record, &queue, false))
    }

    fn closed(&self) -> Vec<CloseReason> {
        self.effects.closed.iter().map(|c| c.ask.reason).collect()
    }

    fn events(&self) -> Vec<&'static str> {
        self.effects
            .events
            .iter()
            .map(|e| e.kind.as_str())
            .collect()
    }

    fn place(&self) -> Option<(Lane, Flow, Timestamp)> {
        place(&self.tenant, &self.record).map(|d| (d.queue.lane, d.queue.flow, d.at))
    }
}

fn received() -> Outcome {
    Outcome::Accepted {
        cached: false,
        stated: true,
    }
}

fn campaign(name: &str) -> Source {
    Source::Campaign(CampaignId::new(name).unwrap())
}
