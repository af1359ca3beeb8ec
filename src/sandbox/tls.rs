//! The sandbox's own certificate authority and the certificate that it serves with.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::config::Protocols;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made, for example because a name is not a DNS name.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key or the certificate was refused.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// The authority's key cannot be read or kept.
    #[error("cannot use the authority's key {path}: {problem}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system, or the reader of keys, said.
        problem: String,
    },
}

/// What TLS needs.
pub(crate) struct Tls {
    pub(crate) ca_pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

/// The key that is kept in `file`, made there if there is none; without a file one that nobody keeps.
pub(crate) fn authority_key(file: Option<&Path>) -> Result<KeyPair, TlsError> {
    let Some(path) = file else {
        return Ok(KeyPair::generate()?);
    };
    let refused = |problem: &dyn std::fmt::Display| TlsError::KeyFile {
        path: path.to_path_buf(),
        problem: problem.to_string(),
    };
    match fs::read_to_string(path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| refused(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            keep(path, &key.serialize_pem()).map_err(|error| refused(&error))?;
            Ok(key)
        }
        Err(error) => Err(refused(&error)),
    }
}

/// Writes a file that only its owner may read.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Makes an authority's certificate with its key, and a certificate for `localhost`, `127.0.0.1`, `::1`, the address listened on and `extra` names.
pub(crate) fn make(
    address: IpAddr,
    authority_key: KeyPair,
    extra: &[String],
    protocols: Protocols,
) -> Result<Tls, TlsError> {
    let authority = CertifiedIssuer::self_signed(authority_params()?, authority_key)?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    if !address.is_unspecified() {
        names.push(address.to_string());
    }
    names.extend_from_slice(extra);
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Reveille sandbox");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;

    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone(), authority.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    server.alpn_protocols = match protocols {
        Protocols::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
        Protocols::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Tls {
        ca_pem: authority.pem(),
        server: Arc::new(server),
    })
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Reveille sandbox authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_key_that_is_kept_is_the_same_at_the_next_start_and_one_that_cannot_be_read_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("ca.key");
        let first = authority_key(Some(&path)).unwrap();
        let second = authority_key(Some(&path)).unwrap();
        assert_eq!(first.serialize_der(), second.serialize_der());
        fs::write(&path, "no key").unwrap();
        let error = authority_key(Some(&path)).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use the authority's key"),
            "{error}"
        );
        assert!(authority_key(Some(folder.path())).is_err());
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let made = |name: &str| {
            let key = authority_key(None).unwrap();
            make(address, key, &[name.to_owned()], Protocols::Both).is_ok()
        };
        assert!(made("wns.test"));
        assert!(!made("wüns.test"));
    }
}
