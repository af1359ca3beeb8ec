//! The embedded store under `kill -9`: a child process works on it, is killed at random moments, and whatever it was told to
//! be durable is there again, with counters that a recount confirms.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use rand::RngExt;
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
    domain::{
        counter::{Counter, TargetState},
        event::{Event, EventKind},
        id::{CampaignId, DeviceId, DeviceKey, TenantId},
        queue::{Due, Flow, Lane, Queue},
        record::Revision,
    },
    ports::{
        error::Probe,
        feed::{After, Feed},
        queues::Queues,
        records::{
            Change, Committed, Expect, Item, ListMove, ListName, Placement, Records, Urgency,
        },
        tally::Tally,
    },
};

const FOLDER: &str = "REVEILLE_CRASH_TEST_FOLDER";
const KILLS: usize = 8;
const WORKERS: u32 = 6;
const DEVICES_PER_WORKER: u32 = 40;

fn open(folder: &Path) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions {
        segment_bytes: 256 * 1024,
        cache_bytes: 1024 * 1024,
        ballast_bytes: 0,
        ..EmbeddedOptions::new(folder.to_owned(), Arc::new(SystemClock))
    };
    EmbeddedStore::open(options).unwrap()
}

fn tenant() -> TenantId {
    TenantId::new("contoso").unwrap()
}

fn campaign() -> CampaignId {
    CampaignId::new("c").unwrap()
}

fn queue() -> Queue {
    Queue {
        tenant: tenant(),
        lane: Lane::Bulk,
        flow: Flow::Direct,
    }
}

fn key(worker: u32, device: u32) -> DeviceKey {
    DeviceKey::new(
        tenant(),
        DeviceId::new(&format!("w{worker}-d{device}")).unwrap(),
    )
}

// === the child ===

/// Works until it is killed; does nothing when the suite runs it without a folder.
#[test]
fn child_works_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&folder));
        println!("\nopened");
        join_all((0..WORKERS).map(|worker| work(&store, worker))).await;
    });
}

/// Writes each device again and again, and tells the revision before and after: a `try` may be there, a `done` must.
async fn work(store: &EmbeddedStore, worker: u32) {
    let mut rng = rand::rng();
    loop {
        let device = rng.random_range(0..DEVICES_PER_WORKER);
        let key = key(worker, device);
        let old = store
            .read(std::slice::from_ref(&key))
            .await
            .unwrap()
            .remove(0);
        let old = old.map(|stored| stored.revision);
        let (delete, new) = (rng.random_ratio(1, 8) && old.is_some(), rng.random());
        let item = item(&key, old, if delete { None } else { Some(new) });
        let word = if delete { 0 } else { new };
        tell(&format!("try {worker} {device} {word}"));
        let answers = store.commit(vec![item], Urgency::Open, None).await.unwrap();
        assert_eq!(answers, [Committed::Done]);
        tell(&format!("done {worker} {device} {word}"));
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A change whose counters, list, place and event can be recounted from the record alone.
fn item(key: &DeviceKey, old: Option<Revision>, new: Option<u32>) -> Item {
    let open = Counter::Campaign(campaign(), TargetState::Open);
    let (mut moves, list) = (
        reveille::domain::counter::Moves::default(),
        ListName::Waiting(campaign()),
    );
    moves.add(open, i64::from(new.is_some()) - i64::from(old.is_some()));
    moves.add(Counter::Campaign(campaign(), TargetState::Attempts), 1);
    let time = Timestamp::UNIX_EPOCH;
    let event = Event::of_device(EventKind::PushClosed, time, &key.device);
    Item {
        key: key.clone(),
        expect: old.map_or(Expect::Absent, Expect::Revision),
        lease: None,
        change: match new {
            Some(new) => Change::Put(Revision(new), content(new).into()),
            None => Change::Delete,
        },
        placement: Placement {
            from: old.map(|_| queue()),
            to: new.map(|_| Due {
                queue: queue(),
                at: time,
            }),
        },
        moves,
        lists: vec![match new {
            Some(new) => ListMove::Put {
                list,
                score: i64::from(new),
                text: new.to_string(),
            },
            None => ListMove::Remove { list },
        }],
        events: vec![event.with("revision", new.unwrap_or(0))],
    }
}

fn content(revision: u32) -> String {
    format!("{revision} ").repeat(20 + revision as usize % 30)
}

// === the parent ===

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Lets the child work for a random while, kills it and returns what it said.
fn run_and_kill(folder: &Path) -> Vec<String> {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_works_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut said = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let opened = said
        .by_ref()
        .find(|line| line.as_ref().unwrap() == "opened");
    assert!(opened.is_some(), "the child has opened the store");
    let lines = rand::rng().random_range(1..4_000);
    let mut heard: Vec<_> = said.by_ref().take(lines).map(Result::unwrap).collect();
    child.0.kill().unwrap();
    heard.extend(said.map_while(Result::ok));
    heard
}

/// The revisions that each device may have: the last one told to be durable, or one that was tried after it.
#[derive(Default)]
struct Told(HashMap<(u32, u32), Vec<u32>>);

impl Told {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            let [word, worker, device, revision] = words[..] else {
                continue;
            };
            let Ok(revision) = revision.parse::<u32>() else {
                continue;
            };
            let device = (worker.parse().unwrap(), device.parse().unwrap());
            let may = self.0.entry(device).or_insert_with(|| vec![0]);
            if word == "done" {
                may.clear();
            }
            may.push(revision);
        }
    }
}

