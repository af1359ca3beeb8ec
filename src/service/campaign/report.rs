//! What a campaign has come to: totals, percentiles, an estimate of its end, and each target.

use jiff::{SignedDuration, Timestamp};

use super::{CampaignError, Campaigns, batch::ROUND};
use crate::{
    domain::{
        campaign::{
            Campaign, Counts, State, TargetResult, TargetStatus, TargetView, Timetable, rate,
        },
        id::{CampaignId, DeviceId, TenantId},
        schedule::later,
    },
    ports::{
        lists::Member,
        records::{ListName, Page},
    },
};

/// About as many targets are looked at for one page, when few of them belong on it.
const SCAN_MAX: usize = 16 * ROUND;

/// A campaign and where its targets stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The campaign.
    pub campaign: Campaign,
    /// Its targets by state, as its own state says: see [`Counts::seen`].
    pub counts: Counts,
    /// When all targets will have been released, if nothing gets in the way; none unless it runs.
    pub released_by: Option<Timestamp>,
}

impl Campaigns {
    /// The campaign with its counts.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`], or the store's.
    pub async fn report(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<Report, CampaignError> {
        let campaign = self.get(tenant, id).await?;
        self.report_on(tenant, campaign).await
    }

    /// The same for a campaign that the caller has read.
    ///
    /// # Errors
    /// The store's.
    pub async fn report_on(
        &self,
        tenant: &TenantId,
        campaign: Campaign,
    ) -> Result<Report, CampaignError> {
        let counts = self.counts(tenant, &campaign.id).await?;
        let per_second = rate(&campaign.definition.pace, self.app_pace(tenant).await?);
        let released_by = released_by(&campaign, &counts, per_second, self.clock.now());
        Ok(Report {
            counts: counts.seen(campaign.state),
            campaign,
            released_by,
        })
    }

    /// Pages through the targets that are in one of `states`, or all if none is named. A page that few of many targets belong
    /// on may be short, or empty, with more to come. `limit` is a hint.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`], or the store's.
    pub async fn targets(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        states: &[TargetStatus],
        page: (Option<&str>, usize),
    ) -> Result<Page<TargetView>, CampaignError> {
        let campaign = self.get(tenant, id).await?;
        let list = match states {
            [TargetStatus::Waiting] if campaign.state != State::Cancelled => {
                ListName::Waiting(id.clone())
            }
            _ => ListName::Targets(id.clone()),
        };
        let lines = Lines {
            desk: self,
            tenant,
            campaign: &campaign,
            list,
            states,
        };
        let (cursor, limit) = page;
        lines.page(cursor, limit.clamp(1, ROUND)).await
    }
}

/// The targets of a campaign that are looked for.
struct Lines<'a> {
    desk: &'a Campaigns,
    tenant: &'a TenantId,
    campaign: &'a Campaign,
    list: ListName,
    states: &'a [TargetStatus],
}

impl Lines<'_> {
    /// About `limit` targets from `cursor` on; fewer if there are no more among the next [`SCAN_MAX`] or so.
    async fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<TargetView>, CampaignError> {
        let mut page = Page {
            items: Vec::new(),
            next: cursor.map(str::to_owned),
        };
        let (mut count, mut looked) = (limit, 0);
        loop {
            let left = limit - page.items.len();
            let mut more = self.look(page.next.as_deref(), count).await?;
            looked += count;
            if more.items.len() > left && count > left {
                // A cursor lies behind all that was looked at, so less is looked at instead of leaving some out.
                count = (count / 2).max(left);
                continue;
            }
            page.items.append(&mut more.items);
            page.next = more.next;
            if page.next.is_none() || page.items.len() >= limit || looked >= SCAN_MAX {
                return Ok(page);
            }
            count = (count * 2).min(ROUND);
        }
    }

    /// Those that are looked for among the next `count` members of the list.
    async fn look(
        &self,
        cursor: Option<&str>,
        count: usize,
    ) -> Result<Page<TargetView>, CampaignError> {
        let store = &self.desk.store;
        let page = store.members(self.tenant, &self.list, cursor, count);
        let page = page.await?;
        let waiting = matches!(self.list, ListName::Waiting(_));
        let mut items = Vec::with_capacity(page.items.len());
        let unread: Vec<DeviceId> = page
            .items
            .iter()
            .filter(|m| !waiting && m.text.is_empty())
            .map(|m| m.device.clone())
            .collect();
        let read = self.desk.records_of(self.tenant, unread).await?;
        let mut read = read.into_iter().peekable();
        for member in page.items {
            let record = read.next_if(|s| s.device == member.device);
            let record = record.and_then(|s| s.record);
            let view = match ended(&member, waiting) {
                Some(view) => view,
                None => TargetView::unfinished(member.device, self.campaign, record.as_ref()),
            };
            if self.states.is_empty() || self.states.contains(&view.status) {
                items.push(view);
            }
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }
}

/// The line of a target that has ended.
fn ended(member: &Member, waiting: bool) -> Option<TargetView> {
    if waiting || member.text.is_empty() {
        return None;
    }
    let (status, result) = TargetResult::parse(&member.text).ok()?;
    Some(TargetView {
        device: member.device.clone(),
        status,
        result,
    })
}

fn released_by(
    campaign: &Campaign,
    counts: &Counts,
    per_second: f64,
    now: Timestamp,
) -> Option<Timestamp> {
    if campaign.state != State::Running {
        return None;
    }
    let definition = &campaign.definition;
    let waves = definition.waves.get(usize::from(campaign.wave)..);
    let timetable = Timetable {
        per_second,
        open_sessions_max: definition.pace.open_sessions_max,
        session: counts.session(now),
        waves: waves.unwrap_or_default(),
        targets: counts.targets,
        released: counts.released(),
    };
    let time = timetable.until(counts.targets);
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    Some(later(now, time))
}
