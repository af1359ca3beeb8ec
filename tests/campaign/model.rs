//! A tenant in memory: it keeps what commit items say, as a store would, and checks that nothing is counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use reveille::domain::{
    campaign::{Campaign, Candidate, Counts, Enrolment, Order, Sweep, enrol, released, swept},
    counter::Counter,
    id::{CampaignId, DeviceId, DeviceKey, TenantId},
    item::{After, Before, Change, Expect, Item, ListMove, ListName, compose},
    record::{DeviceRecord, Revision, codec},
    schedule::Rules,
    transition::{Effects, Step},
};

/// One device and its part in one campaign or two.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) record: Option<DeviceRecord>,
    listed: BTreeMap<CampaignId, Listed>,
}

#[derive(Default)]
struct Listed {
    waiting: Option<(i64, String)>,
    result: Option<String>,
}

pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) rules: Rules,
    pub(crate) now: Timestamp,
    pub(crate) slots: Vec<Slot>,
    pub(crate) counters: HashMap<Counter, i64>,
    waiting: HashMap<CampaignId, BTreeSet<(i64, usize)>>,
    random: u64,
}

pub(crate) fn device(index: usize) -> DeviceId {
    DeviceId::new(&format!("d{index}")).unwrap()
}

impl Tenant {
    pub(crate) fn new(devices: usize, now: Timestamp) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(devices, Slot::default);
        Self {
            id: TenantId::new("contoso").unwrap(),
            rules: Rules::default(),
            now,
            slots,
            counters: HashMap::new(),
            waiting: HashMap::new(),
            random: 7,
        }
    }

    /// The next random number in `0.0..1.0`: always the same row of them.
    pub(crate) fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn key(&self, index: usize) -> DeviceKey {
        DeviceKey::new(self.id.clone(), device(index))
    }

    /// Runs a transition on a device and commits it.
    pub(crate) fn edit<R>(
        &mut self,
        index: usize,
        change: impl FnOnce(&Step<'_>, &mut DeviceRecord) -> (R, Effects),
    ) -> R {
        let jitter = self.random();
        let key = self.key(index);
        let old = self.slots[index].record.take();
        let mut record = old.clone().unwrap_or_default();
        let step = Step {
            rules: &self.rules,
            device: &key.device,
            now: self.now,
            jitter,
        };
        let (answer, effects) = change(&step, &mut record);
        let item = compose(
            key.clone(),
            before(old.as_ref()),
            After {
                record: Some(record.clone()),
                revision: Revision(2),
                effects,
            },
            None,
        );
        self.slots[index].record = old;
        self.apply(index, item, Some(record));
        answer
    }

    /// Removes a device's record.
    pub(crate) fn forget(
        &mut self,
        index: usize,
        change: impl FnOnce(&Step<'_>, &mut DeviceRecord) -> Effects,
    ) {
        let Some(old) = self.slots[index].record.clone() else {
            return;
        };
        let key = self.key(index);
        let mut record = old.clone();
        let step = Step {
            rules: &self.rules,
            device: &key.device,
            now: self.now,
            jitter: 0.0,
        };
        let effects = change(&step, &mut record);
        let after = After {
            record: None,
            revision: Revision(2),
            effects,
        };
        let item = compose(key.clone(), before(Some(&old)), after, None);
        self.apply(index, item, None);
    }

    pub(crate) fn enrol(&mut self, campaign: &CampaignId, index: usize) {
        let enrolment = Enrolment {
            key: self.key(index),
            unknown: self.slots[index].record.is_none(),
        };
        let item = enrol(campaign, enrolment);
        self.apply(index, item, None);
    }

    /// Releases the `most` targets that come next; answers which were released or ended.
    pub(crate) fn release(&mut self, order: &Order<'_>, most: usize) -> Vec<usize> {
        let id = &order.campaign.id;
        let waiting = self.waiting.entry(id.clone()).or_default();
        let next: Vec<usize> = waiting.iter().take(most).map(|(_, index)| *index).collect();
        let mut done = Vec::with_capacity(next.len());
        for index in next {
            let item = self.decide(index, id, |step, candidate| {
                released(step, order, candidate)
            });
            if let Some(item) = item {
                self.apply(index, item, None);
                done.push(index);
            }
        }
        done
    }

    pub(crate) fn sweep(&mut self, campaign: &Campaign, kind: Sweep) {
        for index in 0..self.slots.len() {
            let listed = self.slots[index].listed.get(&campaign.id);
            if listed.is_none_or(|l| l.result.is_some()) {
                continue;
            }
            let item = self.decide(index, &campaign.id, |step, candidate| {
                swept(step, campaign, kind, candidate)
            });
            if let Some(item) = item {
                self.apply(index, item, None);
            }
        }
    }

    fn decide(
        &self,
        index: usize,
        campaign: &CampaignId,
        decide: impl FnOnce(&Step<'_>, Candidate<'_>) -> Option<Item>,
    ) -> Option<Item> {
        let slot = &self.slots[index];
        let key = self.key(index);
        let device = key.device.clone();
        let waiting = slot.listed.get(campaign).and_then(|l| l.waiting.as_ref());
        let candidate = Candidate {
            key,
            before: before(slot.record.as_ref()),
            waiting: waiting.map(|(score, text)| (*score, &**text)),
            revision: Revision(2),
            trace: None,
        };
        let step = Step {
            rules: &self.rules,
            device: &device,
            now: self.now,
            jitter: 0.5,
        };
        decide(&step, candidate)
    }

    /// Applies one item; `record` is what its bytes say, if the caller knows.
    fn apply(&mut self, index: usize, item: Item, record: Option<DeviceRecord>) {
        let slot = &mut self.slots[index];
        if let Expect::NotListed(ListName::Targets(id)) = &item.expect
            && slot.listed.contains_key(id)
        {
            return;
        }
        match item.change {
            Change::Put(_, bytes) => {
                slot.record = Some(record.unwrap_or_else(|| codec::decode(&bytes).unwrap()));
            }
            Change::Delete => slot.record = None,
            Change::Keep => {}
        }
        for (counter, by) in item.moves.iter() {
            *self.counters.entry(counter.clone()).or_default() += by;
        }
        for list in item.lists {
            self.list(index, list);
        }
    }

    fn list(&mut self, at: usize, list: ListMove) {
        let slot = &mut self.slots[at];
        match list {
            ListMove::Put { list, score, text } => match list {
                ListName::Waiting(id) => {
                    let listed = slot.listed.entry(id.clone()).or_default();
                    let waiting = self.waiting.entry(id).or_default();
                    if let Some((old, _)) = listed.waiting.replace((score, text)) {
                        waiting.remove(&(old, at));
                    }
                    waiting.insert((score, at));
                }
                ListName::Targets(id) => {
                    let listed = slot.listed.entry(id).or_default();
                    if !text.is_empty() {
                        let twice = listed.result.replace(text);
                        assert_eq!(twice, None, "a target ends once");
                    }
                }
                ListName::Channels(_) => {}
            },
            ListMove::Remove { list } => {
                if let ListName::Waiting(id) = list {
                    let listed = slot.listed.entry(id.clone()).or_default();
                    let (score, _) = listed
                        .waiting
                        .take()
                        .expect("a target leaves the list once");
                    self.waiting.entry(id).or_default().remove(&(score, at));
                }
            }
        }
    }

    pub(crate) fn counts(&self, campaign: &CampaignId) -> Counts {
        let named = self.counters.iter().map(|(c, n)| (c.to_string(), *n));
        Counts::read(campaign, &named.collect())
    }

    pub(crate) fn result(&self, campaign: &CampaignId, index: usize) -> Option<&str> {
        self.slots[index].listed.get(campaign)?.result.as_deref()
    }

    /// The indexes of all targets of a campaign.
    pub(crate) fn targets(&self, campaign: &CampaignId) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(move |(i, slot)| slot.listed.contains_key(campaign).then_some(i))
    }

    pub(crate) fn waits(&self, campaign: &CampaignId, index: usize) -> bool {
        let listed = self.slots[index].listed.get(campaign);
        listed.is_some_and(|l| l.waiting.is_some())
    }
}

fn before(record: Option<&DeviceRecord>) -> Before<'_> {
    Before {
        revision: record.map(|_| Revision(1)),
        record,
    }
}
