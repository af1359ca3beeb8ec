//! Starts that must not succeed, and what they say.

use reveille::sandbox::Behaviour;

use crate::rig::Rig;

const ANYWHERE: (&str, &str) = ("REVEILLE_SERVER_LISTEN", "127.0.0.1:0");

/// Starts a broker that must refuse to; gives its exit code and its one line.
async fn refused(rig: &Rig) -> (Option<i32>, String) {
    let (code, _, said) = rig.ends("serve", &[]).await;
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("reveille: "), "{said}");
    (code, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_folder_that_another_broker_holds_is_refused_by_its_name() {
    let mut rig = Rig::new(1, Behaviour::default());
    rig.start().await;
    rig.env.push((ANYWHERE.0, ANYWHERE.1.to_owned()));
    let (code, said) = refused(&rig).await;
    assert_eq!(code, Some(1));
    let folder = rig.dir.path().join("data");
    assert!(said.contains("in use by another broker"), "{said}");
    assert!(said.contains(&folder.display().to_string()), "{said}");
    assert_eq!(rig.get("/readyz").await["status"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nobody_else_may_reach_the_broker() {
    let mut rig = Rig::new(1, Behaviour::default());
    rig.env.push((ANYWHERE.0, "0.0.0.0:0".to_owned()));
    let (code, said) = refused(&rig).await;
    assert_eq!(code, Some(2));
    assert!(
        said.contains("no API key") && said.contains("reveille key new"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_knows_is_refused_with_its_line_and_the_key_that_was_meant() {
    let mut rig = Rig::new(1, Behaviour::default());
    rig.extra = "[limits]\nin_flight_maxx = 5\n".to_owned();
    let (code, said) = refused(&rig).await;
    assert_eq!(code, Some(2));
    assert!(
        said.contains("reveille.toml:") && said.contains("limits.in_flight_maxx"),
        "{said}"
    );
    assert!(said.contains("did you mean in_flight_max?"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_refused_by_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut rig = Rig::new(1, Behaviour::default());
    rig.env.push((ANYWHERE.0, address.clone()));
    let (code, said) = refused(&rig).await;
    assert_eq!(code, Some(2));
    assert!(
        said.contains(&address) && said.contains("server.listen"),
        "{said}"
    );
}
