//! The same reads and durable writes on general key-value stores: records only, without places, leases and counters.

use std::path::Path;

use crate::{Plan, device_name, record, shuffled, step};

/// A key-value store with durable batches.
pub(crate) trait Engine {
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    fn put_durably(&mut self, batch: Vec<(String, String)>);
}

pub(crate) fn measure(plan: &Plan, engine: &mut impl Engine) {
    let count = plan.devices;
    step("register", count, || write(plan, engine, 1, false));
    step("read and open", count, || {
        read(plan, engine, 2);
        write(plan, engine, 2, true);
    });
    step("claim and settle", count, || {
        read(plan, engine, 3);
        write(plan, engine, 3, true);
    });
}

/// One durable batch for all callers together, as a group commit would.
fn write(plan: &Plan, engine: &mut impl Engine, seed: u64, open: bool) {
    let together = plan.batch * plan.callers as usize;
    for batch in shuffled(plan.devices, seed).chunks(together) {
        let records = batch.iter().map(|n| (device_name(*n), record(*n, open)));
        engine.put_durably(records.collect());
    }
}

fn read(plan: &Plan, engine: &impl Engine, seed: u64) {
    for n in shuffled(plan.devices, seed) {
        assert!(engine.get(&device_name(n)).is_some());
    }
}

pub(crate) struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
}

impl Fjall {
    pub(crate) fn open(folder: &Path) -> Self {
        let database = fjall::Database::builder(folder)
            .cache_size(64 * 1024 * 1024)
            .worker_threads(1)
            .open()
            .expect("fjall");
        let options = fjall::KeyspaceCreateOptions::default;
        let records = database.keyspace("records", options).expect("a keyspace");
        Self { database, records }
    }
}

impl Engine for Fjall {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let value = self.records.get(key).expect("read");
        value.map(|v| v.to_vec())
    }

    fn put_durably(&mut self, batch: Vec<(String, String)>) {
        let mut writes = self.database.batch();
        for (key, value) in batch {
            writes.insert(&self.records, key, value);
        }
        let durability = Some(fjall::PersistMode::SyncData);
        writes.durability(durability).commit().expect("written");
    }
}

const RECORDS: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("records");

pub(crate) struct Redb(redb::Database);

impl Redb {
    pub(crate) fn open(folder: &Path) -> Self {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(64 * 1024 * 1024);
        Self(builder.create(folder.join("redb")).expect("redb"))
    }
}

impl Engine for Redb {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        use redb::ReadableDatabase;
        let table = self.0.begin_read().expect("read").open_table(RECORDS);
        let value = table.expect("a table").get(key).expect("read");
        value.map(|v| v.value().to_vec())
    }

    fn put_durably(&mut self, batch: Vec<(String, String)>) {
        let transaction = self.0.begin_write().expect("write");
        {
            let mut table = transaction.open_table(RECORDS).expect("a table");
            for (key, value) in &batch {
                table
                    .insert(key.as_str(), value.as_bytes())
                    .expect("written");
            }
        }
        transaction.commit().expect("durable");
    }
}
