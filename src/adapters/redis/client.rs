//! Sends commands to whoever holds their shard, follows redirects, and finds the servers again after a failover.
//!
//! A call ends within a bounded time: at once where a server is known to be down, after the configured timeout where it says
//! nothing. States that pass by themselves (a slot being migrated, a long script) are waited out up to that timeout.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use redis::{Cmd, Value};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    errors::{Verdict, judge, unavailable},
    keys::Keys,
    link::Link,
    options::{Address, RedisOptions},
    replicas::Replicas,
    script::Errand,
    topology::Dialer,
};
use crate::ports::error::StoreError;

/// Longest wait for a server that is busy with a script.
const BUSY_PATIENCE: Duration = Duration::from_millis(300);
/// Most redirects that one call follows.
const REDIRECTS_MAX: u32 = 8;
/// First wait before a repetition; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Longest wait before a repetition.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Least time between two looks at where the servers are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a server that is still down is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// One server.
pub(super) struct Node {
    pub(super) address: Address,
    work: Arc<Link>,
    /// Commits have a connection of their own, so that waiting for replicas holds up nothing else.
    commits: Arc<Link>,
    pub(super) replicas: Replicas,
}

impl Node {
    /// Waits until it is connected, however long that takes.
    pub(super) async fn up(&self) {
        self.work.up().await;
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Work,
    /// Reads many keys, or none if they are not all on one server.
    Look,
    /// Commits what has changed something by its answer.
    Commit(fn(&Value) -> bool),
}

enum Route {
    Home,
    Redirected { node: Arc<Node>, asking: bool },
}

/// See the module.
pub(super) struct Client {
    pub(super) keys: Keys,
    dialer: Dialer,
    timeout: Duration,
    min_replicas: u32,
    home: Handle,
    routes: ArcSwap<Vec<Arc<Node>>>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    moved: watch::Sender<u64>,
    look: Arc<Notify>,
}

impl Client {
    /// Finds the servers and begins to connect to them.
    pub(super) async fn start(options: &RedisOptions, keys: Keys) -> Result<Arc<Self>, StoreError> {
        let client = Arc::new(Self {
            keys,
            dialer: Dialer::new(options),
            timeout: options.timeout,
            min_replicas: options.min_replicas_to_ack,
            home: Handle::current(),
            routes: ArcSwap::from_pointee(Vec::new()),
            nodes: Mutex::new(HashMap::new()),
            moved: watch::Sender::new(0),
            look: Arc::new(Notify::new()),
        });
        let found = client.dialer.discover(client.keys.slots(), &[]).await;
        client.adopt(found.map_err(|lost| unavailable(lost.to_string()))?)?;
        client
            .home
            .spawn(looking(Arc::downgrade(&client), client.look.clone()));
        Ok(client)
    }

    /// Waits until every server that holds something is connected.
    pub(super) async fn connected(&self, patience: Duration) -> Result<(), StoreError> {
        let nodes = self.holders();
        let all = futures_util::future::join_all(nodes.iter().map(|node| node.work.up()));
        if tokio::time::timeout(patience, all).await.is_ok() {
            return Ok(());
        }
        let down = nodes.iter().find(|node| !node.work.is_up());
        let why = down.map_or("redis cannot be connected", |node| {
            node.work.complaint().unwrap_or("redis cannot be connected")
        });
        Err(unavailable(why))
    }