async fn check(store: &EmbeddedStore, told: &mut Told) {
    let (mut there, mut listed) = (0, HashMap::new());
    for (worker, device) in (0..WORKERS).flat_map(|w| (0..DEVICES_PER_WORKER).map(move |d| (w, d)))
    {
        let key = key(worker, device);
        let stored = store
            .read(std::slice::from_ref(&key))
            .await
            .unwrap()
            .remove(0);
        let found = stored.as_ref().map_or(0, |s| s.revision.0);
        let may = told.0.entry((worker, device)).or_insert_with(|| vec![0]);
        assert!(
            may.contains(&found),
            "{key:?} has {found}, told was {may:?}"
        );
        *may = vec![found];
        if let Some(stored) = stored {
            assert_eq!(stored.bytes, content(found));
            there += 1;
            listed.insert(key.device.to_string(), found.to_string());
        }
    }
    recount(store, there, listed).await;
}

/// Counters, list, queue and feed all say the same as the records.
async fn recount(store: &EmbeddedStore, there: usize, listed: HashMap<String, String>) {
    use reveille::ports::lists::Lists;
    let counters = store.counters(&tenant(), "campaign.c.").await.unwrap();
    let open = counters.get("campaign.c.open").copied().unwrap_or(0);
    assert_eq!(usize::try_from(open).unwrap(), there);
    let waiting = ListName::Waiting(campaign());
    let members = store
        .members(&tenant(), &waiting, None, 1_024)
        .await
        .unwrap()
        .items;
    let members = members.into_iter().map(|m| (m.device.to_string(), m.text));
    assert_eq!(members.collect::<HashMap<_, _>>(), listed);
    let waiting: u64 = store
        .census()
        .await
        .unwrap()
        .iter()
        .map(|held| held.entries)
        .sum();
    assert_eq!(usize::try_from(waiting).unwrap(), there);
    let (mut events, mut after) = (0, After::Oldest);
    loop {
        let (entries, next) = store.events(&tenant(), &after, 1_024).await.unwrap();
        if entries.is_empty() {
            break;
        }
        events += i64::try_from(entries.len()).unwrap();
        after = After::Cursor(next);
    }
    assert_eq!(
        counters.get("campaign.c.attempts").copied().unwrap_or(0),
        events
    );
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut told = Told::default();
    let mut heard = 0;
    for _ in 0..KILLS {
        let lines = run_and_kill(folder.path());
        heard += lines.len();
        told.hear(&lines);
        runtime.block_on(async {
            let store = open(folder.path());
            check(&store, &mut told).await;
            store.close().await.unwrap();
        });
    }
    assert!(heard > KILLS, "the child did something");
}

/// A lock that the kernel frees with the process, so that nothing needs to be cleaned up after a kill.
#[test]
fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());

    let options = EmbeddedOptions::new(folder.path().to_owned(), Arc::new(SystemClock));
    let error = EmbeddedStore::open(options)
        .map(|_| ())
        .unwrap_err()
        .to_string();

    let name = folder.path().display().to_string();
    assert!(
        error.contains(&name) && error.contains("in use by another broker"),
        "{error}"
    );
}
