use proptest::prelude::*;

use super::*;

const CLASSIC: &str = "https://wns2-pn1p.notify.windows.com/?token=AwYAAABc%2b3d%2fQ%3d%3d";

fn production() -> HostPolicy {
    HostPolicy::default()
}

fn refusal(text: &str) -> ChannelUriError {
    ChannelUri::parse(text, &production()).unwrap_err()
}

fn not_allowed(host: &str) -> ChannelUriError {
    ChannelUriError::HostNotAllowed { host: host.into() }
}

#[test]
fn real_shapes_are_taken_byte_for_byte() {
    for text in [
        CLASSIC,
        "https://db5.notify.windows.com/w/?token=BQYAAA%3d",
        "https://a.b.c.notify.windows.com/?token=%2B%2b+",
        "https://cloud.notify.windows.com:443/?token=a",
        "https://WNS2-PN1P.Notify.Windows.COM/?token=a",
        "HTTPS://sin.notify.windows.com/?token=a//b/?c=[d]",
    ] {
        let uri = ChannelUri::parse(text, &production()).unwrap();
        assert_eq!(uri.expose(), text);
        assert!(uri.permits(&production()), "{text}");
    }
}

#[test]
fn other_hosts_never_get_a_token() {
    for (text, host) in [
        (
            "https://notify.windows.com.evil.example/?token=a",
            "notify.windows.com.evil.example",
        ),
        (
            "https://evilnotify.windows.com/?token=a",
            "evilnotify.windows.com",
        ),
        ("https://windows.com/?token=a", "windows.com"),
        ("https://notify.windows.com/?token=a", "notify.windows.com"),
        (
            "https://client.wns.windows.com/?token=a",
            "client.wns.windows.com",
        ),
        ("https://127.0.0.1/?token=a", "127.0.0.1"),
        ("https://[::1]/?token=a", "[::1]"),
        ("https://localhost:9443/?token=a", "localhost"),
        (
            "https://evil.example/.notify.windows.com/?token=a",
            "evil.example",
        ),
        ("https://evil.example?.notify.windows.com/", "evil.example"),
    ] {
        assert_eq!(refusal(text), not_allowed(host), "{text}");
    }
}

#[test]
fn every_rule_has_its_own_refusal() {
    use ChannelUriError::{Ambiguous, Empty, Fragment, Scheme, UserInfo};
    for (text, error) in [
        ("", Empty),
        ("http://db5.notify.windows.com/?token=a", Scheme),
        ("https:/db5.notify.windows.com/", Scheme),
        ("ftp", Scheme),
        ("https://user@db5.notify.windows.com/", UserInfo),
        ("https://user:pw@db5.notify.windows.com/", UserInfo),
        ("https://evil.example:443@db5.notify.windows.com/", UserInfo),
        ("https://db5.notify.windows.com/?token=a#b", Fragment),
        ("https://evil.example#.notify.windows.com/", Fragment),
        ("https://db5.notify.windows.com", Ambiguous),
        ("https://db5.notify.windows.com?token=a", Ambiguous),
        ("https://db5.notify.windows.com/a/../b", Ambiguous),
        ("https://db5.notify.windows.com/%2e%2e/b", Ambiguous),
    ] {
        assert_eq!(refusal(text), error, "{text}");
    }
}

#[test]
fn a_port_other_than_443_is_refused() {
    for port in [1, 80, 8443, 65535] {
        let host: Box<str> = "db5.notify.windows.com".into();
        let text = format!("https://{host}:{port}/?token=a");
        assert_eq!(refusal(&text), ChannelUriError::Port { host, port });
    }
}

#[test]
fn what_is_no_plain_host_name_is_refused() {
    for authority in [
        "",
        ".notify.windows.com",
        "db5..notify.windows.com",
        "db5.notify.windows.com.",
        "db5%2enotify.windows.com",
        "db5_x.notify.windows.com",
        "[::1",
        "db5.notify.windows.com:",
        "db5.notify.windows.com:0",
        "db5.notify.windows.com:0443",
        "db5.notify.windows.com:+443",
        "db5.notify.windows.com:99999",
    ] {
        let text = format!("https://{authority}/?token=a");
        assert_eq!(refusal(&text), ChannelUriError::Host, "{text}");
    }
}

#[test]
fn bytes_that_a_client_would_encode_are_refused_with_their_place() {
    for bad in [
        " ", "\"", "'", "\\", "<", ">", "^", "`", "{", "|", "}", "\t", "\r\n", "\0", "\u{7f}", "é",
        "\u{3002}",
    ] {
        let text = format!("https://db5.notify.windows.com/?token={bad}");
        assert_eq!(
            refusal(&text),
            ChannelUriError::Character { at: 38 },
            "{bad:?}"
        );
    }
    assert_eq!(
        refusal(" https://db5.notify.windows.com/"),
        ChannelUriError::Character { at: 0 }
    );
    assert_eq!(
        refusal("https:\\\\db5.notify.windows.com/"),
        ChannelUriError::Character { at: 6 }
    );
}

#[test]
fn length_is_bounded_at_4096_bytes() {
    let of_length = |bytes: usize| {
        let head = "https://db5.notify.windows.com/?token=";
        format!("{head}{}", "a".repeat(bytes - head.len()))
    };
    assert!(ChannelUri::parse(&of_length(CHANNEL_URI_BYTES_MAX), &production()).is_ok());
    assert_eq!(
        refusal(&of_length(CHANNEL_URI_BYTES_MAX + 1)),
        ChannelUriError::TooLong { bytes: 4097 }
    );
}

