//! What a good configuration turns into.

use std::time::Duration;

use crate::{
    config::{Backend, Identity, LogFormat, Pace, RedisTopology, SecretSource},
    domain::{
        api_key::Reach,
        id::{AppId, KeyId, TenantId},
        identity::PackageSid,
        schedule::Rules,
        wns::{
            channel_uri::{ChannelUri, HostPolicy},
            request::WnsPriority,
        },
    },
};

use super::*;

#[test]
fn one_app_is_enough_and_the_rest_has_defaults() {
    let config = parse(&one_app()).unwrap();

    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8470");
    assert_eq!(
        config.store.backend,
        Backend::Embedded {
            path: "reveille-data".into()
        }
    );
    assert_eq!(config.wns.request_timeout, Duration::from_secs(15));
    assert_eq!(
        config.apps[0].token_url.as_str(),
        "https://login.live.com/accesstoken.srf"
    );
    assert_eq!(
        config.apps[0].identity,
        Identity::Classic {
            package_sid: PackageSid::parse(SID).unwrap()
        }
    );
    assert_eq!(
        config.apps[0].pace,
        Pace {
            start_per_second: 200,
            ceiling_per_second: 900,
            floor_per_second: 10
        }
    );
    assert_eq!(config.apps[0].secrets.current.expose(), "s3cret");
    assert_eq!(config.tenants.len(), 1);
    assert_eq!(config.tenants[0].id.as_str(), "contoso");
    assert_eq!(config.retry.repush.len(), 4);
    assert!(config.keys.is_empty());
    assert!(config.wns.proxy.is_none() && config.wns.hosts == HostPolicy::default());
}

#[test]
fn the_environment_alone_is_enough_and_wins_over_the_file() {
    let variables = [
        ("REVEILLE_APPS_0_ID", "contoso"),
        ("REVEILLE_APPS_0_PACKAGE_SID", SID),
        ("REVEILLE_APPS_0_SECRET_ENV", "S"),
        ("REVEILLE_APPS_0_PACE_CEILING_PER_SECOND", "50"),
        (
            "REVEILLE_WNS_SANDBOX_HOSTS",
            "localhost:9443, 127.0.0.1:9443,",
        ),
        ("REVEILLE_LOG_FORMAT", "json"),
    ];
    let config = Config::load(None, &env(&variables)).unwrap();
    assert_eq!(
        config.apps[0].pace,
        Pace {
            start_per_second: 50,
            ceiling_per_second: 50,
            floor_per_second: 10
        }
    );
    assert!(ChannelUri::parse("https://localhost:9443/?token=x", &config.wns.hosts).is_ok());
    assert!(ChannelUri::parse("https://localhost:9444/?token=x", &config.wns.hosts).is_err());
    assert_eq!(config.log.format, LogFormat::Json);

    let file = format!("[log]\nformat = \"text\"\n{}", one_app());
    let variables = [
        ("REVEILLE_LOG_FORMAT", "json"),
        ("REVEILLE_APPS_0_ID", "fabrikam"),
    ];
    let config = parse_with(&file, &variables).unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.apps[0].id.as_str(), "fabrikam");
}

#[test]
fn a_number_after_the_last_entry_adds_one() {
    let app = |at: usize| {
        [
            ("ID", format!("app{at}")),
            ("PACKAGE_SID", SID.into()),
            ("SECRET_ENV", "S".into()),
        ]
    };
    let variables: Vec<(String, String)> = (1..12)
        .flat_map(|at| app(at).map(|(key, value)| (format!("REVEILLE_APPS_{at}_{key}"), value)))
        .chain([("S".into(), "s3cret".into())])
        .collect();

    let config = Config::parse(
        &one_app(),
        "reveille.toml",
        &variables.into_iter().collect(),
    )
    .unwrap();

    let ids: Vec<&str> = config.apps.iter().map(|app| app.id.as_str()).collect();
    assert_eq!(ids.len(), 12);
    assert_eq!((ids[0], ids[2], ids[11]), ("contoso", "app2", "app11"));
}

