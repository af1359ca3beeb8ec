//! The names of everything kept in Redis, and which shard a thing belongs to.
//!
//! All keys of a shard carry its hash tag, so that a cluster keeps them in one slot and a script may name several. Tags are
//! found by trial: the tag of shard `i` of `n` hashes into the `i`-th `n`-th part of the slots, so that any contiguous
//! division of the slots among nodes gives each its share of the shards. Names never change once a store is created.

use crate::{
    domain::{
        id::{AppId, DeviceKey, TenantId},
        queue::{Flow, Queue},
    },
    ports::{queues::Selector, records::ListName},
};

/// Hash slots of a Redis cluster.
const SLOTS: u32 = 16_384;

/// Most shards of a store: the feed cursor, one position a shard, stays within 1,024 bytes.
pub const SHARDS_MAX: usize = 128;

/// Tag of what belongs to no shard.
const CONTROL_TAG: &str = "ctl";

/// Names keys. Places `0..shards` are the shards, place `shards` is the control slot, and then come the tenants that have
/// streams.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    shards: usize,
    bases: Vec<String>,
    slots: Vec<u16>,
}

impl Keys {
    pub(super) fn new(prefix: &str, shards: usize) -> Self {
        let mut tags: Vec<String> = (0..shards).map(|i| tag(i, shards)).collect();
        tags.push(CONTROL_TAG.to_owned());
        let mut keys = Self {
            prefix: prefix.to_owned(),
            shards,
            bases: Vec::new(),
            slots: Vec::new(),
        };
        tags.iter().for_each(|tag| keys.add(tag));
        keys
    }

    fn add(&mut self, tag: &str) {
        self.bases.push(format!("{}:{{{tag}}}:", self.prefix));
        self.slots.push(slot(tag));
    }

    /// Adds places for the streams of tenants, whose tags everybody can write down: `t:contoso`.
    pub(super) fn with_streams(mut self, tenants: &[TenantId]) -> Self {
        for tenant in tenants {
            self.add(&format!("t:{tenant}"));
        }
        self
    }

    /// The key of the store's own description, which is found before the number of shards is known.
    pub(super) fn control_only(prefix: &str) -> Self {
        Self::new(prefix, 0)
    }

    pub(super) fn shards(&self) -> usize {
        self.shards
    }

    /// The place of what belongs to no shard.
    pub(super) fn control(&self) -> usize {
        self.shards()
    }

    /// The place of the streams of the tenant named `at`-th.
    pub(super) fn stream_place(&self, at: usize) -> usize {
        self.shards + 1 + at
    }

    /// A stream of a tenant: `inbox`, `dead`, `outbox`; and `inbox-epoch` and `outbox-place`, which are texts.
    pub(super) fn stream(&self, place: usize, name: &str) -> String {
        self.own(place, name)
    }

    pub(super) fn slots(&self) -> &[u16] {
        &self.slots
    }

    pub(super) fn shard_of(&self, key: &DeviceKey) -> usize {
        self.bucket(&[
            key.tenant.as_str().as_bytes(),
            b"/",
            key.device.as_str().as_bytes(),
        ])
    }

    /// The shard of a document, a lease, of a tenant's events that are about no device, or of its counters on one server.
    pub(super) fn shard_of_name(&self, name: &str) -> usize {
        self.bucket(&[name.as_bytes()])
    }

    fn bucket(&self, parts: &[&[u8]]) -> usize {
        let shards = u64::try_from(self.shards()).expect("at most 128 shards");
        usize::try_from(hash(parts) % shards).expect("less than the number of shards")
    }

    /// A key that a shard has once: `ready`, `asleep`, `parks`, `meta`, `fences`, `feed`, `docs`, `doc-ends`.
    pub(super) fn own(&self, place: usize, name: &str) -> String {
        format!("{}{name}", self.bases[place])
    }

    pub(super) fn devices(&self, place: usize, tenant: &TenantId) -> String {
        format!("{}dev:{tenant}", self.bases[place])
    }

    pub(super) fn queue(&self, place: usize, queue: &Queue) -> String {
        self.queue_named(place, &queue.to_string())
    }

    pub(super) fn queue_named(&self, place: usize, queue: &str) -> String {
        format!("{}q:{queue}", self.bases[place])
    }

    pub(super) fn counters(&self, place: usize, tenant: &TenantId) -> String {
        format!("{}ctr:{tenant}", self.bases[place])
    }

    pub(super) fn events(&self, place: usize, tenant: &TenantId) -> String {
        format!("{}ev:{tenant}", self.bases[place])
    }

    pub(super) fn list(&self, place: usize, tenant: &TenantId, list: &ListName) -> String {
        format!("{}l:{tenant}:{}", self.bases[place], list_text(list))
    }

