//! Channels that WNS refuses: single ones, a wave of them, and a fleet that really has many dead ones.

use super::*;

#[test]
fn a_wave_of_refusals_holds_the_app_and_kills_no_channel() {
    simulate(async {
        let refused = Outcome::ChannelRefused {
            cause: ChannelRefusal::Forbidden,
        };
        let world = World::start(Setup::default(), always(refused)).await;

        world.push("a", 0..1_000, Class::Bulk).await;
        tokio::time::sleep(Duration::from_secs(280)).await;

        assert!(world.posts().len() <= 128, "{}", world.posts().len());
        assert_eq!(world.store.events("app.held").len(), 1);
        assert_eq!(world.store.events("channel.died").len(), 0);
        let dead =
            |r: &reveille::domain::record::DeviceRecord| r.channel_kind() == ChannelKind::Dead;
        assert_eq!(world.store.records().iter().filter(|r| dead(r)).count(), 0);
    });
}

#[test]
fn a_fleet_of_which_most_channels_are_dead_is_sorted_out_without_anybody() {
    simulate(async {
        let dead = |device: &str| device.ends_with(['1', '2', '3', '5', '7', '9']);
        let script = move |post: &Post, _: &world::Chaos| {
            let outcome = if dead(post.device.device.as_str()) {
                Outcome::ChannelRefused {
                    cause: ChannelRefusal::Gone,
                }
            } else {
                ACCEPTED
            };
            (Duration::from_millis(20), outcome)
        };
        let world = World::start(Setup::default(), Box::new(script)).await;

        world.push("a", 0..2_000, Class::Bulk).await;
        let held = Instant::now();
        while world.store.events("app.resumed").is_empty() {
            assert!(held.elapsed() < 48 * HOUR, "nobody lets it go on");
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(300)).await;

        let records = world.store.records();
        let (mut died, mut woken) = (0, 0);
        for record in &records {
            match record.channel_kind() {
                ChannelKind::Dead => died += 1,
                ChannelKind::Live => woken += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((died, woken), (1_200, 800));
        assert_eq!(world.store.count("closed.accepted"), 800);
        // Held once, whatever the probes met until one was answered well.
        assert_eq!(world.store.events("app.held").len(), 1);
        assert_eq!(world.store.events("app.resumed").len(), 1);
        assert!(world.posts().len() < 3_000, "{}", world.posts().len());
    });
}

#[test]
fn single_dead_channels_are_confirmed_after_a_minute() {
    simulate(async {
        let script = |post: &Post, _: &world::Chaos| {
            let gone = post.device.device.as_str().ends_with("7");
            let outcome = if gone {
                Outcome::ChannelRefused {
                    cause: ChannelRefusal::Gone,
                }
            } else {
                ACCEPTED
            };
            (Duration::from_millis(20), outcome)
        };
        let world = World::start(Setup::default(), Box::new(script)).await;

        world.push("a", 0..100, Class::Normal).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(world.store.events("channel.died").len(), 0);
        tokio::time::sleep(Duration::from_secs(20)).await;

        assert_eq!(world.store.events("channel.died").len(), 10);
        assert_eq!(world.store.events("app.held").len(), 0);
        assert_eq!(world.posts().len(), 100);
    });
}
