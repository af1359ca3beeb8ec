//! Who an app is to WNS: package family name, package SID, secrets, and its Entra twin.

use sha2::{Digest, Sha256};

use super::{
    config::{AppSpec, ConfigError},
    mix::{Purpose, draw},
};

/// The scheme that Partner Center puts before a package SID.
pub(crate) const SID_SCHEME: &str = "ms-app://";
/// The secret of an app for which none was given.
pub(crate) const DEFAULT_SECRET: &str = "sandbox-secret";
/// The publisher part of a package family name for which none was given.
const PUBLISHER: &str = "s4ndb0xs4ndb0";
/// Longest name part of a package family name in characters.
const PACKAGE_NAME_MAX: usize = 50;

/// What an app logs in with.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Package family name.
    pub(crate) pfn: String,
    /// Package SID with its `ms-app://`.
    pub(crate) package_sid: String,
    /// Directory id at Entra.
    pub(crate) entra_tenant: String,
    /// Client id at Entra.
    pub(crate) entra_client: String,
}

impl Identity {
    /// Completes what a spec leaves open; the same spec and seed give the same identity.
    pub(crate) fn new(seed: u64, index: u16, spec: &AppSpec) -> Result<Self, ConfigError> {
        let pfn = spec
            .pfn
            .clone()
            .unwrap_or_else(|| default_pfn(spec.id.as_str()));
        let package_sid = match &spec.package_sid {
            Some(sid) if sid.starts_with(SID_SCHEME) => sid.clone(),
            Some(sid) if sid.starts_with("S-1-15-2-") || sid.starts_with("s-1-15-2-") => {
                format!("{SID_SCHEME}{sid}")
            }
            Some(sid) => return Err(ConfigError::PackageSid { sid: sid.clone() }),
            None => format!("{SID_SCHEME}{}", sid_of_pfn(&pfn)),
        };
        Ok(Self {
            pfn,
            package_sid,
            entra_tenant: spec
                .entra_tenant
                .clone()
                .unwrap_or_else(|| guid(seed, index, 0)),
            entra_client: spec
                .entra_client
                .clone()
                .unwrap_or_else(|| guid(seed, index, 1)),
        })
    }
}

/// The package SID that Windows derives from a package family name: SHA-256 over its lower-case UTF-16LE form, the first
/// seven words of it.
pub(crate) fn sid_of_pfn(pfn: &str) -> String {
    let wide: Vec<u8> = pfn
        .to_lowercase()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let digest = Sha256::digest(&wide);
    let mut sid = String::from("S-1-15-2");
    for word in digest.chunks_exact(4).take(7) {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        sid.push('-');
        sid.push_str(&word.to_string());
    }
    sid
}

fn default_pfn(id: &str) -> String {
    let mut name = format!("reveille.{}", id.replace('_', "-"));
    name.truncate(PACKAGE_NAME_MAX);
    format!("{name}_{PUBLISHER}")
}

fn guid(seed: u64, index: u16, which: u64) -> String {
    let high = draw(seed, Purpose::Identity, u64::from(index), which * 2);
    let low = draw(seed, Purpose::Identity, u64::from(index), which * 2 + 1);
    let mut bytes = [0_u8; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sid_follows_from_the_package_family_name() {
        assert_eq!(
            sid_of_pfn("CoGrow.CogrowMDMPush_r2dv7jx02rjxr"),
            "S-1-15-2-1253093273-833848983-1416962196-922505673-1233200576-2981719577-3762432075"
        );
    }

    #[test]
    fn identities_are_complete_and_repeat_themselves() {
        let spec = AppSpec::new("contoso_a").unwrap();
        let one = Identity::new(4, 0, &spec).unwrap();
        let again = Identity::new(4, 0, &spec).unwrap();
        assert_eq!(one.pfn, "reveille.contoso-a_s4ndb0xs4ndb0");
        assert!(one.package_sid.starts_with("ms-app://S-1-15-2-"));
        assert_eq!(one.entra_client, again.entra_client);
        assert_ne!(one.entra_client, one.entra_tenant);
        assert_eq!(one.entra_client.len(), 36);
    }

    #[test]
    fn a_bare_sid_gets_its_scheme_and_another_text_is_refused() {
        let mut spec = AppSpec::new("a").unwrap();
        spec.package_sid = Some("S-1-15-2-1-2".to_owned());
        assert_eq!(
            Identity::new(0, 0, &spec).unwrap().package_sid,
            "ms-app://S-1-15-2-1-2"
        );
        spec.package_sid = Some("contoso".to_owned());
        assert!(Identity::new(0, 0, &spec).is_err());
    }
}
