//! The embedded store on a disk that really runs full: a small one of its own, mounted in a namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![cfg(target_os = "linux")]

use std::{fs::File, io::Write, path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
    domain::{
        counter::Moves,
        id::{CampaignId, DeviceId, DeviceKey, TenantId},
        queue::{Due, Flow, Lane, Queue},
        record::Revision,
    },
    ports::{
        documents::{Documents, Precondition},
        error::{Probe, StoreError},
        lists::Lists,
        queues::{Queues, Want},
        records::{
            Change, Committed, Expect, Item, ListMove, ListName, Placement, Records, Urgency,
        },
    },
};

const FOLDER: &str = "REVEILLE_FULL_DISK_TEST_FOLDER";
const DISK: &str = "size=24m";
const MIB: u64 = 1024 * 1024;
const RECORD_BYTES: usize = 4_096;

fn open(folder: &Path) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions {
        segment_bytes: MIB,
        cache_bytes: MIB,
        disk_reserve_bytes: 6 * MIB,
        ballast_bytes: 4 * MIB,
        ..EmbeddedOptions::new(folder.to_owned(), Arc::new(SystemClock))
    };
    EmbeddedStore::open(options).unwrap()
}

fn tenant() -> TenantId {
    TenantId::new("contoso").unwrap()
}

fn key(n: u32) -> DeviceKey {
    DeviceKey::new(tenant(), DeviceId::new(&format!("d{n}")).unwrap())
}

fn queue() -> Queue {
    Queue {
        tenant: tenant(),
        lane: Lane::Bulk,
        flow: Flow::Direct,
    }
}

fn targets() -> ListName {
    ListName::Targets(CampaignId::new("c").unwrap())
}

/// A first record that waits, listed as an open target.
fn opening(n: u32) -> Item {
    let (queue, at) = (queue(), Timestamp::UNIX_EPOCH);
    let (list, score, text) = (targets(), 0, "open".to_owned());
    Item {
        key: key(n),
        expect: Expect::Absent,
        lease: None,
        change: Change::Put(Revision(1), vec![b'x'; RECORD_BYTES].into()),
        placement: Placement {
            from: None,
            to: Some(Due { queue, at }),
        },
        moves: Moves::default(),
        lists: vec![ListMove::Put { list, score, text }],
        events: Vec::new(),
    }
}

/// Opens pushes until there is no room; returns how many were acknowledged.
async fn open_until_full(store: &EmbeddedStore) -> u32 {
    let mut opened = 0;
    loop {
        let items = (opened..opened + 16).map(opening).collect();
        match store.commit(items, Urgency::Open, None).await {
            Ok(answers) => assert_eq!(answers, vec![Committed::Done; 16]),
            Err(StoreError::Full { .. }) => return opened,
            Err(other) => panic!("{other}"),
        }
        opened += 16;
        assert!(opened < 100_000, "the disk has no end");
    }
}

/// Claims and settles what is due, with a smaller record and a change of the list.
async fn settle(store: &EmbeddedStore, limit: usize) -> usize {
    let queue = queue();
    let claimed = store.claim(&[Want { queue, limit }]).await.unwrap();
    let settle = |claimed: reveille::ports::queues::Claimed| Item {
        key: claimed.key,
        expect: Expect::Revision(claimed.stored.revision),
        lease: Some(claimed.lease),
        change: Change::Put(Revision(2), vec![b'y'; 400].into()),
        placement: Placement::default(),
        lists: vec![ListMove::Put {
            list: targets(),
            score: 0,
            text: "accepted".to_owned(),
        }],
        ..opening(0)
    };
    let items: Vec<_> = claimed.into_iter().map(settle).collect();
    let count = items.len();
    let answers = store.commit(items, Urgency::Settle, None).await.unwrap();
    assert_eq!(answers, vec![Committed::Done; count]);
    count
}

/// Another program takes the rest of the disk.
fn eat_the_disk(path: &Path) {
    let mut file = File::create(path).unwrap();
    let bite = vec![0; 4_096];
    while file.write_all(&bite).is_ok() {}
}

