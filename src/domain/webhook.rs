//! Webhooks: where a console wants its events, how they are signed, and what a failure comes to.

mod address;
mod signature;

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use address::is_public;
pub use signature::{SECRET_BYTES, Secret, SecretError, message_id, sign};

use super::{
    event::EventKind,
    id::WebhookId,
    plain_text::prove_plain,
    schedule::{Backoff, later},
};

/// Most webhooks of a tenant.
pub const WEBHOOKS_MAX: usize = 16;
/// Longest address in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Most events in one request.
pub const BATCH_MAX: u16 = 500;
/// How long the former secret still signs after a rotation.
pub const ROTATION: SignedDuration = SignedDuration::from_hours(24);
/// Longest wait that an endpoint may ask for.
const WAIT_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Where a console wants its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id within the tenant.
    pub id: WebhookId,
    /// What the console set.
    pub settings: Settings,
    /// What signs.
    pub secret: Secret,
    /// What signed before, and until when it still does.
    pub former_secret: Option<(Secret, Timestamp)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Why it is switched off.
    pub disabled: Option<Disabled>,
}

/// What a console says of a webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whereto; may hold a secret of the console's own.
    pub url: String,
    /// Which types of events; empty for all that are in the feed.
    pub types: Vec<String>,
    /// Most events in one request; 1 sends each by itself.
    pub batch_max: u16,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("types", &self.types)
            .field("batch_max", &self.batch_max)
            .finish_non_exhaustive()
    }
}

/// What the configuration allows webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Addresses outside the public internet, and `http://`.
    pub private_addresses: bool,
    /// The [verbose](EventKind::is_verbose) types, since the feed has them.
    pub verbose_events: bool,
}

/// A webhook that is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// How far delivery has come; kept apart from the webhook because it changes all the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The place in the feed after the last event that was taken; none before the first look.
    pub cursor: Option<String>,
    /// Events that were taken.
    pub delivered: u64,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// Attempts in a row that failed.
    pub failures: u16,
    /// What came of the last one that failed.
    pub last_failure: Option<String>,
    /// When it was last taken.
    pub last_success: Option<Timestamp>,
    /// When events were lost because they were trimmed before they could be delivered.
    pub gap_at: Option<Timestamp>,
    /// Whether the endpoint has still to be told so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gap_untold: bool,
}

/// What an endpoint did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It took it: any 2xx.
    Taken,
    /// It says that it is gone: 410.
    Gone,
    /// It refused or failed.
    Refused {
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Nothing was answered, or the address may not be called.
    Unreachable {
        /// What was seen, without the address.
        detail: String,
    },
}

/// What is to be done after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next events.
    GoOn,
    /// The same again after so long.
    Retry(SignedDuration),
    /// No more: switch it off.
    Disable {
        /// Why, in words.
        reason: String,
    },
}

/// When deliveries are tried again, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Delays between attempts.
    pub backoff: Backoff,
    /// A webhook that has failed for so long is switched off.
    pub disable_after: SignedDuration,
}

impl Default for Patience {
    /// From a second to five minutes, for five days.
    fn default() -> Self {
        let (min, max) = (SignedDuration::from_secs(1), SignedDuration::from_mins(5));
        Self {
            backoff: Backoff::new(min, max).expect("a second is less than five minutes"),
            disable_after: SignedDuration::from_hours(5 * 24),
        }
    }
}

impl Webhook {
    /// Whether events of this type are wanted.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.settings.types.is_empty() || self.settings.types.iter().any(|t| t == kind)
    }

    /// The secrets that sign now, the newest first.
    #[must_use]
    pub fn secrets(&self, now: Timestamp) -> Vec<&Secret> {
        let former = self.former_secret.as_ref();
        let former = former.filter(|(_, until)| *until > now).map(|(s, _)| s);
        std::iter::once(&self.secret).chain(former).collect()
    }

    /// Signs with `secret` from now on; the former one goes on for [`ROTATION`].
    pub fn rotate(&mut self, secret: Secret, now: Timestamp) {
        let former = std::mem::replace(&mut self.secret, secret);
        self.former_secret = Some((former, later(now, ROTATION)));
    }
}

