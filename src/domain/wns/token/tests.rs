use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    identity::{PackageSid, Pfn},
    wns::{
        reply::{TransportFailure, UnavailableKind},
        text::Text,
    },
};

const SID: &str =
    "S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn read(status: u16, body: &str) -> Result<TokenReply, TokenFailure> {
    parse_reply(status, None, body.as_bytes(), now())
}

fn outage(kind: TokenOutage, seconds: Option<u64>) -> TokenFailure {
    TokenFailure::Unavailable {
        kind,
        retry_after: seconds.map(Duration::from_secs),
    }
}

fn http(status: u16) -> TokenOutage {
    TokenOutage::Transport(UnavailableKind::Http { status })
}

#[test]
fn the_classic_form_is_percent_encoded_and_has_the_sid_with_its_scheme() {
    let expected = format!(
        "grant_type=client_credentials&client_id=ms-app%3A%2F%2F{SID}&client_secret=a%2Bb%2Fc%3D~%20%25%26%C3%A9&scope=notify.windows.com"
    );
    for sid in [SID.to_owned(), format!("ms-app://{SID}")] {
        let sid = PackageSid::parse(&sid).unwrap();
        let request = TokenRequest::classic(&sid, &SecretString::from("a+b/c=~ %&é"));

        assert_eq!(&*request.url, "https://login.live.com/accesstoken.srf");
        assert_eq!(request.body.expose_secret(), expected);
        assert_eq!(
            TokenRequest::CONTENT_TYPE,
            "application/x-www-form-urlencoded"
        );
    }
}

#[test]
fn the_entra_form_names_the_wns_resource() {
    let request = TokenRequest::entra(
        "contoso.example",
        "00000000-0000-0000-0000-000000000001",
        &"s".into(),
    )
    .unwrap();

    assert_eq!(
        &*request.url,
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    );
    assert_eq!(
        request.body.expose_secret(),
        "grant_type=client_credentials&client_id=00000000-0000-0000-0000-000000000001&client_secret=s\
         &scope=https%3A%2F%2Fwns.windows.com%2F.default"
    );
    for tenant in ["", ".", "..", "a/b", "a?b", "a b", "é", &"x".repeat(254)] {
        assert_eq!(
            TokenRequest::entra(tenant, "c", &"s".into()).unwrap_err(),
            EntraTenantError,
            "{tenant}"
        );
    }
}

#[test]
fn a_sandbox_gets_the_same_form_at_its_own_address() {
    let sid = PackageSid::of(&Pfn::parse("52314publisher.testwns_t6e9vsyjkrw9w").unwrap());
    let request = TokenRequest::classic(&sid, &"s".into());
    let body = request.body.expose_secret().to_owned();

    let moved = request.at("https://localhost:9443/accesstoken.srf");

    assert_eq!(&*moved.url, "https://localhost:9443/accesstoken.srf");
    assert_eq!(moved.body.expose_secret(), body);
}

