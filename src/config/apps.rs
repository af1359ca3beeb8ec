//! WNS identities and the credentials that prove them.

use std::{collections::HashSet, path::PathBuf};

use jiff::civil::Date;
use url::{Host, Url};

use crate::domain::{
    id::AppId,
    identity::{PackageSid, Pfn},
    wns::token::CLASSIC_TOKEN_URL,
};

use super::{
    env::Environment,
    kind::{Kind, date, file_path, parsed, parsed_unseen, text, url},
    pace::{self, Pace},
    private_url::PrivateUrl,
    reader::{Place, Problems},
    schema::{Section, settings},
    secret::{Secret, Sources, named_variable, variable},
};

/// Host of the Entra token endpoints (Windows App SDK docs, push-quickstart).
const ENTRA_HOST: &str = "https://login.microsoftonline.com";

/// A WNS identity.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name here.
    pub id: AppId,
    /// Package family name; devices must have been given the same one.
    pub pfn: Option<Pfn>,
    /// Who the broker says it is when it asks for a token.
    pub identity: Identity,
    /// Where tokens come from.
    pub token_url: Url,
    /// How it proves that.
    pub secrets: AppSecrets,
    /// How many requests a second it sends.
    pub pace: Pace,
}

/// Who the broker says it is when it asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A Store identity, known to the Microsoft account service.
    Classic {
        /// Package SID.
        package_sid: PackageSid,
    },
    /// An app registration in Microsoft Entra.
    Entra {
        /// Directory, by id or domain.
        tenant_id: String,
        /// Application (client) id.
        client_id: String,
        /// Package SID, if it was given.
        package_sid: Option<PackageSid>,
    },
}

/// The secrets of an app; during a rotation there are two.
#[derive(Clone, Debug)]
pub struct AppSecrets {
    /// The one in use.
    pub current: Secret,
    /// The one to be tried when the current one is refused.
    pub next: Option<Secret>,
    /// Last day of the current one, if it is known.
    pub expires: Option<Date>,
}

settings! {
    /// A WNS identity. It proves itself with a Package SID and a secret, or with an app registration in Entra.
    pub(super) struct AppKeys at "apps[]" {
        /// Name of the app here.
        id: AppId = parsed("an app id", AppId::new).required();
        /// Package family name, such as `52314publisher.testwns_t6e9vsyjkrw9w`; devices must have been given the same one.
        pfn: Option<Pfn> = parsed("a package family name", Pfn::parse).optional();
        /// Package SID, such as `ms-app://s-1-15-2-…`. Needed unless `[apps.entra]` is there.
        package_sid: Option<PackageSid> = parsed_unseen("a Package SID such as `ms-app://s-1-15-2-…`", PackageSid::parse).optional();
        /// Environment variable that holds the secret.
        secret_env: Option<String> = variable().optional();
        /// File that holds the secret and nothing else. It is read again when the secret is refused.
        secret_file: Option<PathBuf> = file_path().optional();
        /// Environment variable that holds the next secret while one is rotated; it is tried when the other is refused.
        secret_next_env: Option<String> = variable().optional();
        /// File that holds the next secret.
        secret_next_file: Option<PathBuf> = file_path().optional();
        /// Last day of the secret, to be warned in time. Microsoft account secrets last at most 180 days.
        secret_expires: Option<Date> = date().optional();
        /// Token endpoint, if it is not Microsoft's.
        token_url: Option<PrivateUrl> = url("a URL such as `https://localhost:9443/accesstoken.srf`", &["https", "http"]).optional();
    }
}

settings! {
    /// An app registration in Microsoft Entra, in place of the Microsoft account service.
    pub(super) struct EntraKeys at "apps[].entra" {
        /// Directory (tenant) id, or its domain.
        tenant_id: String = entra_word("a directory id or domain").required();
        /// Application (client) id.
        client_id: String = entra_word("an application id").required();
    }
}

/// Reads all `[[apps]]`; `None` if one of them cannot be used.
pub(super) fn read(
    root: &Place<'_>,
    common: &Pace,
    env: &Environment,
    problems: &mut Problems,
) -> Option<Vec<App>> {
    let places = root.list("apps", problems);
    if places.is_empty() {
        let detail = "there is no [[apps]] entry; without a WNS identity nothing can be woken";
        root.blame("apps", detail, problems);
    }
    let mut seen = HashSet::new();
    let mut apps = Vec::new();
    for place in &places {
        let Some(app) = read_app(place, common, env, problems) else {
            continue;
        };
        if !seen.insert(app.id.clone()) {
            let detail = format!("an app {} is already there; each id comes once", app.id);
            place.blame("id", detail, problems);
        }
        apps.push(app);
    }
    (apps.len() == places.len()).then_some(apps)
}

