//! Who asks for a token, and whether they may have one.

use http::{Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::{Flavour, TokenMode};
use crate::sandbox::{
    identity::SID_SCHEME,
    world::{App, World},
};

/// Longest form in bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// The host name that the classic endpoint wants as scope.
const CLASSIC_SCOPE: &str = "notify.windows.com";
/// The scope that Entra wants; its documentation has it with and without the last slash.
const ENTRA_SCOPES: [&str; 2] = [
    "https://wns.windows.com/.default",
    "https://wns.windows.com/.default/",
];
/// What login.live.com says to new clients since 2026.
const NO_LONGER_SUPPORTED: &str = "Client credential flows against login.live.com are no longer supported. \
    New clients should use login.microsoftonline.com instead.";

/// An OAuth error with the headers and codes around it.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
    pub(super) wlid: Option<&'static str>,
}

#[derive(Default)]
pub(super) struct Form {
    grant_type: String,
    client_id: String,
    client_secret: String,
    scope: String,
}

/// Reads the form of a token request.
pub(super) async fn read_form(parts: &Parts, body: Incoming) -> Result<Form, Refusal> {
    let bad = |description| Refusal::new("invalid_request", description);
    if parts.method != Method::POST {
        return Err(bad("The request method must be POST."));
    }
    let kind = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind
        .to_ascii_lowercase()
        .starts_with("application/x-www-form-urlencoded")
    {
        return Err(bad(
            "The content type must be application/x-www-form-urlencoded.",
        ));
    }
    let Ok(bytes) = Limited::new(body, FORM_BYTES_MAX).collect().await else {
        return Err(bad("The request body could not be read."));
    };
    let mut form = Form::default();
    for (key, value) in url::form_urlencoded::parse(&bytes.to_bytes()) {
        let slot = match key.as_ref() {
            "grant_type" => &mut form.grant_type,
            "client_id" => &mut form.client_id,
            "client_secret" => &mut form.client_secret,
            "scope" => &mut form.scope,
            _ => continue,
        };
        *slot = value.into_owned();
    }
    Ok(form)
}

/// Finds the app that a form speaks for.
pub(super) fn prove(
    world: &World,
    flavour: Flavour<'_>,
    mode: TokenMode,
    form: &Form,
) -> Result<u16, Refusal> {
    if mode == TokenMode::NoLongerSupported && flavour == Flavour::Classic {
        return Err(Refusal::new("invalid_request", NO_LONGER_SUPPORTED));
    }
    if form.grant_type != "client_credentials" {
        return Err(Refusal::new(
            "unsupported_grant_type",
            "The grant type must be client_credentials.",
        ));
    }
    let app = match flavour {
        Flavour::Classic => classic_client(world, form)?,
        Flavour::Entra(directory) => entra_client(world, directory, form)?,
    };
    if mode == TokenMode::UnauthorizedClient {
        return Err(Refusal::new(
            "unauthorized_client",
            "The client is disabled or its secret has expired.",
        ));
    }
    Ok(app)
}

fn classic_client(world: &World, form: &Form) -> Result<u16, Refusal> {
    let invalid = |description| Refusal {
        wlid: Some("0x80045A78"),
        ..Refusal::new("invalid_client", description)
    };
    let known = |app: &App| {
        app.identity
            .package_sid
            .eq_ignore_ascii_case(&form.client_id)
    };
    let Some(app) = world
        .apps
        .iter()
        .position(known)
        .filter(|_| form.client_id.starts_with(SID_SCHEME))
    else {
        return Err(invalid("Invalid client id"));
    };
    if !knows_secret(&world.apps[app], &form.client_secret) {
        return Err(invalid("Invalid client secret"));
    }
    if form.scope != CLASSIC_SCOPE {
        return Err(Refusal::new(
            "invalid_scope",
            "The scope must be notify.windows.com.",
        ));
    }
    Ok(app as u16)
}

fn entra_client(world: &World, directory: &str, form: &Form) -> Result<u16, Refusal> {
    let known = |app: &App| {
        app.identity
            .entra_client
            .eq_ignore_ascii_case(&form.client_id)
    };
    let Some(app) = world.apps.iter().position(known) else {
        return Err(Refusal::new(
            "unauthorized_client",
            "AADSTS700016: Application was not found in the directory.",
        ));
    };
    if !world.apps[app]
        .identity
        .entra_tenant
        .eq_ignore_ascii_case(directory)
    {
        return Err(Refusal::new(
            "invalid_request",
            "AADSTS90002: Tenant not found.",
        ));
    }
    if !knows_secret(&world.apps[app], &form.client_secret) {
        return Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            ..Refusal::new(
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
            )
        });
    }
    if !ENTRA_SCOPES.contains(&form.scope.as_str()) {
        return Err(Refusal::new(
            "invalid_scope",
            "AADSTS70011: The provided value for scope is not valid.",
        ));
    }
    Ok(app as u16)
}

fn knows_secret(app: &App, secret: &str) -> bool {
    app.secrets.load().iter().any(|known| known == secret)
}

impl Refusal {
    fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description,
            wlid: None,
        }
    }
}