#[test]
fn foreign_variables_with_our_prefix_are_left_alone() {
    let variables = [
        ("REVEILLE_CONFIG", "x"),
        ("REVEILLE_SERVICE_HOST", "10.0.0.1"),
        ("REVEILLE_SERVICE_PORT_HTTP", "8470"),
        ("REVEILLE_PORT", "tcp://10.0.0.1:8470"),
        ("REVEILLE_PORT_8470_TCP_ADDR", "10.0.0.1"),
        ("REVEILLE_CONTOSO_SECRET", "named below"),
    ];
    let text = one_app().replace("\"S\"", "\"REVEILLE_CONTOSO_SECRET\"");
    let config = parse_with(&text, &variables).unwrap();
    assert_eq!(config.apps[0].secrets.current.expose(), "named below");
}

#[test]
fn an_entra_app_asks_its_directory_and_a_token_url_overrides() {
    let text = "[[apps]]\nid = \"a\"\nsecret_env = \"S\"\nsecret_next_env = \"CONTOSO_WNS_SECRET\"\nsecret_expires = 2027-01-31\n[apps.entra]\ntenant_id = \"t-1\"\nclient_id = \"c-1\"\n";
    let app = parse(text).unwrap().apps.remove(0);
    assert_eq!(
        app.token_url.as_str(),
        "https://login.microsoftonline.com/t-1/oauth2/v2.0/token"
    );
    assert_eq!(
        app.identity,
        Identity::Entra {
            tenant_id: "t-1".into(),
            client_id: "c-1".into(),
            package_sid: None
        }
    );
    assert_eq!(
        app.secrets.next.unwrap().source,
        SecretSource::Env("CONTOSO_WNS_SECRET".into())
    );
    assert_eq!(app.secrets.expires, Some(jiff::civil::date(2027, 1, 31)));

    for own in [
        "https://localhost:9443/accesstoken.srf",
        "http://127.0.0.1:9080/token",
    ] {
        let text = text.replace(
            "[apps.entra]",
            &format!("token_url = \"{own}\"\n[apps.entra]"),
        );
        assert_eq!(parse(&text).unwrap().apps[0].token_url.as_str(), own);
    }
}

#[test]
fn redis_is_reached_as_its_topology_says() {
    let text = format!(
        "{}[store]\nkind = \"redis\"\nurl = \"rediss://u:p@a:1/0\"\nmore_urls = [\"redis://b:2\"]\ntopology = \"sentinel\"\nsentinel_master = \"m\"\nmin_replicas_to_ack = 1\n",
        one_app()
    );
    let Backend::Redis(redis) = parse(&text).unwrap().store.backend else {
        panic!("not redis")
    };
    assert_eq!(
        redis.topology,
        RedisTopology::Sentinel {
            master: "m".into(),
            user: None,
            password: None,
        }
    );
    assert_eq!(redis.url.expose().password(), Some("p"));
    assert_eq!(
        (
            redis.more_urls.len(),
            redis.shards,
            redis.min_replicas_to_ack
        ),
        (1, 64, 1)
    );
}

#[test]
fn sentinels_have_a_login_of_their_own() {
    let text = format!(
        "{}[store]\nkind = \"redis\"\nurl = \"redis://u:p@a\"\ntopology = \"sentinel\"\nsentinel_master = \"m\"\nsentinel_user = \"s\"\nsentinel_password_env = \"REVEILLE_SENTINEL\"\n",
        one_app()
    );
    let read = parse_with(&text, &[("REVEILLE_SENTINEL", "hush")]).unwrap();
    assert!(!format!("{read:?}").contains("hush"));
    let Backend::Redis(redis) = read.store.backend else {
        panic!("not redis")
    };
    let RedisTopology::Sentinel { user, password, .. } = redis.topology else {
        panic!("no sentinels")
    };
    assert_eq!(user.as_deref(), Some("s"));
    assert_eq!(password.unwrap().expose(), "hush");
}

#[test]
fn the_proxy_of_the_environment_holds_unless_the_file_names_one() {
    let environment = [
        ("https_proxy", "proxy.example:3128"),
        ("NO_PROXY", "localhost"),
    ];
    let proxy = parse_with(&one_app(), &environment)
        .unwrap()
        .wns
        .proxy
        .unwrap();
    assert_eq!(proxy.url.to_string(), "http://proxy.example:3128/");
    assert_eq!(proxy.except.as_deref(), Some("localhost"));

    let file = format!(
        "[wns]\nproxy = \"socks5://own.example:1080\"\npriority = \"high\"\n{}",
        one_app()
    );
    let wns = parse_with(&file, &environment).unwrap().wns;
    assert_eq!(
        wns.proxy.unwrap().url.to_string(),
        "socks5://own.example:1080"
    );
    assert_eq!(wns.priority.map(WnsPriority::value), Some(1));
}

