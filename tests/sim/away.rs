//! A part of the store is away, or one record of it damaged: its devices wait, and nobody waits for them.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use jiff::SignedDuration;
use reveille::{
    domain::{
        ask::Class,
        id::CampaignId,
        queue::{Flow, Queue},
        transition::AskRequest,
        wns::reply::Outcome,
    },
    ports::{
        clock::Clock,
        queues::{Queues, Selector},
    },
};

use crate::world::{ACCEPTED, Setup, World, always, simulate};

/// Until the janitor has looked at what is long due, and once more.
const TIDY: Duration = Duration::from_secs(120);

#[test]
fn what_a_part_of_the_store_does_not_take_holds_up_nothing_else_and_is_settled_when_it_is_back() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        world.push("a", 0..400, Class::Bulk).await;
        world.store.odd_are_away.store(true, Ordering::SeqCst);

        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.store.count("closed.accepted"), 200);
        world.push("a", 400..800, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.store.count("closed.accepted"), 400);

        world.store.odd_are_away.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.store.count("closed.accepted"), 800);
        let posts = world.posts();
        let woken: HashSet<_> = posts.iter().map(|post| post.device.clone()).collect();
        assert_eq!((posts.len(), woken.len()), (800, 800));
        assert_eq!(world.actors.drain(Duration::from_secs(1)).await, 0);
    });
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_other_push_of_a_paused_app_from_ending() {
    simulate(async {
        let throttled = Outcome::AppThrottled {
            retry_after: Duration::from_secs(3_600),
        };
        let world = World::start(Setup::default(), always(throttled)).await;
        world.push("a", 0..1, Class::Normal).await;
        tokio::time::sleep(Duration::from_secs(1)).await;

        let request = AskRequest {
            deadline: world.clock.now() + SignedDuration::from_secs(20),
            ..world.request(Class::Normal)
        };
        world.ask("a", 1..11, &request).await;
        world.store.damage(&world.device("a", 5));
        tokio::time::sleep(TIDY).await;

        assert_eq!(world.store.count("closed.expired"), 9);
    });
}

#[test]
fn a_push_that_was_left_in_a_parked_queue_that_is_not_its_own_is_sent() {
    simulate(async {
        let world = World::start(Setup::default(), always(ACCEPTED)).await;
        let key = world.device("a", 0);
        let flow = Flow::Campaign(CampaignId::new("0123456789abcdef").unwrap());
        let selector = |flow| Selector {
            tenant: key.tenant.clone(),
            flow,
        };
        let (campaign, all) = (selector(Some(flow.clone())), selector(None));
        world.store.park(&campaign).await.unwrap();
        world.store.park(&all).await.unwrap();
        world.push("a", 0..1, Class::Urgent).await;
        let mut queue = "a:urgent:direct".parse::<Queue>().unwrap();
        queue.flow = flow;
        world.store.strand(&key, queue);
        world.store.unpark(&all).await.unwrap();

        tokio::time::sleep(TIDY).await;

        assert_eq!(world.store.count("closed.accepted"), 1);
        assert_eq!(world.posts().len(), 1);
    });
}
