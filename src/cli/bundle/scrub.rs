//! Takes secrets out of text: those that are known by value, and what looks like one.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use toml::Value;
use url::Url;

use crate::config;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// A shorter secret is no secret, and taking it out would spoil the text.
const SECRET_CHARS_MIN: usize = 6;
/// A longer part of a URL's path is no name: some collectors take their key there.
const SEGMENT_CHARS_MAX: usize = 40;
/// What the names of secrets are made of.
const SECRET_NAMES: [&str; 5] = ["pass", "token", "secret", "key", "cred"];
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

/// A configuration file with the values of known keys alone, without logins and queries in URLs and hashes of keys. The secrets
/// that it names, by variable or file, are learnt from there.
///
/// # Errors
/// Why it is no TOML, without quoting it.
pub(super) fn redacted(text: &str, scrubber: &mut Scrubber) -> Result<String, String> {
    let mut root: Value =
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
    let known = config::key_paths().into_iter().collect();
    redact("", &mut root, &known, scrubber);
    toml::to_string_pretty(&root).map_err(|error| error.to_string())
}

/// `path` is as [`config::key_paths`] writes it. What stands under no known key may be anything, and goes.
fn redact(path: &str, value: &mut Value, known: &BTreeSet<String>, scrubber: &mut Scrubber) {
    match value {
        Value::Table(table) => table.iter_mut().for_each(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            redact(&format!("{path}{dot}{name}"), value, known, scrubber);
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| {
            let list = if item.is_table() { "[]" } else { "" };
            redact(&format!("{path}{list}"), item, known, scrubber);
        }),
        Value::String(text) if known.contains(path) => {
            let (_, name) = path.rsplit_once('.').unwrap_or(("", path));
            *text = of_key(name, text, scrubber);
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {
            if !known.contains(path) {
                learn_stray(path, value, scrubber);
                *value = Value::String(REDACTED.to_owned());
            }
        }
    }
}

fn learn_stray(path: &str, value: &Value, scrubber: &mut Scrubber) {
    let (_, name) = path.rsplit_once('.').unwrap_or(("", path));
    let name = name.to_ascii_lowercase();
    if let Some(text) = value.as_str()
        && SECRET_NAMES.iter().any(|part| name.contains(part))
    {
        scrubber.learn(text);
    }
}

/// What may be shown of a known key's text.
fn of_key(name: &str, text: &str, scrubber: &mut Scrubber) -> String {
    let is_variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name == "hash" {
        return REDACTED.to_owned();
    }
    if name.ends_with("_env") {
        scrubber.learn(&std::env::var(text).unwrap_or_default());
        // Somebody may have put the secret where its variable's name belongs.
        if !text.chars().all(is_variable) {
            scrubber.learn(text);
            return REDACTED.to_owned();
        }
    }
    if name.ends_with("_file") && (name.starts_with("secret") || name.contains("password")) {
        scrubber.learn(std::fs::read_to_string(text).unwrap_or_default().trim());
    }
    if text.starts_with('/') && !text.starts_with("//") {
        return text.to_owned();
    }
    public(text, scrubber)
}

/// A text that may be a URL, without login, query and keys in its path; what looks like one and cannot be read as one goes whole.
/// What was private in it is learnt.
pub(super) fn public(text: &str, scrubber: &mut Scrubber) -> String {
    if !text.contains("://") && !text.contains('@') {
        return text.to_owned();
    }
    learn_login(text, scrubber);
    match Url::parse(text) {
        Ok(url) if is_clean(&url) => text.to_owned(),
        Ok(url) => without_secrets(url, scrubber).unwrap_or_else(|| REDACTED.to_owned()),
        Err(_) => REDACTED.to_owned(),
    }
}

fn is_clean(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none();
    plain && url.has_host() && url.query().is_none() && url.fragment().is_none() && has_names(url)
}

/// Whether the path has nothing that looks like a key, or like the rest of a password with a slash in it.
fn has_names(url: &Url) -> bool {
    !url.path().contains('@')
        && url
            .path()
            .split('/')
            .all(|part| part.len() <= SEGMENT_CHARS_MAX)
}

/// None if it cannot be told where the secret ends: a password with a `#`, a `?` or a `/` in it.
fn without_secrets(mut url: Url, scrubber: &mut Scrubber) -> Option<String> {
    let torn = |part: &str| part.contains('@');
    let query = url.query().unwrap_or_default().to_owned();
    if !url.has_host() || url.fragment().is_some() || torn(url.path()) || torn(&query) {
        return None;
    }
    for (_, value) in url.query_pairs() {
        scrubber.learn(&value);
    }
    if !query.is_empty() {
        scrubber.learn(&query);
        url.set_query(Some("redacted"));
    }
    if !has_names(&url) {
        url.set_path("redacted");
    }
    if !url.username().is_empty() || url.password().is_some() {
        url.set_username("redacted").ok()?;
        url.set_password(None).ok()?;
    }
    Some(url.to_string())
}

/// Learns the password before the last `@`, as it is written and as it is meant.
fn learn_login(text: &str, scrubber: &mut Scrubber) {
    let Some((login, _)) = text.rsplit_once('@') else {
        return;
    };
    let login = login.split_once("://").map_or(login, |(_, login)| login);
    let secret = login.split_once(':').map_or(login, |(_, secret)| secret);
    scrubber.learn(secret);
    scrubber.learn(&percent_decode_str(secret).decode_utf8_lossy());
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
    fn a_secret_in_any_place_where_people_put_one_is_taken_out() {
        let text = r##"
[store]
url = "redis://:pa#55word@h.example:6379"
more_urls = ["rediss://:p%4055word2@i.example:port", "redis://u:1234/5word3@h.example", "redis://k.example"]
password = "st0re-passw0rd"
sentinel_password_file = "/nowhere"
[wns]
proxy = "user:pr0xy-pass@host.example:3128"
[traces]
endpoint = "https://c.example/v1/traces?api-key=C0LLECTOR"
[[apps]]
id = "contoso"
package_sid = "ms-app://s-1-15-2-1"
secret_env = "abc8Q~the.secret-itself"
token_url = "https://login.example/0a0b0c0d-0000-4000-8000-000000000000/oauth2"
pin = 421337
[apps.entra]
token = "eyEntra"
[somewhere]
else = ["M1SPLACED"]
"##;
        let mut scrubber = Scrubber::default();
        let clean = redacted(text, &mut scrubber).unwrap();
        for lost in [
            "55word",
            "1234",
            "st0re",
            "pr0xy",
            "C0LLECTOR",
            "abc8Q",
            "421337",
            "eyEntra",
            "M1SPLACED",
        ] {
            assert!(!clean.contains(lost), "{lost} in {clean}");
        }
        for kept in [
            "redis://k.example",
            "ms-app://s-1-15-2-1",
            "https://c.example/v1/traces?redacted",
            "https://login.example/0a0b0c0d-0000-4000-8000-000000000000/oauth2",
            "password = ",
            "/nowhere",
        ] {
            assert!(clean.contains(kept), "{kept} in {clean}");
        }
        let said = "pa#55word p@55word2 st0re-passw0rd pr0xy-pass C0LLECTOR eyEntra";
        let scrubbed = scrubber.scrub(said);
        assert_eq!(scrubbed, [REDACTED; 6].join(" "));
    }

    #[test]
    fn an_address_is_shown_without_its_login_and_keys() {
        let key = "k".repeat(SEGMENT_CHARS_MAX + 1);
        for (text, shown) in [
            ("http://h.example:1", "http://h.example:1"),
            ("http://u:pw@h.example:1", "http://redacted@h.example:1/"),
            ("http://h.example/?k=v", "http://h.example/?redacted"),
            ("http://h.example/#k", REDACTED),
            ("http://u:1?2@h.example", REDACTED),
            ("http://u:1/2@h.example", REDACTED),
            (
                &format!("https://h.example/{key}"),
                "https://h.example/redacted",
            ),
            ("plain", "plain"),
        ] {
            assert_eq!(public(text, &mut Scrubber::default()), shown, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_quoted() {
        let error = redacted("url = redis://:pa55word@h", &mut Scrubber::default()).unwrap_err();
        assert!(!error.contains("pa55word"), "{error}");
    }
}