/// Names of the variables that hold secrets, whatever else is wrong.
pub(super) fn secret_variables(root: &Place<'_>) -> HashSet<String> {
    let places = root.list("apps", &mut Problems::default());
    let names = places
        .iter()
        .flat_map(|place| ["secret_env", "secret_next_env"].map(|key| named_variable(place, key)));
    names.flatten().collect()
}

/// Reads one entry, and notes what is wrong with each part of it before giving up.
fn read_app(
    place: &Place<'_>,
    common: &Pace,
    env: &Environment,
    problems: &mut Problems,
) -> Option<App> {
    let pace = pace::read_of_app(place, common, problems);
    let keys = AppKeys::read(place, problems)?;
    let secrets = read_secrets(&keys, place, env, problems);
    check_identity(&keys, place, problems);
    let identity = read_identity(place, keys.package_sid.clone(), problems)?;
    let token_url = token_url(&keys, &identity, place, problems)?;
    Some(App {
        id: keys.id,
        pfn: keys.pfn,
        identity,
        token_url,
        secrets: secrets?,
        pace: pace?,
    })
}

fn read_identity(
    place: &Place<'_>,
    package_sid: Option<PackageSid>,
    problems: &mut Problems,
) -> Option<Identity> {
    if place.has("entra") {
        let EntraKeys {
            tenant_id,
            client_id,
        } = EntraKeys::read(&place.sub("entra", problems), problems)?;
        return Some(Identity::Entra {
            tenant_id,
            client_id,
            package_sid,
        });
    }
    if package_sid.is_none() {
        let detail = "missing; write the Package SID that the app's registration shows, or an [apps.entra] table";
        place.blame("package_sid", detail, problems);
    }
    Some(Identity::Classic {
        package_sid: package_sid?,
    })
}

/// A PFN and a Package SID that do not belong together would fail at the first push, device by device.
fn check_identity(keys: &AppKeys, place: &Place<'_>, problems: &mut Problems) {
    let (Some(pfn), Some(sid)) = (&keys.pfn, &keys.package_sid) else {
        return;
    };
    if !pfn.matches(sid) {
        let own = PackageSid::of(pfn);
        let detail = format!("belongs to another package than pfn = \"{pfn}\", whose SID is {own}");
        place.blame("package_sid", detail, problems);
    }
}

fn token_url(
    keys: &AppKeys,
    identity: &Identity,
    place: &Place<'_>,
    problems: &mut Problems,
) -> Option<Url> {
    if let Some(own) = &keys.token_url {
        let own = own.expose();
        if own.scheme() == "http" && !is_loopback(own) {
            place.blame(
                "token_url",
                "would send the secret in clear text; write https://",
                problems,
            );
            return None;
        }
        return Some(own.clone());
    }
    let text = match identity {
        Identity::Classic { .. } => CLASSIC_TOKEN_URL.to_owned(),
        Identity::Entra { tenant_id, .. } => format!("{ENTRA_HOST}/{tenant_id}/oauth2/v2.0/token"),
    };
    text.parse().ok()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read_secrets(
    keys: &AppKeys,
    place: &Place<'_>,
    env: &Environment,
    problems: &mut Problems,
) -> Option<AppSecrets> {
    let current = Sources {
        env: ("secret_env", &keys.secret_env),
        file: ("secret_file", &keys.secret_file),
    };
    let next = Sources {
        env: ("secret_next_env", &keys.secret_next_env),
        file: ("secret_next_file", &keys.secret_next_file),
    };
    let current = current.read(place, env, problems);
    let next = next.read(place, env, problems);
    let Some(current) = current? else {
        let detail = "missing; name the variable that holds the secret, or a file with secret_file";
        place.blame("secret_env", detail, problems);
        return None;
    };
    Some(AppSecrets {
        current,
        next: next?,
        expires: keys.secret_expires,
    })
}

fn entra_word(about: &'static str) -> Kind<String> {
    text(about, 256).checked(|word| {
        let good = word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        if good {
            Ok(())
        } else {
            Err("has letters, digits, - and . only".to_owned())
        }
    })
}
