//! The devices in memory: one dense number each, with the place of its record in the log and its turn.
//!
//! About 100 bytes a device, whatever its record: names stand once, side by side, and everything else refers to numbers.

use std::collections::HashMap;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{bytes::Malformed, due::QueueId, ops::Key};
use crate::domain::id::{DeviceId, DeviceKey, TenantId};

/// A device within this process.
pub(super) type Number = u32;

const FREE: u32 = u32::MAX;

/// Where a record stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    /// Of its checksum.
    pub(super) offset: u32,
    /// Of the record without its checksum.
    pub(super) length: u32,
}

/// What is in memory of a device. Its turn is where the log says; while it is claimed, `State` knows better.
#[derive(Clone, Debug)]
pub(super) struct Device {
    hash: u32,
    name: u32,
    tenant: u32,
    pub(super) revision: u32,
    pub(super) location: Location,
    pub(super) queue: Option<QueueId>,
    pub(super) due_ms: i64,
}

/// All devices, found by name or number.
pub(super) struct Devices {
    slots: Vec<Device>,
    free: Vec<Number>,
    /// By a short hash, which stands beside the number so that looking up misses the cache once less.
    index: HashTable<(u32, Number)>,
    names: Names,
    tenants: Vec<TenantId>,
    tenant_numbers: HashMap<TenantId, u32>,
    /// Random, so that nobody can choose ids that meet.
    seed: u64,
    live_bytes: u64,
}