#[test]
fn nothing_secret_is_printed() {
    let sid = PackageSid::parse(SID).unwrap();
    let request = TokenRequest::classic(&sid, &"SECRET".into());
    let reply = read(200, r#"{"access_token":"SECRET"}"#).unwrap();

    assert!(!format!("{request:?}{reply:?}").contains("SECRET"));
}

#[test]
fn a_life_is_read_in_every_form_and_bounded() {
    for (expires_in, seconds) in [
        ("", 3_600),
        (r#","expires_in":86400"#, 86_400),
        (r#","expires_in":"86399""#, 86_399),
        (r#","expires_in":" 3600 ""#, 3_600),
        (r#","expires_in":172800"#, 86_400),
        (r#","expires_in":1e300"#, 86_400),
        (r#","expires_in":"99999999999999999999999""#, 86_400),
        (r#","expires_in":90.5"#, 90),
        (r#","expires_in":0"#, 60),
        (r#","expires_in":-5"#, 60),
        (r#","expires_in":null"#, 3_600),
        (r#","expires_in":"soon""#, 3_600),
        (r#","expires_in":"NaN""#, 3_600),
        (r#","expires_in":{}"#, 3_600),
        (
            r#","token_type":"Bearer","ext_expires_in":1,"not_before":"5""#,
            3_600,
        ),
        (r#","token_type":"bearer","expires_in":600"#, 600),
    ] {
        let reply = read(
            200,
            &format!(r#"{{"access_token":"EgAcAQMA+/=="{expires_in}}}"#),
        )
        .unwrap();
        assert_eq!(reply.expires_in.as_secs(), seconds, "{expires_in}");
        assert_eq!(reply.access_token.expose(), "EgAcAQMA+/==");
    }
}

#[test]
fn a_success_without_a_usable_token_is_an_outage() {
    let long = format!(
        r#"{{"access_token":"{}"}}"#,
        "x".repeat(ACCESS_TOKEN_BYTES_MAX + 1)
    );
    let huge = format!(
        r#"{{"access_token":"x","pad":"{}"}}"#,
        "x".repeat(TOKEN_REPLY_BYTES_MAX)
    );
    for body in [
        "",
        "<html>sign in</html>",
        "{}",
        "[]",
        r#"{"access_token":""}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"a\r\nX-Evil: 1"}"#,
        r#"{"access_token":"é"}"#,
        r#"{"access_token":"x","token_type":"mac"}"#,
        &long,
        &huge,
    ] {
        let failure = read(200, body).unwrap_err();
        assert_eq!(failure, outage(TokenOutage::Unreadable, None), "{body:.60}");
    }
}

fn check_refusal(status: u16, error: &'static str, description: &'static str, cure: &str) {
    let body =
        serde_json::json!({"error": error, "error_description": description, "error_codes": [1]});
    let failure = read(status, &body.to_string()).unwrap_err();

    let expected = TokenFailure::Credential {
        error: Text::known(error),
        description: Text::known(description),
    };
    assert_eq!(failure, expected);
    assert!(failure.cure().contains(cure), "{error}: {}", failure.cure());
}

#[test]
fn a_credential_refused_by_the_classic_endpoint_names_its_cure() {
    let retired = "Client credential flows against login.live.com are no longer supported. New clients should use login.microsoftonline.com instead.";
    check_refusal(
        400,
        "invalid_client",
        "Invalid client id",
        "package SID or the secret",
    );
    check_refusal(
        400,
        "invalid_request",
        retired,
        "too new for the classic flow",
    );
    check_refusal(
        400,
        "invalid_request",
        "client_id is missing",
        "app registration",
    );
    check_refusal(400, "invalid_scope", "", "does not serve WNS");
    check_refusal(401, "unauthorized_client", "", "secret has expired");
    check_refusal(403, "access_denied", "", "app registration");
    check_refusal(400, "something_new", "", "app registration");
}

#[test]
fn a_credential_refused_by_entra_names_its_cure() {
    check_refusal(
        401,
        "invalid_client",
        "AADSTS7000215: Invalid client secret provided.",
        "not its id",
    );
    check_refusal(
        401,
        "invalid_client",
        "AADSTS7000222: The keys are expired.",
        "make a new one",
    );
    check_refusal(
        400,
        "unauthorized_client",
        "AADSTS700016: Not found.",
        "client_id and tenant_id",
    );
    check_refusal(
        400,
        "invalid_request",
        "AADSTS90002: Tenant not found.",
        "client_id and tenant_id",
    );
    check_refusal(
        400,
        "invalid_request",
        "AADSTS9002346: Use /consumers.",
        "Microsoft account identity",
    );
    check_refusal(
        400,
        "invalid_request",
        "AADSTS9002332: For AAD users.",
        "Microsoft account identity",
    );
}

#[test]
fn a_refusal_in_a_strange_encoding_is_one() {
    let body = b"{\"error\":\"invalid_client\",\"error_description\":\"ung\xfcltig\"}";
    let failure = parse_reply(400, None, body, now()).unwrap_err();
    assert!(
        matches!(failure, TokenFailure::Credential { .. }),
        "{failure}"
    );
}

#[test]
fn an_outage_is_never_a_refused_credential() {
    let refusal = r#"{"error":"invalid_client"}"#;
    for status in [0, 100, 301, 302, 408, 429, 500, 502, 503, 504, 600, 999] {
        assert_eq!(
            read(status, refusal).unwrap_err(),
            outage(http(status), None)
        );
    }
    for body in [
        "",
        "<html>blocked by your proxy</html>",
        "{}",
        r#"{"error":5}"#,
        r#"{"error":""}"#,
        r#"{"error":"server_error"}"#,
        r#"{"error":"temporarily_unavailable"}"#,
        r#"{"error":"Forbidden"}"#,
        r#"{"error":"Not Found"}"#,
        &format!(
            r#"{{"error":"invalid_client","pad":"{}"}}"#,
            "x".repeat(TOKEN_REPLY_BYTES_MAX)
        ),
    ] {
        for status in [400, 401, 403, 404, 407] {
            assert_eq!(
                read(status, body).unwrap_err(),
                outage(http(status), None),
                "{body:.60}"
            );
        }
    }
    // A gateway's code; Entra's own come with 400 and 401.
    let refusal = r#"{"error":"blocked_by_policy"}"#;
    assert_eq!(read(403, refusal).unwrap_err(), outage(http(403), None));
    assert!(matches!(
        read(400, refusal).unwrap_err(),
        TokenFailure::Credential { .. }
    ));
    let failure = TokenFailure::from(TransportFailure::Dns);
    assert_eq!(
        failure.to_string(),
        "the token endpoint is unavailable: no answer (dns)"
    );
    assert_eq!(
        read(502, "").unwrap_err().to_string(),
        "the token endpoint is unavailable: it answered 502"
    );
}

#[test]
fn a_throttled_endpoint_says_how_long() {
    for (value, seconds) in [
        ("120", Some(120)),
        ("0", Some(1)),
        ("Sun, 22 Nov 2026 12:05:00 GMT", Some(300)),
        ("x", None),
    ] {
        let failure = parse_reply(429, Some(value), b"", now()).unwrap_err();
        assert_eq!(failure, outage(http(429), seconds), "{value}");
    }
}

#[test]
fn the_endpoints_words_are_cut_to_one_short_line() {
    let body = serde_json::json!({"error": "e".repeat(1_000), "error_description": "a\r\nTrace ID: b\u{1b}[31m"});

    let TokenFailure::Credential { error, description } = read(400, &body.to_string()).unwrap_err()
    else {
        panic!("a refusal is a refusal");
    };

    assert_eq!(error.as_str().len(), 256);
    assert_eq!(description.as_str(), "a  Trace ID: b [31m");
}

proptest! {
    #[test]
    fn any_answer_is_read_without_a_panic(
        status in any::<u16>(),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            r#"\{"(access_token|error)":("[ -~]{0,40}"|[0-9]{1,3}|null)(,"expires_in":("?[0-9.e-]{1,30}"?|null))?\}"#.prop_map(String::into_bytes),
        ],
    ) {
        match parse_reply(status, Some("10"), &body, now()) {
            Ok(reply) => {
                prop_assert!((200..300).contains(&status));
                prop_assert!((EXPIRES_IN_MIN..=EXPIRES_IN_MAX).contains(&reply.expires_in));
                prop_assert!(http::HeaderValue::from_str(reply.access_token.expose()).is_ok());
            }
            Err(TokenFailure::Credential { .. }) => prop_assert!((400..500).contains(&status)),
            Err(TokenFailure::Unavailable { retry_after, .. }) => prop_assert_eq!(retry_after, Some(Duration::from_secs(10))),
        }
    }
}
