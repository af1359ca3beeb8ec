//! Secrets: named in the configuration, kept outside it.

use std::{fs::File, io, io::Read, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{
    env::Environment,
    kind::{Kind, text},
    reader::{Place, Problems},
};

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

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.expose() == other.expose()
    }
}

impl Eq for Secret {}

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

/// The two keys that can name a secret, with what they say.
pub(super) struct Sources<'k> {
    /// Names an environment variable.
    pub(super) env: (&'static str, &'k Option<String>),
    /// Names a file.
    pub(super) file: (&'static str, &'k Option<PathBuf>),
}

impl Sources<'_> {
    /// Reads the secret, if one of the keys is there; none at all if something is wrong, which is noted.
    pub(super) fn read(
        self,
        place: &Place<'_>,
        env: &Environment,
        problems: &mut Problems,
    ) -> Option<Option<Secret>> {
        let ((env_key, name), (file_key, path)) = (self.env, self.file);
        let (key, source) = match (name, path) {
            (None, None) => return Some(None),
            (Some(name), None) => (env_key, SecretSource::Env(name.clone())),
            (None, Some(path)) => (file_key, SecretSource::File(path.clone())),
            (Some(_), Some(_)) => {
                let detail = format!("is there beside {env_key}; keep one of them");
                place.blame(file_key, detail, problems);
                return None;
            }
        };
        let secret = Secret::read(source, env);
        let noted = secret.map_err(|error| place.blame(key, error.to_string(), problems));
        noted.ok().map(Some)
    }
}

/// The name of a variable that holds a secret.
pub(super) fn variable() -> Kind<String> {
    text("the name of an environment variable", 256).checked(|name| {
        let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        // The text may be the secret itself, written to the wrong key, so it is not repeated.
        if good {
            Ok(())
        } else {
            Err("is not the name of a variable, which has letters, digits and _ only".to_owned())
        }
    })
}

/// The variable that a key names, if it names one.
pub(super) fn named_variable(place: &Place<'_>, key: &'static str) -> Option<String> {
    let name = place.get(key, &variable().optional(), &mut Problems::default());
    name.flatten()
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
