//! Where devices, pushes and campaigns are kept.

use std::{path::PathBuf, time::Duration};

use super::{
    env::Environment,
    kind::{Kind, duration, file_path, flag, list, one_of, text, url, whole},
    private_url::PrivateUrl,
    reader::{Place, Problems},
    schema::{Section, settings},
    secret::{Secret, Sources, named_variable, variable},
};

/// Most shards: a place in the event feed, which has one number for each, must not grow beyond what a console can keep.
const SHARDS_MAX: u32 = 128;
/// Most nodes that can be named beside the first.
const NODES_MAX: usize = 100;
/// Keys that only sentinels have.
const SENTINEL_KEYS: [&str; 4] = [
    "sentinel_master",
    "sentinel_user",
    "sentinel_password_env",
    "sentinel_password_file",
];

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
    Redis(Box<RedisStore>),
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
    /// The certificate authority that is trusted in place of the machine's.
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
        /// The user of the sentinels' own access list; none means `default`.
        user: Option<String>,
        /// The sentinels' own password.
        password: Option<Secret>,
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
        /// User of the sentinels' own access list, if they have one; the login in `url` is for the master.
        sentinel_user: Option<String> = text("a name", 256).optional();
        /// Environment variable that holds the sentinels' own password (their `requirepass`, or that of `sentinel_user`).
        sentinel_password_env: Option<String> = variable().optional();
        /// File that holds it, instead.
        sentinel_password_file: Option<PathBuf> = file_path().optional();
        /// PEM file with the certificate authorities that are trusted for `rediss://` in place of the machine's.
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
pub(super) fn read(root: &Place<'_>, env: &Environment, problems: &mut Problems) -> Option<Store> {
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
        KindWord::Redis => Backend::Redis(Box::new(redis(keys, &place, env, problems)?)),
    };
    Some(Store {
        backend,
        events_max,
        events_max_age,
        events_verbose,
    })
}

fn redis(
    keys: StoreKeys,
    place: &Place<'_>,
    env: &Environment,
    problems: &mut Problems,
) -> Option<RedisStore> {
    let topology = match keys.topology {
        TopologyWord::Single => RedisTopology::Single,
        TopologyWord::Cluster => RedisTopology::Cluster,
        TopologyWord::Sentinel => sentinel(&keys, place, env, problems)?,
    };
    if keys.topology != TopologyWord::Sentinel {
        let idle = SENTINEL_KEYS.iter().find(|key| place.has(key));
        if let Some(key) = idle {
            let detail = "has an effect only with topology = \"sentinel\"";
            place.blame(key, detail, problems);
            return None;
        }
    }
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

fn sentinel(
    keys: &StoreKeys,
    place: &Place<'_>,
    env: &Environment,
    problems: &mut Problems,
) -> Option<RedisTopology> {
    let password = Sources {
        env: ("sentinel_password_env", &keys.sentinel_password_env),
        file: ("sentinel_password_file", &keys.sentinel_password_file),
    };
    let password = password.read(place, env, problems);
    let Some(master) = keys.sentinel_master.clone() else {
        let detail = "missing; sentinels know several masters, so name yours";
        place.blame("sentinel_master", detail, problems);
        return None;
    };
    let (user, password) = (keys.sentinel_user.clone(), password?);
    if user.is_some() && password.is_none() {
        let detail = "has no effect without sentinel_password_env or sentinel_password_file";
        place.blame("sentinel_user", detail, problems);
        return None;
    }
    Some(RedisTopology::Sentinel {
        master,
        user,
        password,
    })
}

/// The environment variable that holds a secret of the store.
pub(super) fn secret_variable(root: &Place<'_>) -> Option<String> {
    let place = root.sub("store", &mut Problems::default());
    named_variable(&place, "sentinel_password_env")
}

fn redis_url() -> Kind<PrivateUrl> {
    url(
        "a URL such as `redis://127.0.0.1:6379/0`",
        &["redis", "rediss", "redis+unix", "unix"],
    )
}
