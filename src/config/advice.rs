//! What an administrator should mend soon, although the configuration can be used as it is.

use std::path::Path;

use jiff::civil::Date;

use super::{App, Config, SecretSource};
use crate::domain::counted::counted;

/// From how many days before its last day on a secret is spoken of: time to make another one in office hours.
pub const SECRET_NOTICE_DAYS: i32 = 30;

impl Config {
    /// Advice as of `today` (UTC), one sentence each, without secrets.
    #[must_use]
    pub fn advice(&self, today: Date) -> Vec<String> {
        let secrets = self.apps.iter().flat_map(|app| {
            let aging = expiry(app, today);
            let sources = [Some(&app.secrets.current), app.secrets.next.as_ref()];
            let exposed = sources
                .into_iter()
                .flatten()
                .filter_map(|secret| exposure(app, &secret.source));
            aging.into_iter().chain(exposed)
        });
        let keys = self.keys.principals().filter_map(|key| {
            let last = key
                .expires
                .filter(|last| days_between(today, *last) < SECRET_NOTICE_DAYS)?;
            Some(format!(
                "API key {} is taken through {last}; make another one with `reveille key new`",
                key.key
            ))
        });
        secrets.chain(keys).collect()
    }
}

/// Days from `today` to the last day of the current secret, if that is known and near or over.
#[must_use]
pub fn days_left(app: &App, today: Date) -> Option<i32> {
    let left = days_between(today, app.secrets.expires?);
    (left < SECRET_NOTICE_DAYS).then_some(left)
}

fn expiry(app: &App, today: Date) -> Option<String> {
    let (left, last) = (days_left(app, today)?, app.secrets.expires?);
    let id = &app.id;
    let cure = "make a new one in the app registration and name it with secret_next_env or secret_next_file";
    Some(if left < 0 {
        format!("the secret of app {id} expired on {last}; {cure}")
    } else {
        let left = counted(u64::try_from(left).unwrap_or(0), "day");
        format!("the secret of app {id} expires on {last}, in {left}; {cure}")
    })
}

fn exposure(app: &App, source: &SecretSource) -> Option<String> {
    let SecretSource::File(path) = source else {
        return None;
    };
    readable_by_all(path).then(|| {
        format!("every user of this machine can read {}, which holds a secret of app {}; run chmod o-r on it", path.display(), app.id)
    })
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_path: &Path) -> bool {
    false
}

fn days_between(today: Date, last: Date) -> i32 {
    (last - today).get_days()
}
