//! Cases of the shares port.

use std::sync::Arc;

use reveille::{
    domain::id::AppId,
    ports::{Store, shares::ShareRequest},
};

use crate::{backend::Backend, items::soon};

const SLACK: f64 = 1e-6;

fn request(app: &str, pace_per_second: f64, demand_per_second: f64) -> ShareRequest {
    let app = AppId::new(app).unwrap();
    ShareRequest {
        app,
        pace_per_second,
        demand_per_second,
    }
}

/// Renews for `broker` and returns the rates in the order asked.
async fn renew(
    store: &Arc<dyn Store>,
    broker: &str,
    requests: &[ShareRequest],
    term: std::time::Duration,
) -> Vec<f64> {
    let shares = soon(store.renew(broker, requests, term)).await.unwrap();
    let apps: Vec<_> = shares.iter().map(|s| &s.app).collect();
    assert_eq!(apps, requests.iter().map(|r| &r.app).collect::<Vec<_>>());
    assert!(shares.iter().all(|s| s.per_second >= 0.0));
    shares.iter().map(|s| s.per_second).collect()
}

pub(crate) async fn a_single_broker_gets_what_it_can_use(b: &mut dyn Backend) {
    let requests = [request("busy", 100.0, 900.0), request("calm", 100.0, 20.0)];

    let rates = renew(&b.store(), "one", &requests, b.tick() * 20).await;

    assert!((rates[0] - 100.0).abs() < 1.0, "{rates:?}");
    assert!(rates[1] >= 19.0 && rates[1] <= 100.0, "{rates:?}");
    let none = b.store().renew("one", &[], b.tick()).await.unwrap();
    assert_eq!(none, vec![]);
}

pub(crate) async fn live_shares_never_exceed_the_pace(b: &mut dyn Backend) {
    let (store, other, term) = (b.store(), b.other(), b.tick() * 40);
    let brokers = [(&store, "one"), (&other, "two"), (&store, "three")];
    let mut live = [0.0; 3];
    for round in 0..12 {
        let (broker, name) = brokers[round % 3];
        let demand = [900.0, 10.0, 60.0, 0.0, 200.0][round % 5];
        let got = renew(broker, name, &[request("app", 100.0, demand)], term).await;
        live[round % 3] = got[0];
        assert!(live.iter().sum::<f64>() <= 100.0 + SLACK, "{live:?}");
    }
}

pub(crate) async fn a_share_that_became_smaller_counts_until_its_term_is_over(b: &mut dyn Backend) {
    // given a broker that has all of a pace, and another that has none
    let (store, other, term) = (b.store(), b.other(), b.tick() * 20);
    let asked = [request("app", 100.0, 100.0)];
    assert_eq!(renew(&store, "one", &asked, term).await, [100.0]);
    assert_eq!(renew(&other, "two", &asked, term).await, [0.0]);

    // when the first gets less, twice, without hearing of it
    for _ in 0..2 {
        let lost = renew(&store, "one", &asked, term * 2).await[0];
        assert!((lost - 50.0).abs() < 1.0, "{lost}");
    }

    // then the other has to wait for the end of what the first knows of
    assert_eq!(renew(&other, "two", &asked, term * 2).await, [0.0]);
    b.pass(term + b.tick()).await;
    let got = renew(&other, "two", &asked, term).await[0];
    assert!((got - 50.0).abs() < 1.0, "{got}");

    // and at once for what the first says that it needs no more
    let little = [request("app", 100.0, 10.0)];
    assert_eq!(renew(&store, "one", &little, term).await, [10.0]);
    let got = renew(&other, "two", &asked, term).await[0];
    assert!((got - 90.0).abs() < 1.0, "{got}");
}

pub(crate) async fn every_broker_gets_a_part_in_time(b: &mut dyn Backend) {
    let (store, other, term) = (b.store(), b.other(), b.tick() * 4);
    let asked = [request("app", 100.0, 900.0)];
    let mut rates = [0.0; 2];
    for _ in 0..8 {
        rates[0] = renew(&store, "one", &asked, term).await[0];
        rates[1] = renew(&other, "two", &asked, term).await[0];
        assert!(rates.iter().sum::<f64>() <= 100.0 + SLACK, "{rates:?}");
        b.pass(b.tick()).await;
    }
    assert!(rates[0] >= 20.0 && rates[1] >= 20.0, "{rates:?}");
}

pub(crate) async fn a_share_is_free_again_after_its_term(b: &mut dyn Backend) {
    let (store, term) = (b.store(), b.tick() * 4);
    let asked = [request("app", 100.0, 100.0)];
    renew(&store, "gone", &asked, term).await;
    let beside = renew(&store, "stays", &asked, term).await[0];
    assert!(beside < 51.0, "{beside}");

    b.pass(term + b.tick()).await;
    let mut alone = 0.0;
    for _ in 0..3 {
        alone = renew(&store, "stays", &asked, term).await[0];
        b.pass(b.tick()).await;
    }

    assert!((alone - 100.0).abs() < 1.0, "{alone}");
}

pub(crate) async fn the_lowest_pace_counts(b: &mut dyn Backend) {
    let (store, other, term) = (b.store(), b.other(), b.tick() * 4);
    for _ in 0..3 {
        renew(&store, "one", &[request("app", 100.0, 900.0)], term).await;
        renew(&other, "two", &[request("app", 10.0, 900.0)], term).await;
    }
    b.pass(term + b.tick()).await;

    let mut sum = 0.0;
    for _ in 0..3 {
        let low = renew(&other, "two", &[request("app", 10.0, 900.0)], term).await[0];
        let high = renew(&store, "one", &[request("app", 100.0, 900.0)], term).await[0];
        sum = low + high;
    }

    assert!(sum <= 10.0 + SLACK, "{sum}");
}
