//! Who may call the message API.

use std::collections::HashSet;

use jiff::civil::Date;

use crate::domain::{
    api_key::{KeyHash, KeyRing, Principal, Reach, Scope},
    id::{AppId, IdError, KeyId, TenantId},
};

use super::{
    kind::{date, list, one_of, parsed, parsed_unseen},
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Most apps or tenants one key can name.
const REACH_MAX: usize = 10_000;
const SCOPES: &[(&str, Scope)] = &[
    (Scope::Read.as_str(), Scope::Read),
    (Scope::Push.as_str(), Scope::Push),
    (Scope::Register.as_str(), Scope::Register),
    (Scope::Campaign.as_str(), Scope::Campaign),
    (Scope::Admin.as_str(), Scope::Admin),
];

/// A tenant, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TenantWord {
    All,
    One(TenantId),
}

impl TenantWord {
    fn parse(text: &str) -> Result<Self, IdError> {
        if text == "*" {
            Ok(Self::All)
        } else {
            TenantId::new(text).map(Self::One)
        }
    }
}

settings! {
    /// Who may call the message API. `reveille key new` makes a key and prints this entry. Without any entry the broker asks for
    /// no key and listens on loopback only.
    pub(super) struct ApiKeyKeys at "keys[]" {
        /// Name of the key; it appears in the log.
        id: KeyId = parsed("a key id", KeyId::new).required();
        /// SHA-256 of the key's secret, as `reveille key new` prints it.
        hash: KeyHash = parsed_unseen("`sha256:` and 64 hexadecimal digits", KeyHash::parse).required();
        /// Tenants that the key reaches; `["*"]` is all, those made later too.
        tenants: Vec<TenantWord> = list(parsed("a tenant id or `*`", TenantWord::parse), REACH_MAX).default("");
        /// Apps whose tenants the key reaches, those made later too.
        apps: Vec<AppId> = list(parsed("an app id", AppId::new), REACH_MAX).default("");
        /// What the key may do; `admin` includes the others.
        scopes: Vec<Scope> = list(one_of(SCOPES), 16).required();
        /// Last day (UTC) on which the key is taken.
        expires: Option<Date> = date().optional();
    }
}

/// Reads all `[[keys]]`. Tenants can be made while the broker runs, so a key may name one that is not there yet.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> KeyRing {
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for place in root.list("keys", problems) {
        let Some(key) = ApiKeyKeys::read(&place, problems) else {
            continue;
        };
        if !seen.insert(key.id.clone()) {
            place.blame(
                "id",
                format!("a key {} is already there; each id comes once", key.id),
                problems,
            );
        }
        if key.scopes.is_empty() {
            place.blame(
                "scopes",
                "is empty; a key that may do nothing is of no use",
                problems,
            );
        }
        if key.tenants.is_empty() && key.apps.is_empty() {
            place.blame(
                "tenants",
                "the key reaches nothing; write tenants = [\"*\"], or name tenants or apps",
                problems,
            );
        }
        keys.push((key.hash, principal(key)));
    }
    KeyRing::new(keys)
}

fn principal(key: ApiKeyKeys) -> Principal {
    let mut tenants = Vec::new();
    let mut all = false;
    for word in key.tenants {
        match word {
            TenantWord::All => all = true,
            TenantWord::One(tenant) => tenants.push(tenant),
        }
    }
    let reach = if all {
        Reach::All
    } else {
        Reach::Only {
            apps: key.apps,
            tenants,
        }
    };
    Principal {
        key: key.id,
        reach,
        scopes: key.scopes,
        expires: key.expires,
    }
}
