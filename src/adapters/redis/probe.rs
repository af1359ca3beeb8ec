//! How Redis is, what an acknowledgement is worth on it, and whether it is fit to be a store at all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use async_trait::async_trait;
use redis::Value;

use super::{
    ConnectError, Core, RedisStore,
    client::{Client, Node},
    errors::damaged,
    options::{Arrangement, RedisOptions},
    replicas::is_following,
};
use crate::ports::error::{Probe, StoreError, StoreHealth};

/// First version with sharded channels and script flags.
const VERSION_MIN: u32 = 7;

/// Seconds since a replica was last heard of after which it does not count.
const LAG_MAX: u64 = 10;

/// What a warning is about; a new one replaces the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Clocks,
    Replaced,
}

/// What the tasks have found and an operator should mend.
#[derive(Default)]
pub(super) struct Warnings(Mutex<BTreeMap<Subject, String>>);

impl Warnings {
    pub(super) fn of(&self, subject: Subject) -> Option<String> {
        self.lock().get(&subject).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Probe for RedisStore {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        self.core.not_closed()?;
        let core = &self.core;
        let mut health = health(&core.client, &core.options).await?;
        let replaced = core.warnings.of(Subject::Replaced);
        health.failing = replaced.or(health.failing).or(core.writes.complaint());
        health
            .warnings
            .extend(core.warnings.lock().values().cloned());
        Ok(health)
    }

    async fn broken(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.core.closed.store(true, Ordering::Relaxed);
        // A server that is away does not hold up the end.
        let patience = self.core.options.timeout;
        let _late = tokio::time::timeout(patience, self.core.give_all_back()).await;
        Ok(())
    }
}

impl Core {
    /// Sets or clears a warning; a new one is an alarm.
    pub(super) fn warn(&self, subject: Subject, warning: Option<String>) {
        let mut warnings = self.warnings.lock();
        let Some(text) = warning else {
            warnings.remove(&subject);
            return;
        };
        if warnings.insert(subject, text.clone()).is_none() {
            drop(warnings);
            (self.options.alarm)(&text);
        }
    }
}

/// What the servers say of themselves.
pub(super) async fn health(
    client: &Client,
    options: &RedisOptions,
) -> Result<StoreHealth, StoreError> {
    let mut warnings: Vec<String> = Vec::new();
    let (mut description, mut durability) = (String::new(), String::new());
    let (mut failing, replicas) = (None, options.min_replicas_to_ack);
    for node in client.holders() {
        let facts = Facts::of(client, &node).await?;
        // One that has become master meanwhile may be set otherwise.
        if let Some(why) = facts
            .no_writes(replicas)
            .or_else(|| facts.unfit(&options.arrangement))
        {
            failing = Some(format!("{}: {why}", node.address));
        }
        if description.is_empty() {
            description = facts.description(&options.arrangement, &node);
            durability = facts.durability(replicas);
        } else if durability != facts.durability(replicas) {
            warnings.push(format!("{}: {}", node.address, facts.durability(replicas)));
        }
        let told = facts.warnings().into_iter();
        warnings.extend(told.map(|text| format!("{}: {text}", node.address)));
    }
    Ok(StoreHealth {
        description,
        durability,
        failing,
        warnings,
    })
}

/// Refuses servers that would lose what they acknowledge.
pub(super) async fn refuse_unfit(
    client: &Client,
    options: &RedisOptions,
) -> Result<(), ConnectError> {
    for node in client.holders() {
        let facts = Facts::of(client, &node).await?;
        if let Some(why) = facts.unfit(&options.arrangement) {
            return Err(ConnectError::Unfit {
                place: node.address.to_string(),
                why,
            });
        }
    }
    Ok(())
}

/// What a server says of itself.
struct Facts {
    info: HashMap<String, String>,
    appendfsync: Option<String>,
}

impl Facts {
    async fn of(client: &Client, node: &Arc<Node>) -> Result<Self, StoreError> {
        let places = client.places_of(node);
        let place = *places
            .first()
            .ok_or_else(|| damaged("a server without slots"))?;
        let answer = client.run(place, redis::cmd("INFO")).await?;
        let text: String = redis::from_redis_value(answer).map_err(|_| damaged("INFO"))?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let info = fields
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut question = redis::cmd("CONFIG");
        question.arg("GET").arg("appendfsync");
        // Managed servers forbid the question.
        let answer = client.run(place, question).await.unwrap_or(Value::Nil);
        let pair: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(Self {
            info,
            appendfsync: pair.into_iter().nth(1),
        })
    }