    pub(super) fn home(&self) -> &Handle {
        &self.home
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Changes when places have moved to other servers.
    pub(super) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The servers that hold at least one place, each once.
    pub(super) fn holders(&self) -> Vec<Arc<Node>> {
        let mut holders: Vec<Arc<Node>> = Vec::new();
        for node in self.routes.load().iter() {
            if !holders.iter().any(|known| Arc::ptr_eq(known, node)) {
                holders.push(node.clone());
            }
        }
        holders
    }

    /// The places that a server holds.
    pub(super) fn places_of(&self, node: &Arc<Node>) -> Vec<usize> {
        let routes = self.routes.load();
        let held = routes
            .iter()
            .enumerate()
            .filter(|(_, owner)| Arc::ptr_eq(owner, node));
        held.map(|(place, _)| place).collect()
    }

    /// The server that holds a place.
    pub(super) fn address_of(&self, place: usize) -> Address {
        self.routes.load()[place].address.clone()
    }

    /// Whether a place is out of reach because its server is, while other servers are not.
    pub(super) fn is_away(&self, place: usize) -> bool {
        let routes = self.routes.load();
        !routes[place].work.is_up() && routes.iter().any(|node| node.work.is_up())
    }

    /// Sets of shards that are on one server for sure: all of them, or in a cluster each by itself.
    pub(super) fn gates(&self) -> usize {
        match self.is_cluster() {
            true => self.keys.shards(),
            false => 1,
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.dialer.is_cluster()
    }

    pub(super) fn gate_of(&self, shard: usize) -> usize {
        if self.is_cluster() { shard } else { 0 }
    }

    /// A number that two places have in common if they are on one server now.
    pub(super) fn server_of(&self, place: usize) -> usize {
        let routes = self.routes.load();
        let same = |owner: &Arc<Node>| Arc::ptr_eq(owner, &routes[place]);
        routes.iter().position(same).unwrap_or(place)
    }

    /// Asks for a look at where the servers are.
    pub(super) fn look_again(&self) {
        self.look.notify_one();
    }

    /// Carries out an errand at a place.
    pub(super) async fn run(
        &self,
        place: usize,
        errand: impl Into<Errand>,
    ) -> Result<Value, StoreError> {
        let errand = self.guarded(place, errand);
        self.carry(place, &errand, Purpose::Work).await
    }

    /// Carries out an errand that reads; nil, and at once, if the server does not hold all of its keys.
    pub(super) async fn look(
        &self,
        place: usize,
        errand: impl Into<Errand>,
    ) -> Result<Value, StoreError> {
        let errand = errand.into();
        self.carry(place, &errand, Purpose::Look).await
    }

    /// Carries out an errand that is acknowledged only when enough replicas have it.
    pub(super) async fn run_durably(
        &self,
        place: usize,
        errand: impl Into<Errand>,
    ) -> Result<Value, StoreError> {
        self.run_durably_if(place, errand, |_| true).await
    }

    /// The same, but an answer that has not `changed` anything is passed on at once.
    pub(super) async fn run_durably_if(
        &self,
        place: usize,
        errand: impl Into<Errand>,
        changed: fn(&Value) -> bool,
    ) -> Result<Value, StoreError> {
        let errand = self.guarded(place, errand);
        self.carry(place, &errand, Purpose::Commit(changed)).await
    }

    /// The errand; in a cluster a script that writes declares one more key, which never exists.
    ///
    /// A server lets a script in if it has all its keys, and then looks at each of its commands: while the slot is migrated, the
    /// first one on a key that the script has emptied before is an error, and what was done until then stays. With a key that is
    /// missing from the beginning the whole call is refused with `TRYAGAIN` instead, on either side, until the slot has moved.
    fn guarded(&self, place: usize, errand: impl Into<Errand>) -> Errand {
        let mut errand = errand.into();
        if let Errand::Script(call) = &mut errand
            && self.is_cluster()
            && call.writes()
        {
            call.keys.push(self.keys.own(place, "never"));
        }
        errand
    }

    async fn carry(
        &self,
        place: usize,
        errand: &Errand,
        purpose: Purpose,
    ) -> Result<Value, StoreError> {
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        let (mut route, mut whole, mut pause, mut redirects) = (Route::Home, false, PAUSE_MIN, 0);
        loop {
            let (node, asking) = match &route {
                Route::Home => (self.routes.load()[place].clone(), false),
                Route::Redirected { node, asking } => (node.clone(), *asking),
            };
            let verdict = match self
                .send(&node, errand.command(whole), asking, purpose)
                .await?
            {
                Ok(value) => return Ok(value),
                Err(verdict) => verdict,
            };
            let to = |node, asking| Route::Redirected { node, asking };
            match verdict {
                Verdict::SendText if !whole => whole = true,
                Verdict::SendText => return Err(unavailable("redis does not keep scripts")),
                Verdict::Moved(address) => {
                    self.look_again();
                    redirects += 1;
                    route = to(self.node_at(&address)?, false);
                }
                Verdict::Ask(address) => {
                    redirects += 1;
                    route = to(self.node_at(&address)?, true);
                }
                Verdict::Scattered | Verdict::Migrating if matches!(purpose, Purpose::Look) => {
                    return Ok(Value::Nil);
                }
                Verdict::Scattered => return Err(unavailable("a key is on another redis server")),
                Verdict::Migrating | Verdict::Again => {
                    // A server says that it is busy only when that has lasted for seconds.
                    let (why, deadline) = match verdict {
                        Verdict::Migrating => ("a slot is being migrated", deadline),
                        _ => (
                            "redis is busy with a script",
                            begun + BUSY_PATIENCE.min(self.timeout),
                        ),
                    };
                    if Instant::now() + pause > deadline {
                        return Err(unavailable(why));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    redirects = 0;
                    route = Route::Home;
                }
                Verdict::Elsewhere(why) | Verdict::Broken(why) => return Err(unavailable(why)),
                Verdict::Final(error) => return Err(error),
            }
            if redirects > REDIRECTS_MAX {
                return Err(unavailable("redis redirects in circles"));
            }
        }
    }

    async fn send(
        &self,
        node: &Arc<Node>,
        command: Cmd,
        asking: bool,
        purpose: Purpose,
    ) -> Result<Result<Value, Verdict>, StoreError> {
        let link = match purpose {
            Purpose::Work | Purpose::Look => &node.work,
            Purpose::Commit(_) => &node.commits,
        };
        let wire = link.wire().await.inspect_err(|_| self.look_again())?;
        let verdict = match wire.exchange(command, asking).await {
            Ok(value) => {
                if let Purpose::Commit(changed) = purpose
                    && self.min_replicas > 0
                    && changed(&value)
                {
                    let replicated = node.replicas.wait(&wire, self.min_replicas, self.timeout);
                    // One without its replicas may be the former master.
                    replicated.await.inspect_err(|_| self.look_again())?;
                }
                return Ok(Ok(value));
            }
            Err(error) => judge(&error),
        };
        match verdict {
            Verdict::Broken(_) => {
                link.broken(&wire);
                self.look_again();
            }
            Verdict::Elsewhere(_) => self.look_again(),
            Verdict::SendText
            | Verdict::Moved(_)
            | Verdict::Ask(_)
            | Verdict::Scattered
            | Verdict::Migrating
            | Verdict::Again
            | Verdict::Final(_) => {}
        }
        Ok(Err(verdict))
    }

    fn node_at(&self, address: &Address) -> Result<Arc<Node>, StoreError> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(node.clone());
        }
        let client = self.dialer.client(address);
        let client = client.map_err(|lost| unavailable(lost.to_string()))?;
        let dial = || Link::dial(client.clone(), self.timeout, self.home.clone());
        let work = dial();
        let node = Arc::new(Node {
            address: address.clone(),
            commits: if self.min_replicas > 0 {
                dial()
            } else {
                work.clone()
            },
            work,
            replicas: Replicas::default(),
        });
        nodes.insert(address.clone(), node.clone());
        Ok(node)
    }

    fn adopt(&self, owners: Vec<Address>) -> Result<(), StoreError> {
        let routes: Result<Vec<_>, _> = owners.iter().map(|owner| self.node_at(owner)).collect();
        let routes = routes?;
        let old = self.routes.load();
        let same =
            old.len() == routes.len() && old.iter().zip(&routes).all(|(a, b)| Arc::ptr_eq(a, b));
        if same {
            return Ok(());
        }
        self.routes.store(Arc::new(routes));
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| owners.contains(address));
        drop(nodes);
        self.moved.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn look_once(&self) -> bool {
        let mut known: Vec<Address> = Vec::new();
        let holders = self.holders();
        known.extend(
            holders
                .iter()
                .filter(|n| n.work.is_up())
                .map(|n| n.address.clone()),
        );
        match self.dialer.discover(self.keys.slots(), &known).await {
            Ok(owners) => {
                self.adopt(owners).is_ok() && self.holders().iter().all(|n| n.work.is_up())
            }
            Err(_) => false,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Lets the task that waits for it find that the client is gone.
        self.look.notify_one();
    }
}

/// Looks for the servers whenever somebody asks, and again and again while one is down.
async fn looking(client: Weak<Client>, look: Arc<Notify>) {
    loop {
        look.notified().await;
        while let Some(client) = client.upgrade() {
            if client.look_once().await {
                break;
            }
            drop(client);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if client.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
