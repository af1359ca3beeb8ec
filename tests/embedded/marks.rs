//! Marks of requests in progress, over a store that forgets documents by its own clock.

use reveille::service::idempotency::{Begin, MARK_LIFE, Mark, RequestName, begin};

use super::*;

async fn fresh(store: &Arc<EmbeddedStore>) -> Mark {
    let name = RequestName::new(&["key", "POST", "/pushes"]);
    match begin(store.clone(), name).await.unwrap() {
        Begin::Fresh(mark) => mark,
        Begin::InProgress | Begin::Answered(_) => panic!("the request is not fresh"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_has_lapsed_is_not_taken_for_the_one_that_was_made_anew() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    let mut stalled = fresh(&store).await;
    clock.pass(MARK_LIFE).await;
    let mut repeated = fresh(&store).await;

    assert_eq!(stalled.prolong().await, Ok(false));

    assert_eq!(repeated.prolong().await, Ok(true));
    clock.pass(MARK_LIFE / 2).await;
    assert_eq!(repeated.prolong().await, Ok(true));
    clock.pass(MARK_LIFE / 2).await;
    assert_eq!(repeated.prolong().await, Ok(true), "each time anew");
}
