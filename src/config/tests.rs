//! What a reader of the configuration relies on, seen from outside: files and variables in, values or messages out.

mod advice;
mod messages;
mod reference;
mod values;

use super::{Config, ConfigError, Environment};

const SID: &str =
    "ms-app://S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338";
const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The least that makes a broker.
fn one_app() -> String {
    format!("[[apps]]\nid = \"contoso\"\npackage_sid = \"{SID}\"\nsecret_env = \"S\"\n")
}

fn env(extra: &[(&str, &str)]) -> Environment {
    let secrets = [("S", "s3cret"), ("CONTOSO_WNS_SECRET", "s3cret")];
    secrets.iter().chain(extra).copied().collect()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "reveille.toml", &env(&[]))
}

fn parse_with(text: &str, extra: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(text, "reveille.toml", &env(extra))
}

/// The message for `text` behind one good app, without the words about the app.
fn message(text: &str) -> String {
    parse(&format!("{}{text}", one_app()))
        .unwrap_err()
        .to_string()
}