/// Everything that was acknowledged, as it was.
async fn check(store: &EmbeddedStore, opened: u32, settled: usize) {
    let mut smaller = 0;
    for part in (0..opened).collect::<Vec<_>>().chunks(256) {
        let keys: Vec<_> = part.iter().map(|n| key(*n)).collect();
        let devices: Vec<_> = keys.iter().map(|k| k.device.clone()).collect();
        let records = store.read(&keys).await.unwrap();
        let members = store.find(&tenant(), &targets(), &devices).await.unwrap();
        for (record, member) in records.into_iter().zip(members) {
            let (record, member) = (record.unwrap(), member.unwrap());
            let is_settled = record.bytes.len() == 400;
            assert_eq!(is_settled, record.revision == Revision(2));
            assert_eq!(is_settled, member.text == "accepted");
            smaller += usize::from(is_settled);
        }
    }
    assert_eq!(smaller, settled);
}

/// The test itself.
#[tokio::test]
#[ignore = "runs on the small disk that the other test mounts for it"]
async fn child_on_a_small_disk() {
    let folder = std::env::var_os(FOLDER).expect("the small disk");
    let (folder, glutton) = (
        Path::new(&folder).join("store"),
        Path::new(&folder).join("glutton"),
    );
    let neighbour = folder.with_file_name("neighbour");
    std::fs::write(&neighbour, vec![0; 6 * 1024 * 1024]).unwrap();
    let store = open(&folder);
    let running = Bytes::from_static(b"running");
    store
        .put("app/contoso", running, Precondition::Absent, None)
        .await
        .unwrap();
    let mut opened = open_until_full(&store).await;
    assert!(opened > 100, "{opened}");
    let warnings = store.probe().await.unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("new work is refused")),
        "{warnings:?}"
    );

    eat_the_disk(&glutton);
    let mut settled = 0;
    while settled < opened as usize / 2 {
        settled += settle(&store, 64).await;
    }
    check(&store, opened, settled).await;
    let refused = store
        .commit(vec![opening(1_000_000)], Urgency::Open, None)
        .await;
    assert!(
        matches!(refused, Err(StoreError::Full { .. })),
        "{refused:?}"
    );

    store.close().await.unwrap();
    drop(store);
    let store = open(&folder);
    check(&store, opened, settled).await;
    settled += settle(&store, 16).await;

    std::fs::remove_file(&glutton).unwrap();
    for _ in 0..20 {
        settled += settle(&store, 64).await;
    }
    let again = store
        .commit(vec![opening(opened)], Urgency::Open, None)
        .await;
    assert_eq!(again, Ok(vec![Committed::Done]));
    opened += 1;
    check(&store, opened, settled).await;

    // Full once more: the ballast has come back as soon as there was room for it.
    std::fs::remove_file(&neighbour).unwrap();
    settled += settle(&store, 16).await;
    assert!(folder.join("log").join("ballast").exists());
    eat_the_disk(&glutton);
    for _ in 0..20 {
        settled += settle(&store, 16).await;
    }
    let version = Precondition::Version(1);
    store
        .put("app/contoso", Bytes::from_static(b"paused"), version, None)
        .await
        .unwrap();
    std::fs::remove_file(&glutton).unwrap();
    settled += settle(&store, 16).await;
    check(&store, opened, settled).await;
}

#[test]
fn a_full_disk_refuses_new_work_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command.args(["sh", "-c", script, "sh"]);
        command
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap());
        command
    };
    let mount = format!("mount -t tmpfs -o {DISK} tmpfs \"$1\"");
    assert!(
        in_namespace(&mount).status().is_ok_and(|s| s.success()),
        "this machine lets nobody mount a disk of their own (`unshare --user --map-root-user --mount`): run the test \
         elsewhere, and here the others with `-- --skip a_full_disk`"
    );
    let run = format!("{mount} && exec \"$2\" --exact child_on_a_small_disk --ignored --nocapture");

    let ended = in_namespace(&run)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let ran = String::from_utf8_lossy(&ended.stdout).contains("1 passed");
    assert!(ran, "the child ran no test");
}
