//! What Redis says of the brokers' shares of an app's pace.

use std::collections::HashMap;

use crate::{redis_server::RedisServer, rig::TENANT};

pub(crate) struct Share {
    /// When the last of its grants ends.
    pub(crate) until: i64,
    /// The greatest of its grants.
    pub(crate) granted: f64,
}

/// The shares that are written down, by broker, live or not, with the former grants that still count.
pub(crate) fn shares(redis: &RedisServer) -> HashMap<String, Share> {
    let key = format!("rv:{{ctl}}:share:{TENANT}");
    let texts: HashMap<String, String> = redis.ask(&["HGETALL", &key]);
    let share = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let (until, granted) = ([words[0]], [words[4]]);
        let former = words[5..].chunks_exact(2);
        let until = until.into_iter().chain(former.clone().map(|f| f[0]));
        let granted = granted.into_iter().chain(former.map(|f| f[1]));
        Share {
            until: until.map(|word| word.parse().unwrap()).max().unwrap(),
            granted: granted
                .map(|word| word.parse().unwrap())
                .fold(0.0, f64::max),
        }
    };
    let shares = texts.iter();
    shares
        .map(|(broker, text)| (broker.clone(), share(text)))
        .collect()
}

/// Whether all of `pace` has been granted to one broker, and nothing to another.
pub(crate) fn is_one_brokers(redis: &RedisServer, pace: u32) -> bool {
    let shares = shares(redis);
    shares.len() == 1
        && shares
            .values()
            .all(|share| share.granted > f64::from(pace) - 1.0)
}

/// Whether so many brokers have a share worth the name.
pub(crate) fn are_shared(redis: &RedisServer, brokers: usize) -> bool {
    let shares = shares(redis);
    shares.len() == brokers && shares.values().all(|share| share.granted > 50.0)
}
