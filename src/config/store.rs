//! Where devices, pushes and campaigns are kept.

use std::{path::PathBuf, time::Duration};

use super::{
    kind::{Kind, duration, file_path, flag, list, one_of, text, url, whole},
    private_url::PrivateUrl,
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Most shards: a place in the event feed, which has one number for each, must not grow beyond what a console can keep.
const SHARDS_MAX: u32 = 128;
/// Most nodes that can be named beside the first.
const NODES_MAX: usize = 100;

/// The store and what it keeps of the event feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which store.
    pub backend: Backend,
    /// Most events kept in the feed; the oldest go first.
    pub events_max: u32,
    /// Longest time an event is kept in the feed.
    pub events_max_age: Duration,
    /// Whether the feed holds `push.opened` and `push.accepted` too.
    pub events_verbose: bool,
}

/// Which store, with what it needs to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A folder on this machine; one broker.
    Embedded {
        /// The folder; made if it does not exist.
        path: PathBuf,
    },
    /// A Redis or Valkey; any number of brokers.
    Redis(RedisStore),
}

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStore {
    /// The first node, with user, password and database if there are any.
    pub url: PrivateUrl,
    /// Further nodes of the cluster, or further sentinels.
    pub more_urls: Vec<PrivateUrl>,
    /// What the nodes are to one another.
    pub topology: RedisTopology,
    /// An extra certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Shards of a store that is made anew; an existing one must have as many. 0, which no configuration says, takes an
    /// existing one as it is.
    pub shards: u32,
    /// Replicas that must have taken a write before it is acknowledged.
    pub min_replicas_to_ack: u32,
}

/// What the Redis nodes are to one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTopology {
    /// One server.
    Single,
    /// A Redis Cluster.
    Cluster,
    /// Sentinels that know the current master.
    Sentinel {
        /// The name under which the sentinels know it.
        master: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KindWord {
    Embedded,
    Redis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopologyWord {
    Single,
    Cluster,
    Sentinel,
}

settings! {
    /// Where devices, pushes and campaigns are kept. A 202 answer is given only once the store has it.
    pub(super) struct StoreKeys at "store" {
        /// `embedded` needs no server and serves one broker; `redis` serves any number of brokers.
        kind: KindWord = one_of(&[("embedded", KindWord::Embedded), ("redis", KindWord::Redis)]).default("embedded");
        /// Folder of the embedded store, made if it does not exist.
        path: PathBuf = file_path().default("reveille-data");
        /// Redis server, or the first node of a cluster, or the first sentinel; user, password and database stand in it.
        url: Option<PrivateUrl> = redis_url().optional();
        /// Further nodes of the cluster, or further sentinels.
        more_urls: Vec<PrivateUrl> = list(redis_url(), NODES_MAX).default("");
        /// What the nodes are to one another.
        topology: TopologyWord = one_of(&[
            ("single", TopologyWord::Single),
            ("cluster", TopologyWord::Cluster),
            ("sentinel", TopologyWord::Sentinel),
        ]).default("single");
        /// Name under which the sentinels know the master.
        sentinel_master: Option<String> = text("a name", 256).optional();
        /// PEM file with an extra certificate authority for `rediss://`.
        ca_file: Option<PathBuf> = file_path().optional();
        /// Shards of a Redis store that is made anew; fixed from then on. 64 do for some six million devices.
        shards: u32 = whole(1, SHARDS_MAX).default("64");
        /// Replicas that must have taken a write before it is acknowledged. 0 does not wait.
        min_replicas_to_ack: u32 = whole(0, 10).default("0");
        /// Most events kept in the feed; the oldest go first, and a console that is further behind gets 410.
        events_max: u32 = whole(1_000, 1_000_000_000).default("1000000");
        /// Whether the feed holds `push.opened` and `push.accepted` too: two more events for each push.
        events_verbose: bool = flag().default("false");
        /// Longest time an event is kept in the feed.
        events_max_age: Duration = duration("1h", "365d").default("7d");
    }
}

/// Reads `[store]`.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> Option<Store> {
    let place = root.sub("store", problems);
    let keys = StoreKeys::read(&place, problems)?;
    let (events_max, events_max_age) = (keys.events_max, keys.events_max_age);
    let events_verbose = keys.events_verbose;
    let backend = match keys.kind {
        KindWord::Embedded if keys.url.is_some() => {
            place.blame(
                "url",
                "has no effect on the embedded store; write kind = \"redis\" or take it out",
                problems,
            );
            return None;
        }
        KindWord::Embedded => Backend::Embedded { path: keys.path },
        KindWord::Redis => Backend::Redis(redis(keys, &place, problems)?),
    };
    Some(Store {
        backend,
        events_max,
        events_max_age,
        events_verbose,
    })
}

fn redis(keys: StoreKeys, place: &Place<'_>, problems: &mut Problems) -> Option<RedisStore> {
    let topology = match (keys.topology, keys.sentinel_master) {
        (TopologyWord::Single, None) => RedisTopology::Single,
        (TopologyWord::Cluster, None) => RedisTopology::Cluster,
        (TopologyWord::Sentinel, Some(master)) => RedisTopology::Sentinel { master },
        (TopologyWord::Sentinel, None) => {
            place.blame(
                "sentinel_master",
                "missing; sentinels know several masters, so name yours",
                problems,
            );
            return None;
        }
        (TopologyWord::Single | TopologyWord::Cluster, Some(_)) => {
            place.blame(
                "sentinel_master",
                "has an effect only with topology = \"sentinel\"",
                problems,
            );
            return None;
        }
    };
    if topology == RedisTopology::Single && !keys.more_urls.is_empty() {
        place.blame(
            "more_urls",
            "has an effect only with topology = \"cluster\" or \"sentinel\"",
            problems,
        );
        return None;
    }
    let Some(url) = keys.url else {
        place.blame(
            "url",
            "missing; kind = \"redis\" needs one, such as \"redis://127.0.0.1:6379/0\"",
            problems,
        );
        return None;
    };
    Some(RedisStore {
        url,
        more_urls: keys.more_urls,
        topology,
        ca_file: keys.ca_file,
        shards: keys.shards,
        min_replicas_to_ack: keys.min_replicas_to_ack,
    })
}

fn redis_url() -> Kind<PrivateUrl> {
    url(
        "a URL such as `redis://127.0.0.1:6379/0`",
        &["redis", "rediss", "redis+unix", "unix"],
    )
}