#[test]
fn a_key_reaches_what_its_entry_names() {
    let text = format!(
        "{}[[keys]]\nid = \"k\"\nhash = \"{HASH}\"\napps = [\"contoso\"]\ntenants = [\"later\"]\nscopes = [\"read\", \"push\"]\nexpires = 2027-01-31\n",
        one_app()
    );
    let config = parse(&text).unwrap();
    let key = config.keys.principals().next().unwrap();
    assert_eq!(key.key, KeyId::new("k").unwrap());
    assert_eq!(
        key.reach,
        Reach::Only {
            apps: vec![AppId::new("contoso").unwrap()],
            tenants: vec![TenantId::new("later").unwrap()]
        }
    );
    assert_eq!(key.expires, Some(jiff::civil::date(2027, 1, 31)));
    let every = text.replace("\"later\"", "\"*\"");
    assert_eq!(
        parse(&every)
            .unwrap()
            .keys
            .principals()
            .next()
            .unwrap()
            .reach,
        Reach::All
    );
}

#[test]
fn an_app_pace_needs_one_key_only() {
    let pace = |lines: &str| {
        parse(&format!("{}[apps.pace]\n{lines}", one_app()))
            .unwrap()
            .apps[0]
            .pace
            .clone()
    };
    let of = |start, ceiling, floor| Pace {
        start_per_second: start,
        ceiling_per_second: ceiling,
        floor_per_second: floor,
    };
    assert_eq!(pace("ceiling_per_second = 5"), of(5, 5, 5));
    assert_eq!(pace("start_per_second = 5000"), of(5000, 5000, 10));
    assert_eq!(pace("floor_per_second = 50"), of(200, 900, 50));
}

#[test]
fn the_defaults_are_the_rules_of_the_domain() {
    assert_eq!(parse(&one_app()).unwrap().rules(), Rules::default());
    let text = format!(
        "[checkin]\nskew_tolerance = \"9s\"\n[store]\nevents_verbose = true\n{}",
        one_app()
    );
    let rules = parse(&text).unwrap().rules();
    assert_eq!(rules.check_in_skew, jiff::SignedDuration::from_secs(9));
    assert!(rules.verbose_events);
}

#[test]
fn levels_finer_than_info_hold_for_our_own_parts() {
    let directives = |lines: &str| {
        parse(&format!("[log]\n{lines}\n{}", one_app()))
            .unwrap()
            .log
            .directives()
    };
    assert_eq!(directives("level = \"warn\""), "warn");
    assert_eq!(
        directives("level = \"debug\"\ntargets = [\"hyper=trace\", \"reveille::api=off\"]"),
        "warn,reveille=debug,hyper=trace,reveille::api=off"
    );
}

#[test]
fn no_secret_shows_in_debug_output() {
    let shown = format!("{:?} {:?}", parse(&one_app()).unwrap(), env(&[]));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn traces_are_off_and_their_sample_is_a_part_in_percent() {
    let config = parse(&one_app()).unwrap();
    assert_eq!(config.traces.endpoint, None);
    assert!((config.traces.sample.ratio() - 0.01).abs() < 1e-9);

    let text = |sample: &str| format!("{}\n[traces]\nsample = {sample}\n", one_app());
    for (sample, ratio) in [("\"0%\"", 0.0), ("\"0.1%\"", 0.001), ("\"100%\"", 1.0)] {
        let config = parse(&text(sample)).unwrap();
        assert!(
            (config.traces.sample.ratio() - ratio).abs() < 1e-9,
            "{sample}"
        );
    }
    for wrong in [
        "\"101%\"", "\"-1%\"", "\"1\"", "\"NaN%\"", "\"%\"", "0.1", "1",
    ] {
        assert!(parse(&text(wrong)).is_err(), "{wrong}");
    }
}
