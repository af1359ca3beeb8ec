//! A supervised actor keeps its address and its mailbox over panics and stops, within a budget.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::prelude::*;

use super::*;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Watch for Log {
    fn exited(&self, _: ActorKind, exit: Exit, restarts: u32, backoff: Duration) {
        let line = format!("{exit:?} {restarts} {backoff:?}");
        self.0.lock().unwrap().push(line);
    }

    fn gave_up(&self, _: ActorKind, restarts: u32) {
        self.0.lock().unwrap().push(format!("gave up {restarts}"));
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Add;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

#[derive(Default)]
struct Subject {
    sum: u32,
    stops_at_start: bool,
    panics_in_restarting: u32,
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.stops_at_start {
            ctx.stop();
        }
    }
}

impl Supervised for Subject {
    fn restarting(&mut self, _: &mut Context<Self>) {
        if self.panics_in_restarting > 0 {
            self.panics_in_restarting -= 1;
            panic!("restarting");
        }
        self.sum = 0;
    }
}

impl Handler<Add> for Subject {
    type Result = u32;
    fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u32 {
        self.sum += 1;
        self.sum
    }
}

impl Handler<Panic> for Subject {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("handler");
    }
}

impl Handler<Stop> for Subject {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn supervised(log: &Arc<Log>, subject: Subject) -> Addr<Subject> {
    start(ActorKind::Janitor, 8, log.clone(), |_| subject)
}

#[test]
fn a_panic_keeps_address_and_mailbox_and_rebuilds_the_state() {
    on_paused_time(async {
        let log = Arc::new(Log::default());
        let actor = supervised(&log, Subject::default());
        assert_eq!(actor.send(Add).await, Ok(1));

        let began = Instant::now();
        let (panic, first, second) = (actor.send(Panic), actor.send(Add), actor.send(Add));

        assert_eq!(panic.await, Err(MailboxError::Closed));
        assert_eq!((first.await, second.await), (Ok(1), Ok(2)));
        assert!((100..150).contains(&began.elapsed().as_millis()));
        actor.send(Stop).await.unwrap();
        assert_eq!(actor.send(Add).await, Ok(1));
        assert_eq!(log.lines(), ["Panicked 1 100ms", "Stopped 2 200ms"]);
    });
}

#[test]
fn a_crash_loop_ends_and_says_so() {
    on_paused_time(async {
        let log = Arc::new(Log::default());
        let subject = Subject {
            stops_at_start: true,
            ..Subject::default()
        };
        let actor = supervised(&log, subject);

        assert_eq!(actor.send(Add).await, Err(MailboxError::Closed));

        assert_eq!(log.lines().len(), 11);
        assert_eq!(log.lines().last().unwrap(), "gave up 10");
        assert!(!actor.connected());
    });
}

#[test]
fn a_panic_while_restarting_is_one_more_failed_run() {
    on_paused_time(async {
        let log = Arc::new(Log::default());
        let subject = Subject {
            panics_in_restarting: 2,
            ..Subject::default()
        };
        let actor = supervised(&log, subject);

        assert!(actor.send(Panic).await.is_err());

        assert_eq!(actor.send(Add).await, Ok(1));
        assert_eq!(
            log.lines(),
            ["Panicked 1 100ms", "Panicked 2 200ms", "Panicked 3 400ms"]
        );
    });
}

#[test]
fn a_healthy_run_resets_the_count() {
    on_paused_time(async {
        let log = Arc::new(Log::default());
        let actor = supervised(&log, Subject::default());
        for _ in 0..20 {
            assert!(actor.send(Panic).await.is_err());
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
        assert!(actor.connected());
        assert!(log.lines().iter().all(|line| line == "Panicked 1 100ms"));
    });
}