impl Settings {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// What is wrong, with a JSON pointer to it.
    pub fn check(&self, allowed: Allowed) -> Result<(), (&'static str, String)> {
        self.check_url(allowed.private_addresses)?;
        for wanted in &self.types {
            let kind = EventKind::ALL.iter().find(|k| k.as_str() == wanted);
            let shown: String = wanted.chars().take(40).collect();
            let detail = match kind {
                None => format!("there is no event type {shown:?}"),
                Some(kind) if kind.is_verbose() && !allowed.verbose_events => format!(
                    "the feed has no {shown}: the operator must set store.events_verbose = true first"
                ),
                Some(_) => continue,
            };
            return Err(("/types", detail));
        }
        if !(1..=BATCH_MAX).contains(&self.batch_max) {
            return Err(("/batch_max", format!("from 1 to {BATCH_MAX}")));
        }
        Ok(())
    }

    fn check_url(&self, private: bool) -> Result<(), (&'static str, String)> {
        let refuse = |detail: &str| Err(("/url", detail.to_owned()));
        if self.url.len() > URL_BYTES_MAX {
            return refuse("the address is longer than 2048 bytes");
        }
        // The parser would pass over some of them.
        if prove_plain(&self.url).is_err() {
            return refuse("the address has control characters");
        }
        let Ok(url) = url::Url::parse(&self.url) else {
            return refuse("this is not an absolute URL");
        };
        match url.scheme() {
            "https" => {}
            "http" if private => {}
            _ => return refuse("the address must begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the address may not hold a user name or password");
        }
        if url.fragment().is_some() {
            return refuse("the address may not hold a fragment");
        }
        let public = match url.host() {
            Some(url::Host::Ipv4(ip)) => is_public(ip.into()),
            Some(url::Host::Ipv6(ip)) => is_public(ip.into()),
            Some(url::Host::Domain(_)) => true,
            None => false,
        };
        if !public && !private {
            return refuse("the address is not on the public internet");
        }
        Ok(())
    }
}

