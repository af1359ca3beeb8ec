//! What the broker tells consoles: typed events, written to the feed in the commit that makes them true.

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

use super::id::{DeviceId, TenantId};

/// The type of [`gap`], which is in no feed.
pub const GAP: &str = "feed.gap";

/// The types of events, as consoles see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A device reported a new channel URI.
    ChannelRegistered,
    /// WNS refused a channel; it is judged after a minute.
    ChannelSuspect,
    /// A channel is dead; the console should set the PFN again in the next session.
    ChannelDied,
    /// A channel nears the end of its 30 days without renewal.
    ChannelExpiring,
    /// A device was deleted.
    DeviceDeleted,
    /// A push opened; only when subscribed.
    PushOpened,
    /// WNS accepted a notification; only when subscribed.
    PushAccepted,
    /// The last ask of a push ended.
    PushClosed,
    /// A campaign began to release targets.
    CampaignStarted,
    /// A campaign was paused.
    CampaignPaused,
    /// A campaign goes on.
    CampaignResumed,
    /// A wave's gate failed and paused the campaign.
    CampaignGateFailed,
    /// A campaign was cancelled.
    CampaignCancelled,
    /// All targets of a campaign have ended.
    CampaignFinished,
    /// WNS throttles the app.
    AppThrottled,
    /// The app is held: a wave of refusals, a refused token, or by hand.
    AppHeld,
    /// The app sends again.
    AppResumed,
}

impl EventKind {
    /// Every type.
    pub const ALL: [Self; 17] = [
        Self::ChannelRegistered,
        Self::ChannelSuspect,
        Self::ChannelDied,
        Self::ChannelExpiring,
        Self::DeviceDeleted,
        Self::PushOpened,
        Self::PushAccepted,
        Self::PushClosed,
        Self::CampaignStarted,
        Self::CampaignPaused,
        Self::CampaignResumed,
        Self::CampaignGateFailed,
        Self::CampaignCancelled,
        Self::CampaignFinished,
        Self::AppThrottled,
        Self::AppHeld,
        Self::AppResumed,
    ];

    /// The type as consoles see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChannelRegistered => "channel.registered",
            Self::ChannelSuspect => "channel.suspect",
            Self::ChannelDied => "channel.died",
            Self::ChannelExpiring => "channel.expiring",
            Self::DeviceDeleted => "device.deleted",
            Self::PushOpened => "push.opened",
            Self::PushAccepted => "push.accepted",
            Self::PushClosed => "push.closed",
            Self::CampaignStarted => "campaign.started",
            Self::CampaignPaused => "campaign.paused",
            Self::CampaignResumed => "campaign.resumed",
            Self::CampaignGateFailed => "campaign.gate_failed",
            Self::CampaignCancelled => "campaign.cancelled",
            Self::CampaignFinished => "campaign.finished",
            Self::AppThrottled => "app.throttled",
            Self::AppHeld => "app.held",
            Self::AppResumed => "app.resumed",
        }
    }
}

/// One event before the store has given it its place in the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub time: Timestamp,
    /// The device it is about, if it is about one.
    pub device: Option<DeviceId>,
    /// What there is to say, without secrets and channel URIs.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event about a device.
    #[must_use]
    pub fn of_device(kind: EventKind, time: Timestamp, device: &DeviceId) -> Self {
        let device = Some(device.clone());
        Self {
            kind,
            time,
            device,
            data: Map::new(),
        }
    }

    /// Adds one field of data.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// The event as the JSON object that the feed keeps: all but its `id`, which is its place in the feed.
    #[must_use]
    pub fn to_json(&self, tenant: &TenantId) -> Value {
        json!(Kept {
            event: self,
            tenant
        })
    }

    /// The same as text, names in the same order.
    #[must_use]
    pub fn to_json_text(&self, tenant: &TenantId) -> String {
        let kept = Kept {
            event: self,
            tenant,
        };
        serde_json::to_string(&kept).expect("texts, numbers and lists of them have a form in JSON")
    }
}

/// An event as the feed keeps it. Names are in alphabetical order, as in a [`Map`].
struct Kept<'a> {
    event: &'a Event,
    tenant: &'a TenantId,
}

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("data", &Data(self.event))?;
        map.serialize_entry("tenant", self.tenant.as_str())?;
        map.serialize_entry("time", &format_args!("{}", self.event.time))?;
        map.serialize_entry("type", self.event.kind.as_str())?;
        map.end()
    }
}

/// What there is to say, the device among it.
struct Data<'a>(&'a Event);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DEVICE: &str = "device";
        let Event { device, data, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in data.iter().filter(|(name, _)| name.as_str() < DEVICE) {
            map.serialize_entry(name, value)?;
        }
        if let Some(device) = device {
            map.serialize_entry(DEVICE, device.as_str())?;
        }
        for (name, value) in data.iter().filter(|(name, _)| name.as_str() > DEVICE) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Tells a reader that events were trimmed before it read them: it must look at the devices anew.
#[must_use]
pub fn gap(tenant: &TenantId, now: Timestamp) -> Value {
    json!({
        "type": GAP,
        "time": now.to_string(),
        "tenant": tenant,
        "data": { "resync": format!("/v1/tenants/{tenant}/devices") },
    })
}
