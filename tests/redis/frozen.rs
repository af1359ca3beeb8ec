//! A broker that stops in the middle of an inbox and goes on when another one has done its messages.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use reveille::{
    adapters::{clock::SystemClock, redis::RedisStore},
    domain::{
        ask::{Class, Goal},
        id::DeviceId,
    },
    ports::{
        clock::Clock,
        error::StoreError,
        streams::{DeadLetter, Most, Reader, Streams},
    },
    service::pushes::{self, Wish},
};

use crate::{inbox::*, items::*, redis_server::RedisServer, rig::*};

const ONE: Most = Most {
    messages: 1,
    body_bytes: 1_024,
};

/// Tells the time, and at one question does not answer: the thread that asks stands still, with all that runs on it.
struct Freezer {
    /// Questions that are answered before; below zero none is left out.
    answers: AtomicI64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Runs,
    Frozen,
    Thawed,
}

impl Freezer {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            answers: AtomicI64::new(-1),
            state: Mutex::new(State::Runs),
            changed: Condvar::new(),
        })
    }

    fn freeze_after(&self, answers: i64) {
        self.answers.store(answers, Ordering::SeqCst);
    }

    fn is_frozen(&self) -> bool {
        *self.state.lock().unwrap() == State::Frozen
    }

    fn thaw(&self) {
        *self.state.lock().unwrap() = State::Thawed;
        self.changed.notify_all();
    }
}

impl Clock for Freezer {
    fn now(&self) -> Timestamp {
        if self.answers.fetch_sub(1, Ordering::SeqCst) == 0 {
            let mut state = self.state.lock().unwrap();
            if *state == State::Runs {
                *state = State::Frozen;
            }
            let frozen = |state: &mut State| *state == State::Frozen;
            drop(self.changed.wait_while(state, frozen).unwrap());
        }
        SystemClock.now()
    }
}

/// Lets the broker go on however the test ends, which waits for its thread.
struct Thaw(Arc<Freezer>);

impl Drop for Thaw {
    fn drop(&mut self) {
        self.0.thaw();
    }
}

/// Freezes a broker at the `nth` time that it looks at the clock after a registration was added, and lets it go on when another
/// has taken the registration over and done a newer one. Gives the channel that the device has then.
async fn frozen_at(nth: i64) -> String {
    let server = RedisServer::start(&[]);
    let options = single(&server);
    let store = open(options.clone()).await;
    let freezer = Freezer::new();
    let mut slow = Broker::with_clock("slow", &options, freezer.clone());
    let thaw = Thaw(freezer.clone());
    register(&server, "first", "one");
    until_empty(&server).await;

    freezer.freeze_after(nth);
    register(&server, "d1", "old");
    eventually("the broker is frozen", async || freezer.is_frozen()).await;
    let _other = Broker::start("other", &options);
    register(&server, "d1", "new");
    until_empty(&server).await;
    drop(thaw);
    // It ends when all that it had begun has ended.
    slow.end(End::Drain);

    assert_eq!(length(&server, DEAD), 0);
    let record = record_of(&store, "d1").await.unwrap();
    record.channel.unwrap().uri.expose().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_a_frozen_broker_held_never_undoes_a_newer_one() {
    // The clock is asked for the lag, for the bounds of messages and for each change, beside what an idle broker asks.
    for nth in 0..5 {
        assert_eq!(frozen_at(nth).await, uri("new"), "frozen at {nth}");
    }
}

#[tokio::test]
async fn a_reader_that_has_been_followed_is_given_nothing_and_settles_no_letter_twice() {
    let server = RedisServer::start(&[]);
    let mut options = single(&server);
    options.streams = vec![contoso()];
    let store = RedisStore::connect(options).await.unwrap();
    let (former, present) = (
        Reader {
            name: "former",
            epoch: 1,
        },
        Reader {
            name: "present",
            epoch: 2,
        },
    );
    let streams: &dyn Streams = &*store;
    let id = register(&server, "d1", "one");
    let given = streams.receive(&contoso(), former, ONE).await.unwrap();
    let letter = || DeadLetter {
        message: given.messages[0].clone(),
        reason: "it is wrong".to_owned(),
    };

    let taken = streams.take_over(&contoso(), present, None, ONE).await;
    register(&server, "d2", "two");
    let late = streams.receive(&contoso(), former, ONE).await;
    let back = streams.take_over(&contoso(), former, None, ONE).await;
    for _ in 0..2 {
        let tenant = contoso();
        let settled = streams.settle(&tenant, Vec::new(), vec![letter()], 100);
        settled.await.unwrap();
    }
    let next = streams.receive(&contoso(), present, ONE).await.unwrap();

    assert_eq!(taken.unwrap().messages[0].id, id);
    assert_eq!(late, Err(StoreError::Fenced));
    assert_eq!(back, Err(StoreError::Fenced));
    assert_eq!(length(&server, DEAD), 1);
    assert_eq!(next.messages.len(), 1);
    assert_ne!(next.messages[0].id, id);
}

#[tokio::test]
async fn a_check_in_that_is_done_late_closes_no_push_that_was_opened_after_it() {
    let server = RedisServer::start(&[]);
    let store = open(single(&server)).await;
    let desk = desk(store.clone());
    let minute_ago = (now() - Duration::from_secs(60)).as_millisecond();
    let id = format!("{minute_ago}-0");
    let body = r#"{"device":"d1"}"#;
    server.ask::<String>(&["XADD", INBOX, &id, "command", "check_in", "body", body]);
    let wish = Wish {
        class: Class::Normal,
        goal: Goal::CheckIn,
        deadline: now() + Duration::from_secs(3_600),
        reason: None,
        register_unknown: true,
    };
    let d1 = DeviceId::new("d1").unwrap();
    let opened = pushes::open(&desk, &contoso(), &wish, vec![(d1, None)]).await;
    opened.unwrap();

    let _broker = Broker::start("a", &single(&server));
    until_empty(&server).await;

    assert!(record_of(&store, "d1").await.unwrap().push.is_some());
    add(&server, "check_in", body);
    until_empty(&server).await;
    assert!(record_of(&store, "d1").await.unwrap().push.is_none());
}