    /// Where the texts of a list's members are.
    pub(super) fn list_texts(&self, place: usize, tenant: &TenantId, list: &ListName) -> String {
        format!("{}lt:{tenant}:{}", self.bases[place], list_text(list))
    }

    pub(super) fn document(&self, place: usize, name: &str) -> String {
        format!("{}doc:{name}", self.bases[place])
    }

    pub(super) fn lease(&self, place: usize, name: &str) -> String {
        format!("{}lease:{name}", self.bases[place])
    }

    pub(super) fn share(&self, app: &AppId) -> String {
        format!("{}share:{app}", self.bases[self.control()])
    }

    /// The channel on which a shard announces what has changed in it.
    pub(super) fn news(&self, place: usize) -> String {
        self.own(place, "news")
    }
}

/// Members of `parks` that would take `queue` out of service.
pub(super) fn parks_of(queue: &Queue) -> [String; 2] {
    let tenant = queue.tenant.clone();
    let flow = Some(queue.flow.clone());
    [
        park_text(&Selector {
            tenant: tenant.clone(),
            flow: None,
        }),
        park_text(&Selector { tenant, flow }),
    ]
}

/// A selector as member of `parks`: `contoso`, `contoso:direct` or `contoso:c/renew-7`.
pub(super) fn park_text(selector: &Selector) -> String {
    match &selector.flow {
        None => selector.tenant.to_string(),
        Some(Flow::Direct) => format!("{}:direct", selector.tenant),
        Some(Flow::Campaign(id)) => format!("{}:c/{id}", selector.tenant),
    }
}

fn list_text(list: &ListName) -> String {
    match list {
        ListName::Channels(state) => format!("channels/{state}"),
        ListName::Waiting(id) => format!("waiting/{id}"),
        ListName::Targets(id) => format!("targets/{id}"),
    }
}

/// The tag of shard `i` of `shards`: `s07` and, where needed, letters after it.
fn tag(i: usize, shards: usize) -> String {
    let shards = u32::try_from(shards).expect("at most 128 shards");
    let i = u32::try_from(i).expect("less than the number of shards");
    let part = i * SLOTS / shards..(i + 1) * SLOTS / shards;
    let base = format!("s{i:02}");
    let mut candidate = base.clone();
    let mut tried: u32 = 0;
    while !part.contains(&u32::from(slot(&candidate))) {
        candidate = format!("{base}{}", letters(tried));
        tried += 1;
    }
    candidate
}

/// `a` to `z`, then `aa`, `ab` …
fn letters(mut n: u32) -> String {
    let mut reversed = Vec::new();
    loop {
        reversed.push(char::from(
            b'a' + u8::try_from(n % 26).expect("less than 26"),
        ));
        if n < 26 {
            return reversed.iter().rev().collect();
        }
        n = n / 26 - 1;
    }
}

/// The hash slot of a tag: CRC-16/XMODEM modulo the number of slots (Redis cluster specification).
fn slot(tag: &str) -> u16 {
    let mut crc: u16 = 0;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _bit in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    u16::try_from(u32::from(crc) % SLOTS).expect("less than the number of slots")
}

/// FNV-1a with the finisher of MurmurHash3, which spreads what FNV leaves in the low bits. Part of the format of a store.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().copied().flatten() {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::DeviceId;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
    }

    #[test]
    fn shards_spread_evenly_over_the_slots() {
        for shards in [1, 3, 16, 64, SHARDS_MAX] {
            let keys = Keys::new("rv", shards);
            for (i, slot) in keys.slots()[..shards].iter().enumerate() {
                let (slot, i) = (usize::from(*slot), i);
                assert!(slot >= i * 16_384 / shards && slot < (i + 1) * 16_384 / shards);
            }
        }
    }

    #[test]
    fn devices_spread_evenly_over_the_shards() {
        let keys = Keys::new("rv", 64);
        let tenant = TenantId::new("contoso").unwrap();
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            let device = DeviceId::new(&format!("device-{n:06}")).unwrap();
            counts[keys.shard_of(&DeviceKey::new(tenant.clone(), device))] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    #[test]
    fn names_are_part_of_the_format_and_never_change() {
        let keys = Keys::new("rv", 64);
        let tenant = TenantId::new("contoso").unwrap();
        let device = DeviceId::new("d1").unwrap();
        let shard = keys.shard_of(&DeviceKey::new(tenant.clone(), device));
        let names = [
            keys.devices(shard, &tenant),
            keys.queue(7, &"contoso:bulk:c/renew".parse().unwrap()),
            keys.own(63, "ready"),
            keys.share(&AppId::new("vendor").unwrap()),
        ];
        insta::assert_debug_snapshot!(names);
    }
}
