//! What the broker tells consoles: typed events, written to the feed in the commit that makes them true.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::id::{DeviceId, TenantId};

/// The type of [`gap`], which is in no feed.
pub const GAP: &str = "feed.gap";
/// Room for the data of most events.
const DATA_BYTES: usize = 256;

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
    /// A push opened; see [`EventKind::is_verbose`].
    PushOpened,
    /// WNS accepted a notification; see [`EventKind::is_verbose`].
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

    /// Whether the feed has it only where the configuration asks for it (`store.events_verbose`): there are as many as pushes.
    #[must_use]
    pub fn is_verbose(self) -> bool {
        matches!(self, Self::PushOpened | Self::PushAccepted)
    }

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
    /// What there is to say.
    pub data: EventData,
}

/// What an event has to say beside the device, without secrets and channel URIs: the members of a JSON object in the order in which they were
/// added. Kept as text, since an event is made for every push and read again by nobody in this process.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EventData(Vec<u8>);

impl EventData {
    /// Takes the text of a JSON object that was [kept](EventData::to_object_text) before; none if it has no braces.
    #[must_use]
    pub fn from_object_text(text: &str) -> Option<Self> {
        let members = text.strip_prefix('{')?.strip_suffix('}')?;
        Some(Self(members.as_bytes().to_vec()))
    }

    /// The text of the JSON object.
    #[must_use]
    pub fn to_object_text(&self) -> String {
        format!("{{{}}}", self.members())
    }

    fn members(&self) -> &str {
        std::str::from_utf8(&self.0).expect("JSON is text")
    }

    fn add(&mut self, name: &str, value: &impl Serialize) {
        const JSON: &str = "texts, numbers and lists of them have a form in JSON";
        match self.0.is_empty() {
            true => self.0.reserve(DATA_BYTES),
            false => self.0.push(b','),
        }
        serde_json::to_writer(&mut self.0, name).expect(JSON);
        self.0.push(b':');
        serde_json::to_writer(&mut self.0, value).expect(JSON);
    }
}

impl fmt::Debug for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_object_text())
    }
}

impl Event {
    /// An event about no device.
    #[must_use]
    pub fn new(kind: EventKind, time: Timestamp) -> Self {
        Self {
            kind,
            time,
            device: None,
            data: EventData::default(),
        }
    }

    /// An event about a device.
    #[must_use]
    pub fn of_device(kind: EventKind, time: Timestamp, device: &DeviceId) -> Self {
        let device = Some(device.clone());
        Self {
            device,
            ..Self::new(kind, time)
        }
    }

    /// Adds one member of data; each name once, and never `device`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.data.add(name, &value);
        self
    }

    /// Adds all of `data`.
    #[must_use]
    pub fn with_all(self, data: &Map<String, Value>) -> Self {
        data.iter()
            .fold(self, |event, (name, value)| event.with(name, value))
    }

    /// The text of the JSON object that the feed keeps: all but the event's `id`, which is its place in the feed.
    #[must_use]
    pub fn to_json_text(&self, tenant: &TenantId) -> String {
        let about = About {
            kind: self.kind.as_str(),
            time: self.time,
            device: self.device.as_ref().map(DeviceId::as_str),
            tenant,
        };
        about.to_json_text(&self.data)
    }
}

/// All of an event but its data; its type may be one that only a newer broker knows.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The type.
    pub kind: &'a str,
    /// When.
    pub time: Timestamp,
    /// The device, if it is about one.
    pub device: Option<&'a str>,
    /// Whose feed.
    pub tenant: &'a TenantId,
}

impl About<'_> {
    /// See [`Event::to_json_text`].
    #[must_use]
    pub fn to_json_text(&self, data: &EventData) -> String {
        // Types, times and tenants have no characters that JSON escapes.
        let members = data.members();
        let mut text = String::with_capacity(members.len() + 192);
        text.push_str("{\"type\":\"");
        text.push_str(self.kind);
        text.push_str("\",\"time\":\"");
        write!(text, "{}", self.time).expect("a string takes everything");
        text.push_str("\",\"tenant\":\"");
        text.push_str(self.tenant.as_str());
        text.push_str("\",\"data\":{");
        if let Some(device) = self.device {
            let device = serde_json::to_string(device).expect("a text has a form in JSON");
            text.push_str("\"device\":");
            text.push_str(&device);
            text.push_str(if members.is_empty() { "" } else { "," });
        }
        text.push_str(members);
        text.push_str("}}");
        text
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
