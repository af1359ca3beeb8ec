//! A tenant's pushes, check-ins, channels and campaigns.

use std::{collections::BTreeMap, time::Duration};

use prometheus::IntGauge;

use crate::{
    domain::{
        ask::{Class, CloseReason},
        channel::ChannelKind,
        id::TenantId,
    },
    telemetry::{CampaignPhase, Horizon, PushState, TargetPhase, Telemetry, TenantMetrics},
};

/// A push that this broker has claimed; counted until dropped.
#[derive(Debug)]
pub struct Leased(IntGauge);

impl Drop for Leased {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl TenantMetrics {
    /// This broker has claimed one of the tenant's pushes. Keep the answer as long as it has.
    #[must_use]
    pub fn leased(&self) -> Leased {
        let gauge = self.pushes[&PushState::Leased].clone();
        gauge.inc();
        Leased(gauge)
    }

    /// How many of the tenant's pushes this broker holds.
    #[must_use]
    pub fn pushes_leased(&self) -> u64 {
        u64::try_from(self.pushes[&PushState::Leased].get()).unwrap_or(0)
    }
}

/// What was counted in the store for one tenant; what is not named is zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantSample {
    /// Open pushes by the class of the leading ask.
    pub pushes_open: Vec<(Class, u64)>,
    /// Open pushes by what they wait for; those that are leased are counted as they are claimed.
    pub pushes: Vec<(PushState, u64)>,
    /// For how long the oldest due push has been due.
    pub oldest_due: Duration,
    /// Devices by the state of their channel.
    pub channels: Vec<(ChannelKind, u64)>,
    /// Channels that expire soon.
    pub channels_expiring: Vec<(Horizon, u64)>,
    /// Campaigns by state.
    pub campaigns: Vec<(CampaignPhase, u64)>,
    /// Targets of the running and paused campaigns together.
    pub campaign_targets: Vec<(TargetPhase, u64)>,
}

impl Telemetry {
    /// The store was asked how a tenant stands.
    pub fn tenant_sampled(&self, tenant: &TenantMetrics, sample: &TenantSample) {
        for class in Class::ALL {
            tenant.pushes_open[class as usize].set(of(&sample.pushes_open, class));
        }
        for (at, kind) in ChannelKind::ALL.into_iter().enumerate() {
            tenant.channels[at].set(of(&sample.channels, kind));
        }
        let counted = tenant.pushes.iter();
        for (state, gauge) in counted.filter(|(state, _)| **state != PushState::Leased) {
            gauge.set(of(&sample.pushes, *state));
        }
        for (horizon, gauge) in &tenant.channels_expiring {
            gauge.set(of(&sample.channels_expiring, *horizon));
        }
        for (state, gauge) in &tenant.campaigns {
            gauge.set(of(&sample.campaigns, *state));
        }
        for (state, gauge) in &tenant.campaign_targets {
            gauge.set(of(&sample.campaign_targets, *state));
        }
        tenant.oldest_due.set(sample.oldest_due.as_secs_f64());
    }

    /// The store was asked which tenants have open pushes, and how many, without an app of this broker.
    pub fn unserved_sampled(&self, unserved: &BTreeMap<TenantId, u64>, now: tokio::time::Instant) {
        let pushes = i64::try_from(unserved.values().sum::<u64>()).unwrap_or(i64::MAX);
        self.0.families.pushes_unserved.with(&[]).set(pushes);
        for (tenant, pushes) in unserved {
            self.failure("unserved", tenant.as_str(), now, |suppressed| {
                tracing::warn!(
                    %tenant, pushes, suppressed,
                    "a tenant has open pushes, but its app is not in this broker's configuration"
                );
            });
        }
    }

    /// `asks` asks have ended for one reason.
    pub fn asks_closed(&self, tenant: &TenantMetrics, reason: CloseReason, asks: u64) {
        let label = reason.as_str();
        if let Some(at) = CloseReason::LABELS.iter().position(|known| *known == label) {
            tenant.asks_closed[at].inc_by(asks);
        }
        tracing::debug!(tenant = %tenant.tenant, reason = label, asks, "closed asks");
    }

    /// A device has started a session, `delay` after the notification that WNS took, if one had been sent.
    pub fn checked_in(&self, tenant: &TenantMetrics, delay: Option<Duration>) {
        tenant.check_ins.inc();
        if let Some(delay) = delay {
            tenant.check_in_delay.observe(delay.as_secs_f64());
        }
        tracing::trace!(tenant = %tenant.tenant, "a device checked in");
    }

    /// How far the check-ins reported last lay in the future at most; zero if they did not.
    pub fn check_in_skew(&self, tenant: &TenantMetrics, ahead: Duration) {
        tenant.check_in_skew.set(ahead.as_secs_f64());
    }

    /// A check-in was reported with a time that lies `ahead` in the future; it is cut to now.
    pub fn check_in_ahead(
        &self,
        tenant: &TenantMetrics,
        ahead: Duration,
        now: tokio::time::Instant,
    ) {
        self.failure(
            "check_in_ahead",
            tenant.tenant.as_str(),
            now,
            |suppressed| {
                tracing::warn!(
                    tenant = %tenant.tenant, ahead_seconds = ahead.as_secs_f64(), suppressed,
                    "a check-in lies in the future; compare the clocks of console and broker"
                );
            },
        );
    }
}

fn of<K: PartialEq>(counts: &[(K, u64)], key: K) -> i64 {
    let count = counts
        .iter()
        .find(|(known, _)| *known == key)
        .map_or(0, |(_, count)| *count);
    i64::try_from(count).unwrap_or(i64::MAX)
}
