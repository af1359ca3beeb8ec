//! The form that asks for a token.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::identity::PackageSid;

/// The classic endpoint (WNS overview).
pub const CLASSIC_TOKEN_URL: &str = "https://login.live.com/accesstoken.srf";
/// Content type of every token request.
const FORM: &str = "application/x-www-form-urlencoded";
/// A bare host name and not a URL; misspelt it is an `invalid_scope`.
const CLASSIC_SCOPE: &str = "notify.windows.com";
/// The push quickstart prints it with a trailing slash in its HTTP sample and without in its C# sample; this is Entra's usual form.
const ENTRA_SCOPE: &str = "https://wns.windows.com/.default";
const ENTRA_TENANT_BYTES_MAX: usize = 253;

/// The tenant cannot stand in a URL's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an Entra tenant is a GUID or a domain name: 1 to {ENTRA_TENANT_BYTES_MAX} characters of [A-Za-z0-9.-]"
)]
pub struct EntraTenantError;

/// One request for a token: `POST` this body to this URL as a form. It holds the secret: keep it no longer than needed.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Where to.
    pub url: Arc<str>,
    /// The form, percent-encoded.
    pub body: SecretString,
}

impl TokenRequest {
    /// The content type to send with [`TokenRequest::body`].
    pub const CONTENT_TYPE: &str = FORM;

    /// Asks the classic endpoint, by package SID and secret.
    #[must_use]
    pub fn classic(package_sid: &PackageSid, secret: &SecretString) -> Self {
        Self {
            url: CLASSIC_TOKEN_URL.into(),
            body: form(&package_sid.to_string(), secret, CLASSIC_SCOPE),
        }
    }

    /// Asks Entra, by application id and secret, in the directory `tenant_id`.
    ///
    /// # Errors
    /// [`EntraTenantError`] when `tenant_id` is no GUID and no domain name.
    pub fn entra(
        tenant_id: &str,
        client_id: &str,
        secret: &SecretString,
    ) -> Result<Self, EntraTenantError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        let named = tenant_id.bytes().any(|b| b.is_ascii_alphanumeric());
        if tenant_id.len() > ENTRA_TENANT_BYTES_MAX || !named || !tenant_id.bytes().all(plain) {
            return Err(EntraTenantError);
        }
        Ok(Self {
            url: format!("https://login.microsoftonline.com/{tenant_id}/oauth2/v2.0/token").into(),
            body: form(client_id, secret, ENTRA_SCOPE),
        })
    }

    /// Asks another endpoint that speaks the same form: a sandbox.
    #[must_use]
    pub fn at(self, url: &str) -> Self {
        Self {
            url: url.into(),
            ..self
        }
    }
}

/// "All parameters are URL encoded" (push-request-response-headers); secrets hold `+ / = ~`.
fn form(client_id: &str, secret: &SecretString, scope: &str) -> SecretString {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_secret", secret.expose_secret()),
        ("scope", scope),
    ];
    let mut form =
        String::with_capacity(256 + 3 * (client_id.len() + secret.expose_secret().len()));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        percent_encode(value, &mut form);
    }
    SecretString::from(form)
}

/// Encodes all but the unreserved characters of RFC 3986: `%20`, never `+`, so that every form decoder agrees.
fn percent_encode(value: &str, form: &mut String) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            form.push(char::from(byte));
        } else {
            form.extend([
                '%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}
