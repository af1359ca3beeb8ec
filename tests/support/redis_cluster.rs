//! Real clusters and Sentinel groups of `redis-server` processes for tests.

use std::time::{Duration, Instant};

use crate::redis_server::RedisServer;

/// Longest time for servers to agree.
const AGREE_MAX: Duration = Duration::from_secs(30);
/// Hash slots of a cluster.
const SLOTS: usize = 16_384;

/// Waits until `done`, or fails saying what was awaited.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < AGREE_MAX, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Masters that share the slots evenly, each with the same number of replicas.
pub struct RedisCluster {
    pub masters: Vec<RedisServer>,
    /// The replicas of the first master, then of the second, and so on.
    pub replicas: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start(masters: usize, replicas_each: usize, arguments: &[&str]) -> Self {
        let mut all = vec![
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        all.extend(arguments);
        let start = |count: usize| -> Vec<RedisServer> {
            let mut servers: Vec<_> = (0..count).map(|_| RedisServer::prepared(&all)).collect();
            servers.iter_mut().for_each(RedisServer::spawn);
            servers.iter().for_each(RedisServer::wait_until_it_answers);
            servers
        };
        let cluster = Self {
            masters: start(masters),
            replicas: start(masters * replicas_each),
        };
        cluster.join();
        cluster.follow(replicas_each);
        cluster
    }

    /// Ends all masters without notice and starts them again, with what they had written down.
    pub fn crash(&mut self) {
        self.masters.iter_mut().for_each(RedisServer::kill);
        self.masters.iter_mut().for_each(RedisServer::spawn);
        self.masters
            .iter()
            .for_each(RedisServer::wait_until_it_answers);
        self.agree();
    }

    fn all(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    fn join(&self) {
        let count = self.masters.len();
        for (i, server) in self.all().enumerate() {
            let epoch = (i + 1).to_string();
            server.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            if i < count {
                let first = (i * SLOTS / count).to_string();
                let last = ((i + 1) * SLOTS / count - 1).to_string();
                server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            let port = server.port.to_string();
            self.masters[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        self.agree();
    }

    /// Waits until every server knows all others and serves its slots.
    fn agree(&self) {
        let nodes = format!("cluster_known_nodes:{}\r", self.all().count());
        for server in self.all() {
            wait_until("the cluster's agreement", || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&nodes)
            });
        }
    }

    fn follow(&self, replicas_each: usize) {
        for (i, replica) in self.replicas.iter().enumerate() {
            let master: String = self.masters[i / replicas_each].ask(&["CLUSTER", "MYID"]);
            // It takes a moment until the replica has heard of its master.
            wait_until("a replica's assent", || {
                replica
                    .try_ask::<()>(&["CLUSTER", "REPLICATE", &master])
                    .is_ok()
            });
        }
        for replica in &self.replicas {
            wait_until_it_follows(replica);
        }
    }

    /// The master that serves a slot.
    pub fn owner(&self, slot: u16) -> usize {
        usize::from(slot) * self.masters.len() / SLOTS
    }
}

/// Waits until a replica has its master's data.
pub fn wait_until_it_follows(replica: &RedisServer) {
    wait_until("a replica's first copy", || {
        let info = replica.try_ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    });
}

/// A master with a replica, watched by one Sentinel under the name `main`.
pub struct Watched {
    pub master: RedisServer,
    pub replica: RedisServer,
    pub sentinel: RedisServer,
}

impl Watched {
    /// The sentinel takes the master for dead after half a second.
    pub fn start() -> Self {
        Self::with_sentinel(500)
    }

    /// The sentinel changes nothing unless it is told to, so that a crowded machine is not taken for a dead master.
    pub fn patient() -> Self {
        Self::with_sentinel(600_000)
    }

    fn with_sentinel(down_after_ms: u64) -> Self {
        let durable = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
        let master = RedisServer::start(&durable);
        let mut replica = RedisServer::prepared(&durable);
        replica.argue(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        replica.run();
        wait_until_it_follows(&replica);
        let mut sentinel = RedisServer::prepared(&["--sentinel"]);
        sentinel.configure(&format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main {down_after_ms}\nsentinel failover-timeout main 5000\n",
            master.port
        ));
        sentinel.run();
        wait_until("the sentinel's look around", || {
            let known: Vec<redis::Value> = sentinel.ask(&["SENTINEL", "REPLICAS", "main"]);
            known.len() == 1
        });
        Self {
            master,
            replica,
            sentinel,
        }
    }

    /// Ends the master without notice; it comes back as the replica of the one that has taken its place.
    pub fn fail_over(&mut self) {
        self.master.kill();
        // It promotes no replica that it has not looked at yet, and refuses a second order while it carries out the first.
        wait_until("the promotion", || {
            let ordered = ["SENTINEL", "FAILOVER", "main"];
            self.replica.is_master() || {
                self.sentinel.try_ask::<()>(&ordered).ok();
                false
            }
        });
        std::mem::swap(&mut self.master, &mut self.replica);
        let port = self.master.port.to_string();
        wait_until("the sentinel's word", || {
            let of_master = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
            let (_host, told): (String, String) = self.sentinel.ask(&of_master);
            told == port
        });
        self.replica.argue(&["--replicaof", "127.0.0.1", &port]);
        self.replica.run();
        wait_until_it_follows(&self.replica);
    }
}
