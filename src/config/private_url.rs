//! A URL that may hold a password, which it never shows.

use std::{fmt, str::FromStr};

use url::Url;

/// A URL whose user and password are left out wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateUrl(Url);

impl PrivateUrl {
    /// The whole URL, to be given to the library that connects.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            self.0.scheme(),
            self.0.host_str().unwrap_or_default()
        )?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PrivateUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, url::ParseError> {
        Url::parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_but_not_shown() {
        let url: PrivateUrl = "rediss://user:hunter2@db.example:6380/1".parse().unwrap();
        assert_eq!(url.expose().password(), Some("hunter2"));
        assert_eq!(
            format!("{url} {url:?}"),
            "rediss://db.example:6380/1 rediss://db.example:6380/1"
        );
    }
}
