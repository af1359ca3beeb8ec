//! Who may call what.

use futures_util::{StreamExt, stream, stream::FuturesUnordered};
use reqwest::{Body, Method, RequestBuilder};
use reveille::{
    api::Settings,
    domain::{
        api_key::{KeyRing, Principal, Reach, Scope, new_key},
        id::{AppId, KeyId, TenantId},
    },
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{Answer, Broker};

/// A broker with one key for each of these; the keys come in the same order.
async fn broker(keys: &[(&str, Reach, &[Scope])]) -> (Broker, Vec<String>) {
    let mut told = Vec::new();
    let mut kept = Vec::new();
    for (i, (id, reach, scopes)) in keys.iter().enumerate() {
        let id = KeyId::new(id).unwrap();
        let key = new_key(&id, [u8::try_from(i).unwrap(); 32]);
        told.push(key.key.expose_secret().to_owned());
        let principal = Principal {
            key: id,
            reach: reach.clone(),
            scopes: scopes.to_vec(),
            expires: Some("2026-03-01".parse().unwrap()),
        };
        kept.push((key.hash, principal));
    }
    (
        Broker::with(KeyRing::new(kept), Settings::default()).await,
        told,
    )
}

fn only(tenants: &[&str], apps: &[&str]) -> Reach {
    Reach::Only {
        apps: apps.iter().map(|a| AppId::new(a).unwrap()).collect(),
        tenants: tenants.iter().map(|t| TenantId::new(t).unwrap()).collect(),
    }
}

async fn call(broker: &Broker, key: &str, method: Method, path: &str) -> Answer {
    Answer::of(broker.request(method, path).bearer_auth(key)).await
}

#[actix_web::test]
async fn without_a_key_that_is_taken_nothing_is_served_but_probes() {
    let (broker, keys) = broker(&[("reader", Reach::All, &[Scope::Read])]).await;
    let path = "/v1/tenants/contoso";
    let none = broker.get(path).await;
    assert_eq!((none.status, none.problem()), (401, "unauthorized"));
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"reveille\"");
    let mangled = format!("{}x", keys[0]);
    for key in [mangled.as_str(), "", "rvk_reader_", "x"] {
        assert_eq!(
            call(&broker, key, Method::GET, path).await.status,
            401,
            "{key}"
        );
    }
    let basic = broker
        .request(Method::GET, path)
        .basic_auth("reader", Some(&keys[0]));
    assert_eq!(Answer::of(basic).await.status, 401);
    assert_eq!(call(&broker, &keys[0], Method::GET, path).await.status, 200);
    assert_eq!(broker.get("/healthz").await.status, 200);
    assert_eq!(broker.get("/openapi.json").await.status, 200);
    let ready = broker.get("/readyz").await;
    assert_eq!(
        ready.body,
        json!({ "status": "ready" }),
        "parts are not for everybody"
    );
    let ready = call(&broker, &keys[0], Method::GET, "/readyz").await;
    assert!(ready.body["components"].is_array());
    assert_eq!(broker.get("/metrics").await.status, 401);
    assert_eq!(
        call(&broker, &keys[0], Method::GET, "/metrics")
            .await
            .status,
        200
    );
    broker.clock.advance(jiff::SignedDuration::from_hours(12));
    assert_eq!(
        call(&broker, &keys[0], Method::GET, path).await.status,
        401,
        "it has expired"
    );
}

#[actix_web::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    use Scope::{Admin, Campaign, Push, Read, Register};
    let scopes = [Read, Push, Register, Campaign, Admin];
    let keys: Vec<(&str, Reach, &[Scope])> = scopes
        .iter()
        .map(|scope| (scope.as_str(), Reach::All, std::slice::from_ref(scope)))
        .collect();
    let (broker, keys) = broker(&keys).await;
    let t = "/v1/tenants/contoso";
    let calls = [
        (Method::GET, "/v1/tenants".to_owned(), Read),
        (Method::GET, t.to_owned(), Read),
        (Method::PUT, t.to_owned(), Admin),
        (Method::GET, format!("{t}/devices"), Read),
        (Method::GET, format!("{t}/devices/d"), Read),
        (Method::DELETE, format!("{t}/devices/d"), Register),
        (Method::PUT, format!("{t}/devices/d/channel"), Register),
        (Method::POST, format!("{t}/channels"), Register),
        (Method::POST, format!("{t}/devices/delete"), Register),
        (Method::POST, format!("{t}/pushes"), Push),
        (Method::GET, format!("{t}/pushes/d"), Read),
        (Method::DELETE, format!("{t}/pushes/d"), Push),
        (Method::POST, format!("{t}/check-ins"), Register),
        (Method::GET, format!("{t}/events"), Read),
        (Method::GET, "/v1/apps".to_owned(), Read),
        (Method::GET, "/v1/apps/contoso".to_owned(), Read),
        (Method::POST, "/v1/apps/contoso/pause".to_owned(), Admin),
        (Method::POST, "/v1/apps/contoso/resume".to_owned(), Admin),
        (Method::PUT, "/v1/apps/contoso/pace".to_owned(), Admin),
    ];
    for (method, path, needed) in calls {
        for (scope, key) in scopes.iter().zip(&keys) {
            let status = call(&broker, key, method.clone(), &path).await.status;
            let allowed = *scope == needed || *scope == Admin;
            assert_eq!(
                status != 403,
                allowed,
                "{method} {path} with {scope}: {status}"
            );
        }
    }
}