impl Devices {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            names: Names::default(),
            tenants: Vec::new(),
            tenant_numbers: HashMap::new(),
            seed,
            live_bytes: 0,
        }
    }

    /// A number that differs for different names, as good as certainly.
    pub(super) fn fingerprint(&self, key: Key<'_>) -> u64 {
        let tenant = xxh3_64_with_seed(key.tenant.as_bytes(), self.seed);
        xxh3_64_with_seed(key.device.as_bytes(), tenant)
    }

    /// The number of a device.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Number> {
        self.find_by(self.fingerprint(key), key)
    }

    fn find_by(&self, fingerprint: u64, key: Key<'_>) -> Option<Number> {
        let hash = short(fingerprint);
        let is_it = |(h, n): &(u32, Number)| *h == hash && self.is_named(*n, key);
        self.index.find(spread(hash), is_it).map(|(_, n)| *n)
    }

    fn is_named(&self, number: Number, key: Key<'_>) -> bool {
        let slot = &self.slots[number as usize];
        self.names.get(slot.name) == key.device.as_bytes()
            && self.tenants[slot.tenant as usize].as_str() == key.tenant
    }

    /// The numbers of many devices, with their fingerprints. Step by step for all of them, so that waiting for memory
    /// overlaps: that is most of what looking up costs.
    pub(super) fn find_all<'a>(
        &self,
        keys: impl Iterator<Item = Key<'a>> + Clone,
    ) -> Vec<(u64, Option<Number>)> {
        let fingerprints = keys.clone().map(|key| self.fingerprint(key));
        let likely = |fingerprint| {
            let hash = short(fingerprint);
            let found = self.index.find(spread(hash), |(h, _)| *h == hash);
            (fingerprint, found.map(|(_, n)| *n))
        };
        let mut found: Vec<_> = fingerprints.map(likely).collect();
        for ((fingerprint, number), key) in found.iter_mut().zip(keys) {
            if number.is_some_and(|n| !self.is_named(n, key)) {
                *number = self.find_by(*fingerprint, key);
            }
        }
        found
    }

    /// Adds a device that is not there yet.
    pub(super) fn insert(&mut self, key: Key<'_>) -> Result<Number, Malformed> {
        DeviceId::new(key.device).map_err(|_| Malformed)?;
        let tenant = self.tenant_number(key.tenant)?;
        let hash = short(self.fingerprint(key));
        let device = Device {
            hash,
            name: self.names.add(key.device.as_bytes()),
            tenant,
            revision: 0,
            location: Location::default(),
            queue: None,
            due_ms: 0,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = device;
                number
            }
            None => {
                self.slots.push(device);
                u32::try_from(self.slots.len() - 1).map_err(|_| Malformed)?
            }
        };
        let entry = (hash, number);
        self.index
            .insert_unique(spread(hash), entry, |(h, _)| spread(*h));
        Ok(number)
    }

    /// Forgets a device.
    pub(super) fn remove(&mut self, number: Number) {
        let slot = &mut self.slots[number as usize];
        self.live_bytes -= u64::from(slot.location.length);
        self.names.remove(slot.name);
        slot.name = FREE;
        let hash = spread(slot.hash);
        if let Ok(entry) = self.index.find_entry(hash, |(_, n)| *n == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    /// Notes where the record of a device stands now.
    pub(super) fn relocate(&mut self, number: Number, location: Location) {
        let slot = &mut self.slots[number as usize];
        self.live_bytes += u64::from(location.length);
        self.live_bytes -= u64::from(slot.location.length);
        slot.location = location;
    }

    pub(super) fn get(&self, number: Number) -> &Device {
        &self.slots[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: Number) -> &mut Device {
        &mut self.slots[number as usize]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of all current records.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The name of a device.
    pub(super) fn key(&self, number: Number) -> DeviceKey {
        let tenant = self.tenants[self.get(number).tenant as usize].clone();
        DeviceKey::new(tenant, self.id(number))
    }

    /// The name of a device within its tenant.
    pub(super) fn id(&self, number: Number) -> DeviceId {
        let name = std::str::from_utf8(self.names.get(self.get(number).name));
        let id = name.ok().and_then(|n| DeviceId::new(n).ok());
        id.expect("only proven names are added")
    }

    /// The first devices of a tenant from a number on, looking at `looks_max` numbers at most, and where to go on.
    pub(super) fn of_tenant(
        &self,
        tenant: &TenantId,
        from: Number,
        limit: usize,
        looks_max: usize,
    ) -> (Vec<Number>, Option<Number>) {
        let (mut found, from) = (Vec::new(), from as usize);
        let Some(tenant) = self.tenant_numbers.get(tenant) else {
            return (found, None);
        };
        let end = self.slots.len().min(from.saturating_add(looks_max));
        for place in from..end {
            let slot = &self.slots[place];
            if slot.name != FREE && slot.tenant == *tenant {
                if found.len() == limit {
                    return (found, u32::try_from(place).ok());
                }
                found.extend(u32::try_from(place));
            }
        }
        let next = (end < self.slots.len()).then_some(end);
        (found, next.and_then(|n| u32::try_from(n).ok()))
    }

    fn tenant_number(&mut self, name: &str) -> Result<u32, Malformed> {
        if let Some(number) = self.tenant_numbers.get(name) {
            return Ok(*number);
        }
        let tenant = TenantId::new(name).map_err(|_| Malformed)?;
        let number = u32::try_from(self.tenants.len()).map_err(|_| Malformed)?;
        self.tenants.push(tenant.clone());
        self.tenant_numbers.insert(tenant, number);
        Ok(number)
    }
}

fn short(fingerprint: u64) -> u32 {
    (fingerprint >> 32) as u32
}

/// Makes the high bits, which the table looks at too, depend on all of a short hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Names of devices, packed with one byte of length each.
#[derive(Default)]
struct Names {
    chunks: Vec<Box<[u8]>>,
    used: usize,
    holes: HashMap<u8, Vec<u32>>,
}

const CHUNK_BYTES: usize = 1 << 20;

impl Names {
    fn add(&mut self, name: &[u8]) -> u32 {
        let length = u8::try_from(name.len()).expect("ids have 128 bytes at most");
        let hole = self.holes.get_mut(&length).and_then(Vec::pop);
        let at = hole.unwrap_or_else(|| self.room(name.len() + 1));
        let (chunk, from) = split(at);
        let to = &mut self.chunks[chunk][from..=from + name.len()];
        to[0] = length;
        to[1..].copy_from_slice(name);
        at
    }

    fn room(&mut self, bytes: usize) -> u32 {
        if self.chunks.is_empty() || self.used + bytes > CHUNK_BYTES {
            self.chunks.push(vec![0; CHUNK_BYTES].into_boxed_slice());
            self.used = 0;
        }
        let at = (self.chunks.len() - 1) * CHUNK_BYTES + self.used;
        self.used += bytes;
        u32::try_from(at).expect("names of fewer devices than the store takes fit into 4 GiB")
    }

    fn get(&self, at: u32) -> &[u8] {
        let (chunk, from) = split(at);
        let from = &self.chunks[chunk][from..];
        &from[1..=usize::from(from[0])]
    }

    fn remove(&mut self, at: u32) {
        let (chunk, from) = split(at);
        let length = self.chunks[chunk][from];
        self.holes.entry(length).or_default().push(at);
    }
}

fn split(at: u32) -> (usize, usize) {
    (at as usize / CHUNK_BYTES, at as usize % CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(device: &str) -> Key<'_> {
        let tenant = "contoso";
        Key { tenant, device }
    }

    #[test]
    fn devices_are_found_by_name_while_others_come_and_go() {
        let mut devices = Devices::new(7);
        let name = |n: usize| format!("device-{n}");
        for n in 0..5_000 {
            devices.insert(key(&name(n))).unwrap();
        }
        for n in (0..5_000).step_by(2) {
            let number = devices.find(key(&name(n))).unwrap();
            devices.remove(number);
        }
        for n in 5_000..6_000 {
            devices.insert(key(&name(n))).unwrap();
        }

        assert_eq!(devices.len(), 3_500);
        for n in 0..6_000 {
            let found = devices.find(key(&name(n)));
            assert_eq!(found.is_some(), n % 2 == 1 || n >= 5_000, "{n}");
            if let Some(found) = found {
                assert_eq!(devices.key(found).device.as_str(), name(n));
            }
        }
    }

    #[test]
    fn the_room_of_a_name_is_used_again() {
        let mut names = Names::default();
        let first = names.add(b"abc");
        names.remove(first);

        assert_ne!(names.add(b"abcd"), first);
        assert_eq!(names.add(b"xyz"), first);
        assert_eq!(names.get(first), b"xyz");
    }

    #[test]
    fn a_tenant_is_paged_through_in_bounded_steps() {
        let mut devices = Devices::new(7);
        for n in 0..100 {
            let tenant = if n % 10 == 0 { "rare" } else { "common" };
            let device = format!("d{n}");
            let device = device.as_str();
            devices.insert(Key { tenant, device }).unwrap();
        }
        let (mut found, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let rare = TenantId::new("rare").unwrap();
            let (page, after) = devices.of_tenant(&rare, from, 3, 7);
            assert!(page.len() <= 3);
            found.extend(page);
            next = after;
        }
        assert_eq!(found, (0..100).step_by(10).collect::<Vec<_>>());
    }
}
