//! What a draft would come to.

use std::time::Duration;

use super::{CampaignError, Campaigns, report::releasing, selecting::Selecting};
use crate::domain::{
    campaign::{Campaign, WaveSize, rate},
    channel::ChannelKind,
    id::{CampaignId, TenantId},
};

/// What would happen if the campaign were started now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DryRun {
    /// Devices that the campaign is for.
    pub targets: u64,
    /// Devices with a channel that takes notifications.
    pub reachable: u64,
    /// Devices by the state of their channel, in the order of [`ChannelKind::ALL`].
    pub channels: [u64; 5],
    /// Targets released a second.
    pub per_second: f64,
    /// Until all are released, the gates' holds included.
    pub takes: Duration,
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
        let mut run = DryRun::default();
        let mut selecting = Selecting::default();
        while let Some(selected) = selecting.page(self, tenant, &campaign).await? {
            for device in selected {
                let record = device.record.unwrap_or_default();
                run.targets += 1;
                run.reachable += u64::from(record.reachable());
                let kind = record.channel_kind();
                let at = ChannelKind::ALL.iter().position(|k| *k == kind);
                run.channels[at.expect("ALL has every kind")] += 1;
            }
        }
        run.per_second = rate(&campaign.definition.pace, self.app_pace(tenant).await?);
        run.takes = releasing(run.targets, run.per_second) + holds(&campaign, run.targets);
        Ok(run)
    }
}

fn holds(campaign: &Campaign, targets: u64) -> Duration {
    let waves = campaign.definition.waves.iter();
    let gated = waves.filter(|wave| goes_on(wave.size, targets));
    gated.map(|wave| wave.gate.hold).sum()
}

/// Whether something is left to release after the wave.
fn goes_on(size: WaveSize, targets: u64) -> bool {
    size.of(targets) < targets
}
