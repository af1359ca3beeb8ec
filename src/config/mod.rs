//! The configuration: a TOML file and environment variables in, proven values out.
//!
//! Every key is declared once, in `schema`'s terms: its doc comment is its documentation, and reading, its
//! `REVEILLE_…` twin, the check for unknown keys and the reference page all follow from there. Positions in lists are
//! numbers in twins, because ids may hold characters that variables may not: `REVEILLE_APPS_0_ID` is the first `[[apps]]`
//! entry, and the number after the last entry adds one. A variable wins over the file.

mod advice;
mod apps;
mod checkin;
mod env;
mod error;
mod keys;
mod kind;
mod limits;
mod log;
mod pace;
mod private_url;
mod reader;
mod reference;
mod retry;
mod rules;
mod schema;
mod secret;
mod server;
mod store;
mod streams;
mod tenants;
mod traces;
mod tree;
mod unknown;
mod webhooks;
mod wns;

use std::{io::Read, path::Path};

use crate::domain::api_key::KeyRing;

pub use self::{
    advice::{SECRET_NOTICE_DAYS, days_left},
    apps::{App, AppSecrets, Identity},
    checkin::Checkin,
    env::Environment,
    error::{ConfigError, Origin, Problem},
    limits::Limits,
    log::{Log, LogFormat, LogLevel},
    pace::Pace,
    private_url::PrivateUrl,
    reference::reference,
    retry::Retry,
    schema::key_paths,
    secret::{Secret, SecretError, SecretSource},
    server::Server,
    store::{Backend, RedisStore, RedisTopology, Store},
    streams::Streams,
    tenants::Tenant,
    traces::{Sample, Traces},
    webhooks::Webhooks,
    wns::{Proxy, Wns},
};
use self::{
    reader::{Place, Problems},
    schema::Section,
    tree::Table,
    unknown::Known,
};

/// Largest configuration file in bytes: some ten thousand apps.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A configuration that has been proven: ids are well formed, numbers within bounds, names refer to what is there.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker listens.
    pub server: Server,
    /// Where devices, pushes and campaigns are kept.
    pub store: Store,
    /// How WNS is reached.
    pub wns: Wns,
    /// WNS identities; at least one.
    pub apps: Vec<App>,
    /// Name spaces; at least one for each app.
    pub tenants: Vec<Tenant>,
    /// Who may call the API.
    pub keys: KeyRing,
    /// Bounds on pushes and on the dispatchers.
    pub limits: Limits,
    /// When a push is tried again.
    pub retry: Retry,
    /// How check-ins are weighed.
    pub checkin: Checkin,
    /// How events reach consoles that do not read the feed.
    pub webhooks: Webhooks,
    /// How consoles that live on Redis speak with the broker without HTTP.
    pub streams: Streams,
    /// What is logged.
    pub log: Log,
    /// What is traced.
    pub traces: Traces,
}

impl Config {
    /// Reads the file at `path`, if there is one, and lays `env` over it. Secrets are read from where it says.
    ///
    /// Relative paths in it start in the working directory.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] if there is no such file; [`ConfigError::Invalid`] with every problem found.
    pub fn load(path: Option<&Path>, env: &Environment) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::parse("", "", env);
        };
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(std::io::Error::other(
                "it is larger than 16 MiB",
            )));
        }
        Self::parse(&text, &path.display().to_string(), env)
    }

    /// Reads TOML `text`, which messages call `name`, and lays `env` over it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem found.
    pub fn parse(text: &str, name: &str, env: &Environment) -> Result<Self, ConfigError> {
        let mut tree = tree::parse_toml(text, name).map_err(|problem| ConfigError::Invalid {
            problems: vec![problem],
        })?;
        let mut problems = Problems::default();
        let known = Known::new();
        known.check(&tree, "", &mut problems);
        let mut strangers = env::overlay(&mut tree, env, &mut problems);
        let config = read(&tree, env, &mut problems);
        let root = Place::root(&tree);
        let mut secrets = apps::secret_variables(&root);
        secrets.extend(store::secret_variable(&root));
        strangers.retain(|name| !secrets.contains(name));
        for name in &strangers {
            known.refuse_variable(name, &mut problems);
        }
        let problems = problems.into_sorted();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid { problems }),
        }
    }
}

/// Reads every table before giving up, so that all problems are noted.
fn read(tree: &Table, env: &Environment, problems: &mut Problems) -> Option<Config> {
    let root = Place::root(tree);
    let keys = keys::read(&root, problems);
    let server = server::read(&root, !keys.is_empty(), problems);
    let store = store::read(&root, env, problems);
    let wns = wns::read(&root, env, problems);
    let pace = pace::read(&root, problems);
    let apps = pace
        .as_ref()
        .and_then(|pace| apps::read(&root, pace, env, problems));
    let tenants = apps
        .as_ref()
        .map(|apps| tenants::read(&root, apps, problems));
    let limits = limits::read(&root, problems);
    let retry = retry::read(&root, problems);
    let checkin = Checkin::read(&root.sub("checkin", problems), problems);
    let webhooks = Webhooks::read(&root.sub("webhooks", problems), problems);
    let streams = streams::read(&root, problems);
    if let (Some(streams), Some(store), Some(tenants)) = (&streams, &store, &tenants) {
        streams::prove(streams, (store, tenants), &root, problems);
    }
    let log = Log::read(&root.sub("log", problems), problems);
    let traces = Traces::read(&root.sub("traces", problems), problems);
    Some(Config {
        server: server?,
        store: store?,
        wns: wns?,
        apps: apps?,
        tenants: tenants?,
        keys,
        limits: limits?,
        retry: retry?,
        checkin: checkin?,
        webhooks: webhooks?,
        streams: streams?,
        log: log?,
        traces: traces?,
    })
}

#[cfg(test)]
mod tests;