impl Progress {
    /// Notes what became of a request with `events` events, and says what is next. `jitter` is in `0.0..=1.0`.
    pub fn note(
        &mut self,
        receipt: &Receipt,
        events: u64,
        patience: &Patience,
        (now, jitter): (Timestamp, f64),
    ) -> Next {
        let (failure, asked) = match receipt {
            Receipt::Taken => {
                self.delivered += events;
                self.failing_since = None;
                self.failures = 0;
                self.last_success = Some(now);
                return Next::GoOn;
            }
            Receipt::Gone => ("answered 410".to_owned(), None),
            Receipt::Refused {
                status,
                retry_after,
            } => (format!("answered {status}"), *retry_after),
            Receipt::Unreachable { detail } => (detail.clone(), None),
        };
        let since = *self.failing_since.get_or_insert(now);
        let delay = patience.backoff.delay(self.failures, jitter);
        self.failures = self.failures.saturating_add(1);
        let reason = if *receipt == Receipt::Gone {
            Some("it answered 410: it is gone and wants no more events".to_owned())
        } else if later(since, patience.disable_after) <= now {
            Some(format!(
                "every attempt has failed since {since:.0}, the last one: {failure}"
            ))
        } else {
            None
        };
        self.last_failure = Some(failure);
        if let Some(reason) = reason {
            return Next::Disable { reason };
        }
        let asked = asked.and_then(|d| SignedDuration::try_from(d).ok());
        Next::Retry(delay.max(asked.unwrap_or_default().min(WAIT_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings {
            url: url.to_owned(),
            types: Vec::new(),
            batch_max: 1,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_760_000_000 + seconds).unwrap()
    }

    #[test]
    fn only_public_addresses_are_taken_unless_private_ones_are_allowed() {
        for good in ["https://hooks.example.com/x?k=v", "https://93.184.216.34/"] {
            assert_eq!(settings(good).check(Allowed::default()), Ok(()), "{good}");
        }
        for bad in [
            "http://hooks.example.com/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://user:pw@example.com/",
            "https://example.com/#x",
            "ftp://example.com/",
            "/relative",
            "https://example.com/\u{1b}[2J",
            "https://exam\nple.com/",
        ] {
            assert!(settings(bad).check(Allowed::default()).is_err(), "{bad}");
        }
        let private = Allowed {
            private_addresses: true,
            ..Allowed::default()
        };
        assert_eq!(settings("http://10.0.0.1:8080/").check(private), Ok(()));
        assert!(settings("http://u@10.0.0.1/").check(private).is_err());
    }

    #[test]
    fn unknown_types_and_empty_batches_are_refused() {
        let mut wrong = settings("https://example.com/");
        wrong.types = vec!["push.closed".to_owned(), "push.opend".to_owned()];
        assert_eq!(wrong.check(Allowed::default()).unwrap_err().0, "/types");
        let mut wrong = settings("https://example.com/");
        wrong.batch_max = 0;
        assert_eq!(wrong.check(Allowed::default()).unwrap_err().0, "/batch_max");
    }

    #[test]
    fn a_type_that_the_feed_lacks_is_refused_with_the_setting_that_adds_it() {
        let verbose = Allowed {
            verbose_events: true,
            ..Allowed::default()
        };
        for kind in ["push.accepted", "push.opened"] {
            let mut wanted = settings("https://example.com/");
            wanted.types = vec!["push.closed".to_owned(), kind.to_owned()];
            let (pointer, detail) = wanted.check(Allowed::default()).unwrap_err();
            assert_eq!(pointer, "/types");
            assert!(
                detail.contains(kind) && detail.contains("store.events_verbose"),
                "{detail}"
            );
            assert_eq!(wanted.check(verbose), Ok(()));
        }
    }

    #[test]
    fn failures_back_off_until_success_and_days_of_them_switch_it_off() {
        let patience = Patience::default();
        let mut progress = Progress::default();
        let down = Receipt::Refused {
            status: 503,
            retry_after: None,
        };
        let mut waits = Vec::new();
        for n in 0..4 {
            match progress.note(&down, 1, &patience, (at(n), 1.0)) {
                Next::Retry(wait) => waits.push(wait.as_secs()),
                Next::GoOn | Next::Disable { .. } => panic!("retried"),
            }
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(progress.failing_since, Some(at(0)));

        let taken = progress.note(&Receipt::Taken, 3, &patience, (at(9), 1.0));
        assert_eq!((taken, progress.failing_since), (Next::GoOn, None));
        assert_eq!(progress.delivered, 3);

        progress.note(&down, 1, &patience, (at(10), 1.0));
        let days = 5 * 24 * 3_600;
        let last = progress.note(&down, 1, &patience, (at(10 + days), 1.0));
        let Next::Disable { reason } = last else {
            panic!("switched off, not {last:?}");
        };
        assert_eq!(
            reason,
            "every attempt has failed since 2025-10-09T08:53:30Z, the last one: answered 503"
        );
    }

    #[test]
    fn an_endpoint_that_is_gone_is_switched_off_at_once_and_one_that_asks_for_time_gets_it() {
        let patience = Patience::default();
        let mut progress = Progress::default();
        let gone = progress.note(&Receipt::Gone, 1, &patience, (at(0), 0.0));
        let Next::Disable { reason } = gone else {
            panic!("switched off, not {gone:?}");
        };
        assert!(
            reason.contains("410") && !reason.contains("since"),
            "{reason}"
        );
        let mut progress = Progress::default();
        let busy = |seconds| Receipt::Refused {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let wait = progress.note(&busy(90), 1, &patience, (at(0), 0.0));
        assert_eq!(wait, Next::Retry(SignedDuration::from_secs(90)));
        let wait = progress.note(&busy(1_000_000), 1, &patience, (at(1), 0.0));
        assert_eq!(wait, Next::Retry(WAIT_MAX));
    }

    #[test]
    fn a_rotated_secret_signs_beside_the_new_one_for_a_day() {
        let mut webhook = Webhook {
            id: WebhookId::new("w").unwrap(),
            settings: settings("https://example.com/"),
            secret: Secret::new(&[1; SECRET_BYTES]),
            former_secret: None,
            created_at: at(0),
            disabled: None,
        };
        webhook.rotate(Secret::new(&[2; SECRET_BYTES]), at(0));
        assert_eq!(webhook.secrets(at(1)).len(), 2);
        assert_eq!(webhook.secrets(at(24 * 3_600)), [&webhook.secret]);
    }

    #[test]
    fn nothing_shows_a_secret_or_the_address() {
        let shown = format!("{:?}", settings("https://example.com/?token=hush"));
        assert!(!shown.contains("hush"), "{shown}");
        let secret = Secret::new(&[7; SECRET_BYTES]);
        assert!(!format!("{secret:?}").contains(secret.expose()));
    }
}
