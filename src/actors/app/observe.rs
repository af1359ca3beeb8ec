//! What an answer of WNS means for its app: hosts to avoid, throttles, holds and waves. It takes effect at once.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{App, seen::Watched};
use crate::domain::{
    app_state::{Change, HoldReason},
    breaker::Breaker,
    wns::reply::Outcome,
};

/// Hosts whose breakers are remembered; WNS has a few dozen. Those that answer are forgotten when another one fails.
const HOSTS_MAX: usize = 1_024;
/// Silence of all hosts that is told as an outage; a breaker opens far sooner.
const OUTAGE_AFTER: Duration = Duration::from_secs(30);
/// Refusals that lead to a hold came this long before it at most: a wave is called within a minute.
const MARKED_BEFORE: SignedDuration = SignedDuration::from_secs(61);

impl App {
    /// Reports what came of a notification to `host`; `probe` if it was the probe of a hold, `again` if WNS had refused the
    /// channel at the last attempt too. Returns whether refusals are not to be believed now.
    pub fn observe(
        &self,
        host: &str,
        outcome: &Outcome,
        (probe, again): (bool, bool),
        now: Timestamp,
    ) -> bool {
        let mut watched = self.watched();
        self.feed_breaker(&mut watched, host, outcome);
        self.note_silence(&mut watched, outcome);
        if probe {
            watched.probe = None;
        }
        match outcome {
            Outcome::Accepted { .. } | Outcome::Dropped | Outcome::ChannelThrottled { .. } => {
                watched.wave.note(self.origin.elapsed(), false);
                watched.flood.note(self.origin.elapsed(), false);
                if probe && watched.held() {
                    self.recover(&mut watched, now);
                }
            }
            // A verdict on the channel alone, once it is known that WNS serves the app, unless it refuses all that it had not refused
            // before.
            Outcome::ChannelRefused { .. }
                if !probe && !watched.seen.state.doubts_channels(now) =>
            {
                watched.wave.note(self.origin.elapsed(), false);
                if !again {
                    let flood = watched.flood.note(self.origin.elapsed(), true);
                    let all = flood.is_some_and(|wave| wave.is_total());
                    self.call_wave(&mut watched, all, now);
                }
            }
            Outcome::ChannelRefused { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => {
                let wave = watched.wave.note(self.origin.elapsed(), true).is_some();
                if probe {
                    self.hold(&mut watched, HoldReason::Wave, probe, now);
                } else {
                    self.call_wave(&mut watched, wave, now);
                }
            }
            Outcome::AppThrottled { retry_after } => {
                let (pause, per_second) = (*retry_after, self.pace_per_second());
                self.change(&mut watched, Change::Throttled { pause, per_second }, now);
            }
            Outcome::TokenRefused => {
                self.hold(&mut watched, HoldReason::TokenRefused, probe, now);
            }
            Outcome::DomainBlocked { .. } => {
                self.hold(&mut watched, HoldReason::DomainBlocked, probe, now);
            }
            Outcome::Unavailable { .. } => {}
        }
        watched.doubted()
    }

    /// Holds the app for a wave, unless somebody has just excused one.
    fn call_wave(&self, watched: &mut Watched, wave: bool, now: Timestamp) {
        if wave && watched.seen.state.believes_waves(now) {
            self.hold(watched, HoldReason::Wave, false, now);
        }
    }

    /// Ends a hold, and remembers whose marks have to be taken back.
    fn recover(&self, watched: &mut Watched, now: Timestamp) {
        watched.wave.clear();
        watched.flood.clear();
        let since = watched.seen.state.hold.as_ref().map(|hold| hold.since);
        watched.seen.healing = since.and_then(|at| at.checked_sub(MARKED_BEFORE).ok());
        self.change(watched, Change::ProbePassed, now);
    }

    /// Holds the app, or holds it longer if that is what a probe has shown.
    fn hold(&self, watched: &mut Watched, reason: HoldReason, probe: bool, now: Timestamp) {
        watched.wave.clear();
        watched.flood.clear();
        let change = if probe && watched.held() {
            Change::ProbeFailed
        } else {
            Change::Held(reason)
        };
        self.change(watched, change, now);
    }

    pub(super) fn change(&self, watched: &mut Watched, change: Change, now: Timestamp) {
        let before = watched.seen.state.clone();
        watched
            .seen
            .state
            .apply(&change, now, &self.settings.probing);
        // The rest of what was on the wire when the app was throttled or held changes nothing.
        if watched.seen.state == before {
            return;
        }
        watched.pending.push((change, now));
        self.publish(watched);
        self.changed.notify_one();
    }

    pub(super) fn publish(&self, watched: &Watched) {
        let old = self.seen.swap(Arc::new(watched.seen.clone()));
        let (old, new) = (old.blocks(), watched.seen.blocks());
        for (reason, _) in old
            .iter()
            .filter(|(reason, _)| new.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_resumed(&self.metrics, *reason);
        }
        for (reason, until) in new
            .iter()
            .filter(|(reason, _)| old.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_paused(&self.metrics, *reason, *until);
        }
    }

    /// One host that is away is avoided and no more; when nobody answers, somebody has to know.
    fn note_silence(&self, watched: &mut Watched, outcome: &Outcome) {
        let now = self.origin.elapsed();
        let silent = matches!(outcome, Outcome::Unavailable { .. });
        let since = watched.silent_since.filter(|_| silent).unwrap_or(now);
        watched.silent_since = silent.then_some(since);
        let avoids = watched.breakers.values().any(Breaker::is_open);
        let outage = silent && avoids && now.saturating_sub(since) >= OUTAGE_AFTER;
        if watched.seen.outage != outage {
            watched.seen.outage = outage;
            self.publish(watched);
        }
    }

    /// Looks whether silence has become an outage without any further attempt: a host may have asked for a long time without one.
    pub fn look_for_silence(&self) {
        let now = self.origin.elapsed();
        let mut watched = self.watched();
        let long = |since| now.saturating_sub(since) >= OUTAGE_AFTER;
        let avoids = watched.breakers.values().any(Breaker::is_open);
        if avoids && !watched.seen.outage && watched.silent_since.is_some_and(long) {
            watched.seen.outage = true;
            self.publish(&watched);
        }
    }

    /// Forgets what was seen of hosts, so that each is asked again.
    pub fn forget_hosts(&self) {
        for (host, breaker) in self.watched().breakers.drain() {
            if breaker.is_open() {
                self.telemetry.breaker_closed(&self.metrics, &host, 0);
            }
        }
    }

    fn feed_breaker(&self, watched: &mut Watched, host: &str, outcome: &Outcome) {
        let now = self.origin.elapsed();
        let failed = match outcome {
            Outcome::Unavailable { retry_after, .. } => Some(*retry_after),
            Outcome::Accepted { .. }
            | Outcome::Dropped
            | Outcome::ChannelThrottled { .. }
            | Outcome::TokenRefused
            | Outcome::ChannelRefused { .. }
            | Outcome::DomainBlocked { .. }
            | Outcome::AppThrottled { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => None,
        };
        if failed.is_some() && !watched.breakers.contains_key(host) {
            if watched.breakers.len() >= HOSTS_MAX {
                watched.breakers.retain(|_, breaker| breaker.is_open());
            }
            if watched.breakers.len() < HOSTS_MAX {
                watched.breakers.insert(host.into(), Breaker::default());
            }
        }
        let Some(breaker) = watched.breakers.get_mut(host) else {
            return;
        };
        let was_open = breaker.is_open();
        match failed {
            Some(asked) => breaker.failed(now, asked),
            None => breaker.answered(),
        }
        let is_open = breaker.is_open();
        if breaker.is_healthy() {
            watched.breakers.remove(host);
        }
        if was_open == is_open {
            return;
        }
        let open = watched
            .breakers
            .values()
            .filter(|breaker| breaker.is_open())
            .count();
        if is_open {
            self.telemetry.breaker_opened(&self.metrics, host, open);
        } else {
            self.telemetry.breaker_closed(&self.metrics, host, open);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        actors::app::AppSettings,
        domain::{
            id::AppId,
            pace::PaceBounds,
            wns::reply::{ChannelRefusal, UnavailableKind},
        },
        telemetry::Telemetry,
    };

    use super::*;

    const ACCEPTED: Outcome = Outcome::Accepted {
        cached: false,
        stated: true,
    };
    const GONE: Outcome = Outcome::ChannelRefused {
        cause: ChannelRefusal::Gone,
    };
    const SILENT: Outcome = Outcome::Unavailable {
        kind: UnavailableKind::Timeout,
        retry_after: None,
    };

    fn app() -> App {
        let id = AppId::new("contoso").unwrap();
        let settings = AppSettings::new(id, PaceBounds::default());
        App::new(
            settings,
            &Telemetry::new(Duration::from_secs(60)),
            &Arc::default(),
        )
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_failed_once_do_not_keep_a_breaker_from_one_that_is_down() {
        let app = app();
        for number in 0..3 * HOSTS_MAX {
            app.observe(&format!("h{number}"), &SILENT, (false, false), now());
        }
        for _ in 0..8 {
            app.observe("down", &SILENT, (false, false), now());
        }
        assert_eq!(app.hosts_avoided(), ["down"]);
        assert!(app.watched().breakers.len() <= HOSTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_when_nobody_answers_any_more() {
        let app = app();
        let fail = |host: &str| {
            for _ in 0..32 {
                app.observe(host, &SILENT, (false, false), now());
            }
        };
        fail("a");
        assert_eq!((app.hosts_avoided().len(), app.outage()), (1, false));
        tokio::time::advance(OUTAGE_AFTER).await;
        app.observe("b", &ACCEPTED, (false, false), now());
        fail("a");
        assert!(!app.outage(), "the others answer");
        tokio::time::advance(OUTAGE_AFTER).await;
        fail("b");
        assert!(app.outage());
        app.observe("c", &ACCEPTED, (false, false), now());
        assert!(!app.outage());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_while_the_only_host_is_avoided_and_nothing_is_tried() {
        let app = app();
        for _ in 0..32 {
            app.observe("a", &SILENT, (false, false), now());
        }
        app.look_for_silence();
        assert!(!app.outage());
        tokio::time::advance(OUTAGE_AFTER).await;
        app.look_for_silence();
        assert!(app.outage());
        app.observe("a", &ACCEPTED, (false, false), now());
        app.look_for_silence();
        assert!(!app.outage());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_well_again_is_forgotten() {
        let app = app();
        app.observe("h", &SILENT, (false, false), now());
        for _ in 0..32 {
            assert_eq!(app.watched().breakers.len(), 1);
            app.observe("h", &ACCEPTED, (false, false), now());
        }
        assert_eq!(app.watched().breakers.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_good_probe_refused_channels_are_no_wave_but_refused_requests_are() {
        let app = app();
        let wave = |outcome: &Outcome| {
            (0..60).fold(false, |_, _| {
                app.observe("h", outcome, (false, false), now())
            })
        };
        assert!(wave(&GONE), "held");
        app.observe("h", &ACCEPTED, (true, false), now());
        app.healed(app.healing().unwrap());

        assert!(!wave(&GONE));

        let fault = Outcome::OurFault {
            status: 400,
            description: None,
        };
        assert!(wave(&fault));
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_probe_does_not_hide_that_all_channels_are_refused_anew() {
        let app = app();
        let refuse = |n: u32| (0..n).any(|_| app.observe("h", &GONE, (false, false), now()));
        assert!(refuse(60), "held");
        app.observe("h", &ACCEPTED, (true, false), now());
        app.healed(app.healing().unwrap());

        let mut again = (0..200).map(|_| app.observe("h", &GONE, (false, true), now()));
        assert!(!again.any(|held| held), "refused before");
        assert!(!refuse(199));
        assert!(refuse(1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_lets_a_wave_go_on_is_believed_that_all_those_channels_are_dead() {
        for (reason, excused) in [(HoldReason::TokenRefused, false), (HoldReason::Wave, true)] {
            let app = app();
            app.note(Change::Held(reason), now());
            let resumed_at = Some(now());
            app.note(Change::Looked { resumed_at }, now());

            let held = (0..400).any(|_| app.observe("h", &GONE, (false, false), now()));

            assert_eq!(held, !excused, "{reason:?}");
        }
    }
}
