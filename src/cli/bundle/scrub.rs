//! Takes secrets out of text: those that are known by value, and what looks like one.

use toml::Value;
use url::Url;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// A shorter secret is no secret, and taking it out would spoil the text.
const SECRET_CHARS_MIN: usize = 6;
/// What secrets stand behind: API keys, tokens, the secret part of channel URIs, passwords in forms.
const MARKS: [&str; 6] = [
    "rvk_",
    "Bearer ",
    "bearer ",
    "token=",
    "client_secret=",
    "access_token\":\"",
];

/// Knows secrets by value.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    known: Vec<String>,
}

impl Scrubber {
    /// Remembers a secret.
    pub(super) fn learn(&mut self, secret: &str) {
        if secret.len() >= SECRET_CHARS_MIN {
            self.known.push(secret.to_owned());
        }
    }

    /// The text without secrets.
    pub(super) fn scrub(&self, text: &str) -> String {
        let known = self.known.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret, REDACTED)
        });
        MARKS.iter().fold(known, |text, mark| behind(&text, mark))
    }
}

/// Takes out the word behind each `mark`.
fn behind(text: &str, mark: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        let (before, after) = rest.split_at(at + mark.len());
        let ends = |c: char| c.is_whitespace() || "\"'&<>,;)}[".contains(c);
        let word = after.find(ends).unwrap_or(after.len());
        clean.push_str(before);
        if word > 0 {
            clean.push_str(REDACTED);
        }
        rest = &after[word..];
    }
    clean.push_str(rest);
    clean
}

/// A configuration file without passwords in URLs and hashes of keys. The secrets that it names, by variable or file, are learnt
/// from there.
///
/// # Errors
/// Why it is no TOML, without quoting it.
pub(super) fn redacted(text: &str, scrubber: &mut Scrubber) -> Result<String, String> {
    let mut root: Value =
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
    redact("", &mut root, scrubber);
    toml::to_string_pretty(&root).map_err(|error| error.to_string())
}

fn redact(name: &str, value: &mut Value, scrubber: &mut Scrubber) {
    match value {
        Value::Table(table) => table
            .iter_mut()
            .for_each(|(name, value)| redact(name, value, scrubber)),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| redact(name, item, scrubber)),
        Value::String(text) => redact_text(name, text, scrubber),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn redact_text(name: &str, text: &mut String, scrubber: &mut Scrubber) {
    if name.ends_with("_env") {
        scrubber.learn(&std::env::var(&*text).unwrap_or_default());
    } else if name.ends_with("_file") && name.starts_with("secret") {
        scrubber.learn(std::fs::read_to_string(&*text).unwrap_or_default().trim());
    } else if name == "hash" || (name.contains("secret") && !name.ends_with("_expires")) {
        REDACTED.clone_into(text);
    } else if let Ok(url) = Url::parse(text)
        && (!url.username().is_empty() || url.password().is_some())
    {
        scrubber.learn(url.password().unwrap_or_default());
        *text = without_login(url);
    }
}

fn without_login(mut url: Url) -> String {
    // Only a URL without a host refuses this, and such a one has no login.
    let cleared = url
        .set_username("redacted")
        .and_then(|()| url.set_password(None));
    cleared.map_or_else(|()| REDACTED.to_owned(), |()| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_or_looks_like_a_secret_is_taken_out() {
        let mut scrubber = Scrubber::default();
        scrubber.learn("hunter2-hunter2");
        scrubber.learn("abc");
        for (text, clean) in [
            (
                "the secret is hunter2-hunter2.",
                "the secret is [redacted].",
            ),
            ("abc stays", "abc stays"),
            (
                "Authorization: Bearer EgAfAQMAAAAE\n",
                "Authorization: Bearer [redacted]\n",
            ),
            (
                "https://h.notify.windows.com/?token=AwYAAAB%2f rest",
                "https://h.notify.windows.com/?token=[redacted] rest",
            ),
            (
                "{\"access_token\":\"xyz\",\"a\":1}",
                "{\"access_token\":\"[redacted]\",\"a\":1}",
            ),
            (
                "grant&client_secret=s&scope=x",
                "grant&client_secret=[redacted]&scope=x",
            ),
            ("key rvk_console_c2VjcmV0", "key rvk_[redacted]"),
            ("token= and nothing", "token= and nothing"),
        ] {
            assert_eq!(scrubber.scrub(text), clean);
        }
    }

    #[test]
    fn a_configuration_keeps_what_helps_and_loses_what_is_private() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-the-file\n").unwrap();
        let text = format!(
            "[store]\nurl = \"redis://user:pa55word@r.example:6379/0\"\n[[apps]]\nid = \"contoso\"\nsecret_env = \"PATH\"\n\
             secret_file = {:?}\nsecret_expires = \"2027-01-31\"\n[[keys]]\nid = \"console\"\nhash = \"sha256:00ff\"\n",
            file.path()
        );
        let mut scrubber = Scrubber::default();
        let clean = redacted(&text, &mut scrubber).unwrap();
        for kept in [
            "redis://redacted@r.example:6379/0",
            "contoso",
            "\"PATH\"",
            "2027-01-31",
            "console",
        ] {
            assert!(clean.contains(kept), "{kept} in {clean}");
        }
        for lost in ["pa55word", "00ff"] {
            assert!(!clean.contains(lost), "{lost} in {clean}");
        }
        assert_eq!(
            scrubber.scrub("from-the-file, pa55word"),
            "[redacted], [redacted]"
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_quoted() {
        let error = redacted("url = redis://:pa55word@h", &mut Scrubber::default()).unwrap_err();
        assert!(!error.contains("pa55word"), "{error}");
    }
}
