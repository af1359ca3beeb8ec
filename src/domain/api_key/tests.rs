use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn principal(id: &str) -> Principal {
    Principal {
        key: KeyId::new(id).unwrap(),
        reach: Reach::All,
        scopes: vec![Scope::Push],
        expires: None,
    }
}

#[test]
fn a_new_key_is_recognised_by_its_hash_alone() {
    let made = new_key(&KeyId::new("console_1").unwrap(), [7; KEY_SECRET_BYTES]);
    let stored = KeyHash::parse(&made.hash.to_string()).unwrap();
    let ring = KeyRing::new([(stored, principal("console_1"))]);

    let found = ring.authenticate(made.key.expose_secret(), now());

    assert_eq!(found, Ok(&principal("console_1")));
    assert!(made.key.expose_secret().starts_with("rvk_console_1_"));
}

#[test]
fn another_secret_or_id_is_refused() {
    let id = KeyId::new("console").unwrap();
    let made = new_key(&id, [1; KEY_SECRET_BYTES]);
    let ring = KeyRing::new([(made.hash, principal("console"))]);

    let other_secret = new_key(&id, [2; KEY_SECRET_BYTES]).key;
    let other_id = made.key.expose_secret().replace("console", "consolf");

    assert_eq!(
        ring.authenticate(other_secret.expose_secret(), now()),
        Err(KeyRefusal::Mismatch(id))
    );
    assert!(matches!(
        ring.authenticate(&other_id, now()),
        Err(KeyRefusal::Unknown(_))
    ));
    for malformed in [
        "",
        "rvk_",
        "rvk_console",
        "Bearer x",
        &made.key.expose_secret()[1..],
    ] {
        assert_eq!(
            ring.authenticate(malformed, now()),
            Err(KeyRefusal::Malformed),
            "{malformed}"
        );
    }
}

#[test]
fn a_key_is_taken_through_its_last_day() {
    let made = new_key(&KeyId::new("k").unwrap(), [3; KEY_SECRET_BYTES]);
    let expiring = Principal {
        expires: Some("2026-11-22".parse().unwrap()),
        ..principal("k")
    };
    let ring = KeyRing::new([(made.hash, expiring)]);
    let key = made.key.expose_secret();

    assert!(
        ring.authenticate(key, "2026-11-22T23:59:59Z".parse().unwrap())
            .is_ok()
    );
    assert!(matches!(
        ring.authenticate(key, "2026-11-23T00:00:00Z".parse().unwrap()),
        Err(KeyRefusal::Expired(_))
    ));
}

#[test]
fn reach_and_scopes_bound_a_principal() {
    let (app, tenant) = (AppId::new("a").unwrap(), TenantId::new("t").unwrap());
    let (other_app, other_tenant) = (AppId::new("b").unwrap(), TenantId::new("u").unwrap());
    let by_app = Reach::Only {
        apps: vec![app.clone()],
        tenants: vec![],
    };
    let by_tenant = Reach::Only {
        apps: vec![],
        tenants: vec![tenant.clone()],
    };

    let console = Principal {
        reach: by_app,
        ..principal("k")
    };
    assert!(console.reaches(&other_tenant, &app) && console.reaches_app(&app));
    assert!(!console.reaches(&tenant, &other_app));
    let console = Principal {
        reach: by_tenant,
        ..principal("k")
    };
    assert!(console.reaches(&tenant, &app) && !console.reaches_app(&app));
    assert!(!console.reaches(&other_tenant, &app));
    assert!(console.may(Scope::Push) && !console.may(Scope::Read));
    let admin = Principal {
        scopes: vec![Scope::Admin],
        ..principal("k")
    };
    assert!(Scope::ALL.into_iter().all(|scope| admin.may(scope)));
}

#[test]
fn neither_key_nor_hash_shows_in_debug_output() {
    let made = new_key(&KeyId::new("k").unwrap(), [9; KEY_SECRET_BYTES]);
    let shown = format!("{made:?}");
    let secret = URL_SAFE_NO_PAD.encode([9; KEY_SECRET_BYTES]);
    assert!(
        !shown.contains(&secret) && !shown.contains(&made.hash.to_string()),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_recognised_without_a_panic(text in "(rvk_)?\\PC{0,80}") {
        let ring = KeyRing::new([(KeyHash::of("x"), principal("k"))]);
        prop_assert!(ring.authenticate(&text, now()).is_err());
    }

    #[test]
    fn every_key_is_recognised_whatever_its_id_and_bytes(id in "[A-Za-z0-9._-]{1,64}", random: [u8; KEY_SECRET_BYTES]) {
        let made = new_key(&KeyId::new(&id).unwrap(), random);
        let ring = KeyRing::new([(made.hash, principal(&id))]);
        prop_assert!(ring.authenticate(made.key.expose_secret(), now()).is_ok());
    }
}