    fn get(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    /// Why the server cannot be one of this store's; nothing if it can.
    fn unfit(&self, arrangement: &Arrangement) -> Option<String> {
        let version = self.get("redis_version");
        let major: u32 = version
            .split('.')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        if major < VERSION_MIN {
            return Some(format!(
                "it is version {version}, at least {VERSION_MIN} is needed"
            ));
        }
        let clustered = matches!(arrangement, Arrangement::Cluster { .. });
        if self.get("cluster_enabled") == "1" && !clustered {
            return Some("it is a node of a cluster: set store.topology to cluster".to_owned());
        }
        match self.get("maxmemory_policy") {
            "noeviction" | "" => None,
            policy => Some(format!(
                "maxmemory-policy {policy} throws away data when memory is short: set it to noeviction"
            )),
        }
    }

    fn description(&self, arrangement: &Arrangement, node: &Node) -> String {
        let (engine, version) = match self.get("valkey_version") {
            "" => ("redis", self.get("redis_version")),
            valkey => ("valkey", valkey),
        };
        let arrangement = match arrangement {
            Arrangement::Single(_) => "",
            Arrangement::Sentinel { .. } => " under sentinel",
            Arrangement::Cluster { .. } => " cluster",
        };
        format!("{engine} {version}{arrangement} at {}", node.address)
    }

    fn durability(&self, replicas: u32) -> String {
        let disk = match (self.get("aof_enabled"), self.appendfsync.as_deref()) {
            ("1", Some("always")) => "on disk (append-only file, synced at every write)",
            ("1", Some("everysec")) => {
                "in the append-only file, synced every second: a crash of the machine can lose the last one to two seconds"
            }
            ("1", Some("no")) => {
                "in the append-only file, synced when the system likes: a crash of the machine can lose half a minute"
            }
            ("1", _) => "in an append-only file of unknown sync policy (the server does not tell)",
            ("", _) => "unknown (the server does not tell)",
            _ => "in memory only: a restart of redis loses all since its last snapshot",
        };
        match replicas {
            0 => format!("acknowledged work is {disk}"),
            n => format!("acknowledged work is in the memory of {n} replicas and {disk}"),
        }
    }

    /// Why the server takes or acknowledges no changes now; nothing if it does not say.
    fn no_writes(&self, replicas: u32) -> Option<String> {
        if self.get("loading") == "1" {
            return Some("redis is loading its data".to_owned());
        }
        if self.get("role") == "slave" {
            return Some("the redis server is a replica".to_owned());
        }
        let following = |line: &String| is_following(line, LAG_MAX);
        let known: u32 = self.get("connected_slaves").parse().ok()?;
        let up = (0..known).filter(|n| self.info.get(&format!("slave{n}")).is_some_and(following));
        let up = up.count();
        let few = replicas > 0 && up < replicas as usize;
        few.then(|| format!("only {up} of {replicas} replicas follow it: nothing is acknowledged"))
    }

    fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        match (self.get("aof_enabled"), self.appendfsync.as_deref()) {
            ("1", None) => {
                found.push("appendfsync cannot be read; what a 202 survives is unknown".to_owned())
            }
            ("1", Some("no")) => {
                found.push("appendfsync is no; everysec or always loses less".to_owned())
            }
            ("1", Some(_)) => {}
            _ => found.push(
                "no append-only file: a restart loses acknowledged work; set appendonly yes"
                    .to_owned(),
            ),
        }
        for (name, what) in [
            (
                "aof_last_write_status",
                "the append-only file could not be written",
            ),
            (
                "aof_last_bgrewrite_status",
                "the append-only file could not be rewritten",
            ),
            ("rdb_last_bgsave_status", "the last snapshot failed"),
        ] {
            if self.get(name) == "err" {
                found.push(what.to_owned());
            }
        }
        if self.get("maxmemory_policy").is_empty() {
            found.push(
                "maxmemory-policy cannot be read; any but noeviction loses accepted work"
                    .to_owned(),
            );
        }
        let number = |name| self.get(name).parse::<u64>().unwrap_or(0);
        let (used, most) = (number("used_memory"), number("maxmemory"));
        if most > 0 && used > most / 10 * 9 {
            found.push(format!("memory is {} % full", used * 100 / most));
        }
        if most == 0 {
            found.push(
                "maxmemory is not set: the system may kill redis when memory is short".to_owned(),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(fields: &[(&str, &str)], appendfsync: Option<&str>) -> Facts {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Facts {
            info: fields.iter().map(owned).collect(),
            appendfsync: appendfsync.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn servers_that_evict_or_are_too_old_are_unfit() {
        let seeds = Vec::new();
        let cluster = Arrangement::Cluster { seeds };
        let with = |version, policy| {
            facts(
                &[("redis_version", version), ("maxmemory_policy", policy)],
                None,
            )
            .unfit(&cluster)
        };
        assert_eq!(with("7.0.15", "noeviction"), None);
        assert!(
            with("7.0.15", "allkeys-lru")
                .unwrap()
                .contains("noeviction")
        );
        assert!(
            with("7.0.15", "volatile-ttl")
                .unwrap()
                .contains("noeviction")
        );
        assert!(with("6.2.1", "noeviction").unwrap().contains("at least 7"));
    }

    #[test]
    fn a_server_that_takes_or_acknowledges_no_changes_says_why() {
        let replica =
            |state: &str, lag: u64| format!("ip=::1,port=1,state={state},offset=7,lag={lag}");
        let online = replica("online", 1);
        let with = |replicas: &[&str], needed| {
            let count = replicas.len().to_string();
            let mut told = facts(&[("role", "master"), ("connected_slaves", &count)], None);
            let lines = replicas.iter().enumerate();
            let lines = lines.map(|(n, line)| (format!("slave{n}"), (*line).to_owned()));
            told.info.extend(lines);
            told.no_writes(needed)
        };
        assert_eq!(facts(&[], None).no_writes(1), None);
        assert_eq!(with(&[], 0), None);
        assert_eq!(with(&[&online], 1), None);
        let (late, new) = (replica("online", 60), replica("send_bulk", 0));
        for away in [&[][..], &[late.as_str()], &[new.as_str()]] {
            assert!(with(away, 1).unwrap().starts_with("only 0 of 1 replicas"));
        }
        let told = |field, value| facts(&[(field, value)], None).no_writes(0).unwrap();
        assert!(told("role", "slave").contains("is a replica"));
        assert!(told("loading", "1").contains("loading"));
    }

    #[test]
    fn durability_is_told_in_plain_words() {
        let told =
            |aof, fsync, replicas| facts(&[("aof_enabled", aof)], fsync).durability(replicas);
        assert!(told("1", Some("always"), 0).contains("on disk"));
        assert!(told("1", Some("everysec"), 0).contains("two seconds"));
        assert!(told("1", None, 0).contains("unknown"));
        assert!(told("0", None, 2).starts_with("acknowledged work is in the memory of 2 replicas"));
        assert!(told("0", None, 0).contains("restart of redis loses"));
    }
}