#[actix_web::test]
async fn a_key_reaches_its_tenants_and_is_not_told_of_others() {
    let (broker, keys) = broker(&[
        (
            "one",
            only(&["contoso", "later"], &[]),
            &[Scope::Read, Scope::Admin],
        ),
        ("app", only(&[], &["contoso"]), &[Scope::Admin]),
    ])
    .await;
    let get = async |key: usize, path: &str| call(&broker, &keys[key], Method::GET, path).await;
    assert_eq!(get(0, "/v1/tenants/contoso").await.status, 200);
    let forbidden = get(0, "/v1/tenants/fabrikam").await;
    assert_eq!((forbidden.status, forbidden.problem()), (403, "forbidden"));
    assert_eq!(
        get(0, "/v1/tenants/nobody").await.status,
        403,
        "nor whether it exists"
    );
    assert_eq!(
        get(0, "/v1/tenants/later").await.status,
        404,
        "its own it may know"
    );
    assert_eq!(
        get(0, "/v1/apps/contoso").await.status,
        403,
        "one tenant is not the app"
    );
    assert_eq!(get(1, "/v1/tenants/contoso").await.status, 200);
    assert_eq!(get(1, "/v1/apps/contoso").await.status, 200);
    assert_eq!(get(1, "/v1/apps/fabrikam").await.status, 403);
    for key in [0, 1] {
        let list = get(key, "/v1/tenants").await;
        let tenants: Vec<_> = list.body["items"].as_array().unwrap().iter().collect();
        assert_eq!(tenants.len(), 1);
        assert_eq!(tenants[0]["tenant"], "contoso");
    }
    assert_eq!(get(0, "/v1/apps").await.body["items"], json!([]));
    assert_eq!(get(1, "/metrics").await.status, 403);
    let put = async |key: usize, tenant: &str, app: &str| {
        let request = broker.request(Method::PUT, &format!("/v1/tenants/{tenant}"));
        Answer::of(request.bearer_auth(&keys[key]).json(&json!({ "app": app })))
            .await
            .status
    };
    assert_eq!(put(1, "made", "contoso").await, 201);
    assert_eq!(put(1, "made2", "fabrikam").await, 403);
    assert_eq!(
        put(1, "fabrikam", "contoso").await,
        403,
        "nobody takes another's tenant over"
    );
}

#[actix_web::test]
async fn the_answers_kept_for_one_key_are_not_those_of_another() {
    let all = || Reach::All;
    let (broker, keys) = broker(&[
        ("a", all(), &[Scope::Push, Scope::Register]),
        ("b", all(), &[Scope::Push]),
    ])
    .await;
    let push = async |key: &str| {
        let request = broker.request(Method::POST, "/v1/tenants/contoso/pushes");
        let request = request.bearer_auth(key).header("idempotency-key", "same");
        Answer::of(request.json(&json!({ "devices": ["d1"], "register_unknown": true }))).await
    };
    assert_eq!(push(&keys[0]).await.body["opened"], 1);
    assert_eq!(push(&keys[0]).await.body["opened"], 1);
    assert_eq!(push(&keys[1]).await.body["merged"], 1);
}

/// A body that begins, and ends only if it is said to.
fn body(ends: bool) -> Body {
    let begun = stream::iter([Ok::<_, std::io::Error>("\n")]);
    if ends {
        return Body::wrap_stream(begun);
    }
    Body::wrap_stream(begun.chain(stream::pending()))
}

#[actix_web::test]
async fn slow_uploads_of_one_key_leave_room_for_those_of_others() {
    // given a key whose uploads never end, more of them than three quarters of what may be held
    let scopes: &[Scope] = &[Scope::Register];
    let (broker, keys) =
        broker(&[("slow", Reach::All, scopes), ("other", Reach::All, scopes)]).await;
    let upload = |key: &str, body: Body| -> RequestBuilder {
        let request = broker.request(Method::POST, "/v1/tenants/contoso/channels");
        let request = request.header("content-type", "application/x-ndjson");
        request.bearer_auth(key).body(body)
    };
    let slow = (0..60).map(|_| upload(&keys[0], body(false)).send());
    let mut slow: FuturesUnordered<_> = slow.collect();

    // when those that find no room are answered
    for _ in 0..60 - 32 {
        let answer = slow.next().await.unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
    }

    // then the other key finds some, and the slow one does not
    let other = Answer::of(upload(&keys[1], body(true))).await;
    assert_eq!(other.status, 200, "{:?}", other.body);
    let refused = Answer::of(upload(&keys[0], body(true))).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
}
