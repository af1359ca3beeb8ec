//! A part of the store is away: its devices wait, and nobody waits for them.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use reveille::domain::ask::Class;

use crate::world::{ACCEPTED, Setup, World, always, simulate};

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