#[test]
fn a_sandbox_is_allowed_by_host_and_port_together() {
    let policy = HostPolicy::new([
        "localhost:9443",
        "127.0.0.1:9443",
        "[::1]:9443",
        "wns.test:443",
    ])
    .unwrap();
    for text in [
        "https://localhost:9443/?token=a",
        "https://LOCALHOST:9443/?token=a",
        "https://127.0.0.1:9443/?token=a",
        "https://[::1]:9443/?token=a",
        "https://wns.test/?token=a",
        CLASSIC,
    ] {
        assert!(ChannelUri::parse(text, &policy).is_ok(), "{text}");
    }
    for text in [
        "https://localhost:9444/?token=a",
        "https://localhost/?token=a",
        "https://a.localhost:9443/?token=a",
        "https://db5.notify.windows.com:9443/?token=a",
        "https://0x7f.1:9443/?token=a",
        "http://localhost:9443/?token=a",
    ] {
        assert!(ChannelUri::parse(text, &policy).is_err(), "{text}");
    }
}

#[test]
fn a_sandbox_host_that_cannot_match_is_refused() {
    for entry in [
        "",
        "localhost",
        "localhost:",
        ":9443",
        "localhost:0",
        "a b:1",
        "https://localhost:9443",
        "u@h:1",
        "h:1/x",
        "0x7f.1:9443",
    ] {
        assert_eq!(
            HostPolicy::new([entry]),
            Err(SandboxHostError(entry.to_owned())),
            "{entry}"
        );
    }
}

#[test]
fn a_stored_uri_is_asked_again_when_the_policy_has_changed() {
    let sandbox = HostPolicy::new(["localhost:9443"]).unwrap();
    let uri = ChannelUri::parse("https://localhost:9443/?token=a", &sandbox).unwrap();

    let stored = ChannelUri::from_stored(uri.expose());

    assert_eq!(stored, uri);
    assert!(stored.permits(&sandbox));
    assert!(!stored.permits(&production()));
    assert!(!ChannelUri::from_stored("rubbish").permits(&sandbox));
}

#[test]
fn only_the_host_is_ever_printed() {
    let uri = ChannelUri::parse(
        "https://cloud.notify.windows.com:443/w/?token=SECRET",
        &production(),
    )
    .unwrap();

    assert_eq!(format!("{uri}"), "cloud.notify.windows.com:443");
    assert_eq!(
        format!("{uri:?}"),
        "ChannelUri(cloud.notify.windows.com:443)"
    );
    assert_eq!(format!("{}", ChannelUri::from_stored("SECRET")), "");
    assert!(uri.is_web_push());
    assert!(!ChannelUri::from_stored(CLASSIC).is_web_push());
}

#[test]
fn the_hash_is_keyed_short_and_stable() {
    // HMAC-SHA256 test case 2 of RFC 4231, cut to eight bytes.
    let jefe = ChannelUri::from_stored("what do ya want for nothing?").hash(b"Jefe");

    assert_eq!(jefe.to_string(), "5bdcc146bf60754e");
    assert_eq!(UriHash::from_bytes(*jefe.as_bytes()), jefe);
    assert_ne!(
        ChannelUri::from_stored(CLASSIC).hash(b"a"),
        ChannelUri::from_stored(CLASSIC).hash(b"b")
    );
}

proptest! {
    #[test]
    fn what_is_accepted_goes_to_an_allowed_host_by_every_parser(text in "(https://|http://|https:)?[a-z@:.\\[\\]%\\\\/?#-]{0,12}(notify\\.windows\\.com)?[a-z@:.%\\\\/?#-]{0,12}") {
        if let Ok(uri) = ChannelUri::parse(&text, &production()) {
            let url = Url::parse(&text).unwrap();
            let wire: http::Uri = text.parse().unwrap();
            let host = url.host_str().unwrap();
            prop_assert!(host.ends_with(".notify.windows.com"));
            prop_assert_eq!(wire.host().map(str::to_ascii_lowercase), Some(host.to_owned()));
            prop_assert_eq!(wire.path_and_query().map_or("", |p| p.as_str()), &url[Position::BeforePath..]);
            prop_assert_eq!(uri.expose(), &text);
            prop_assert!(uri.permits(&production()));
        }
    }

    #[test]
    fn any_text_is_answered_and_its_token_never_printed(text in "(https://)?\\PC{0,60}(notify.windows.com)?") {
        let text = format!("{text}/?token=SECRETTOKEN");
        let shown = match ChannelUri::parse(&text, &production()) {
            Ok(uri) => format!("{uri:?} {uri}"),
            Err(error) => format!("{error:?} {error}"),
        };
        prop_assert!(!shown.contains("SECRETTOKEN"), "{}", shown);
    }

    #[test]
    fn what_is_plain_is_read_alike_by_the_url_library(
        text in "https://[a-z0-9.-]{1,12}(\\.[a-z]{1,4})?[a-zA-Z0-9/]{0,8}([/?][A-Za-z0-9._~:/?\\[\\]@!$&()*+,;=%-]{0,40})?"
    ) {
        if let Ok(authority) = split(&text) && is_plain(&authority) {
            prop_assert_eq!(agree_with_url(&text, &authority), Ok(()), "{}", text);
        }
    }

    #[test]
    fn any_token_of_uri_characters_is_kept(token in "[A-Za-z0-9%+/=_.~-]{0,600}") {
        let text = format!("https://db5p.notify.windows.com/?token={token}");
        let uri = ChannelUri::parse(&text, &production()).unwrap();
        prop_assert_eq!(uri.expose(), &text);
        let url = Url::parse(&text).unwrap();
        prop_assert_eq!(url.as_str(), &text);
    }
}
