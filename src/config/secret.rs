//! Secrets: named in the configuration, kept outside it.

use std::{fs::File, io, io::Read, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::env::Environment;

/// Longest secret in bytes; anything longer is another file.
const SECRET_BYTES_MAX: u64 = 4096;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of this name.
    Env(String),
    /// A file that holds nothing else.
    File(PathBuf),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set; set it to the secret")]
    Unset(String),
    /// The file cannot be read.
    #[error("cannot read the secret file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file does not look like a secret.
    #[error("the secret file {} must hold one line of 1 to {SECRET_BYTES_MAX} bytes", .0.display())]
    Shape(PathBuf),
}

/// A secret and where it came from, so that it can be read again after a rotation.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Where it is kept.
    pub source: SecretSource,
    value: SecretString,
}

impl Secret {
    /// Reads the secret from its source.
    ///
    /// # Errors
    /// [`SecretError`] when it is not there, or is no single line.
    pub fn read(source: SecretSource, env: &Environment) -> Result<Self, SecretError> {
        let value = match &source {
            SecretSource::Env(name) => env
                .get(name)
                .ok_or_else(|| SecretError::Unset(name.clone()))?
                .to_owned(),
            SecretSource::File(path) => read_file(path)?,
        };
        Ok(Self {
            source,
            value: SecretString::from(value),
        })
    }

    /// The secret in readable form.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Reads a file again, because an administrator may have replaced it; a variable cannot change.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn reread(&self) -> Result<Self, SecretError> {
        match &self.source {
            SecretSource::Env(_) => Ok(self.clone()),
            SecretSource::File(_) => Self::read(self.source.clone(), &Environment::default()),
        }
    }
}

fn read_file(path: &PathBuf) -> Result<String, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.clone(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SECRET_BYTES_MAX + 2)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretError::Shape(path.clone()))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if line.is_empty() || line.contains('\n') || line.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Shape(path.clone()));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        (dir, SecretSource::File(path))
    }

    fn read(source: SecretSource) -> Result<Secret, SecretError> {
        Secret::read(
            source,
            &Environment::from_iter([("WNS_SECRET", "from env"), ("EMPTY", "")]),
        )
    }

    #[test]
    fn a_secret_is_the_line_without_its_end() {
        for content in [&b"a+b/c="[..], b"a+b/c=\n", b"a+b/c=\r\n"] {
            let (_dir, source) = file(content);
            assert_eq!(read(source).unwrap().expose(), "a+b/c=");
        }
        assert_eq!(
            read(SecretSource::Env("WNS_SECRET".into()))
                .unwrap()
                .expose(),
            "from env"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for content in [
            &b""[..],
            b"\n",
            b"two\nlines\n",
            &[b'x'; 5000],
            &[0xff, 0xfe],
        ] {
            let (_dir, source) = file(content);
            let error = read(source).unwrap_err();
            assert!(matches!(error, SecretError::Shape(_)), "{error}");
        }
        for name in ["EMPTY", "ABSENT"] {
            let error = read(SecretSource::Env(name.into())).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the environment variable {name} is not set; set it to the secret")
            );
        }
    }

    #[test]
    fn a_replaced_file_is_seen_and_no_secret_shows_in_debug_output() {
        let (_dir, source) = file(b"old-secret");
        let secret = read(source.clone()).unwrap();
        let SecretSource::File(path) = source else {
            unreachable!()
        };
        std::fs::write(path, b"new-secret").unwrap();

        assert_eq!(secret.reread().unwrap().expose(), "new-secret");
        assert!(!format!("{secret:?}").contains("old-secret"));
    }
}
