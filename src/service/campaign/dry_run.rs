//! What a draft would come to.

use std::time::Duration;

use jiff::Timestamp;

use super::{CampaignError, Campaigns, selecting::Selecting};
use crate::domain::{
    campaign::{Campaign, Timetable, rate},
    channel::ChannelKind,
    counter::WakeSlot,
    id::{CampaignId, TenantId},
};

/// What would happen if the campaign were started now and every gate passed.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    /// What it is a run of.
    pub campaign: Campaign,
    /// Devices that the campaign is for.
    pub targets: u64,
    /// Devices with a channel that takes notifications.
    pub reachable: u64,
    /// Devices by the state of their channel, in the order of [`ChannelKind::ALL`].
    pub channels: [u64; 5],
    /// Targets released a second, while neither a hold nor open sessions stand in the way.
    pub per_second: f64,
    /// Until all are released, whenever the deadline is, if no device checks in while its session counts as open: see
    /// [`Timetable`].
    pub takes: Duration,
    /// The same if devices check in so soon that no cap on open sessions is ever met.
    pub takes_at_best: Duration,
    /// The deadline.
    pub deadline: Timestamp,
    /// Targets that are released before the deadline; the others expire without being sent.
    pub in_time: u64,
}

impl Campaigns {
    /// Counts whom the campaign would reach, and how long it would take. Reads every device that it is for.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`], or the store's.
    pub async fn dry_run(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<DryRun, CampaignError> {
        let campaign = self.get(tenant, id).await?;
        let now = self.clock.now();
        let until = campaign.definition.until.from(now);
        let mut run = DryRun {
            targets: 0,
            reachable: 0,
            channels: [0; 5],
            per_second: 0.0,
            takes: Duration::ZERO,
            takes_at_best: Duration::ZERO,
            deadline: campaign.deadline.unwrap_or(until),
            in_time: 0,
            campaign,
        };
        let mut selecting = Selecting::default();
        while let Some(selected) = selecting.page(self, tenant, &run.campaign).await? {
            for device in selected {
                let record = device.record.unwrap_or_default();
                run.targets += 1;
                run.reachable += u64::from(record.reachable());
                let kind = record.channel_kind();
                let at = ChannelKind::ALL.iter().position(|k| *k == kind);
                run.channels[at.expect("ALL has every kind")] += 1;
            }
        }
        run.foresee(self.app_pace(tenant).await?, now);
        Ok(run)
    }
}

impl DryRun {
    /// Works out the times for an app that sends `app_per_second` to those that can be reached.
    fn foresee(&mut self, app_per_second: f64, now: Timestamp) {
        let definition = &self.campaign.definition;
        let sent = self.reachable as f64 / self.targets.max(1) as f64;
        let as_fast_as_sent = app_per_second / sent;
        self.per_second = rate(&definition.pace, app_per_second)
            .min(as_fast_as_sent)
            .max(f64::MIN_POSITIVE);
        let timetable = Timetable {
            per_second: self.per_second,
            open_sessions_max: definition.pace.open_sessions_max,
            session: WakeSlot::COUNTED,
            waves: &definition.waves,
            targets: self.targets,
            released: 0,
        };
        self.takes = timetable.until(self.targets);
        let uncapped = Timetable {
            open_sessions_max: None,
            ..timetable
        };
        self.takes_at_best = uncapped.until(self.targets);
        let left = Duration::try_from(self.deadline.duration_since(now));
        self.in_time = timetable.within(left.unwrap_or(Duration::ZERO));
    }

    /// Targets that the deadline overtakes before they are released.
    #[must_use]
    pub fn too_late(&self) -> u64 {
        self.targets.saturating_sub(self.in_time)
    }

    /// About how many of the reachable targets are released in time: the order of release is random.
    #[must_use]
    pub fn reachable_in_time(&self) -> u64 {
        let all = u128::from(self.targets.max(1));
        let share = u128::from(self.reachable) * u128::from(self.in_time) / all;
        u64::try_from(share).unwrap_or(self.reachable)
    }
}
