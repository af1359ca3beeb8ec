//! Everything the sandbox knows: its apps and devices, its tokens, its behaviour and its scripts.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

use super::{
    behaviour::Behaviour,
    channel::{Target, subject, write_token},
    clock::{Clock, Moment},
    config::{AppSpec, ConfigError, SandboxConfig},
    counters::{Shard, second_to},
    device::{Device, Flag},
    fleet::{FleetCounts, Wheel},
    gcra::Gcra,
    identity::{DEFAULT_SECRET, Identity},
    mix::{Purpose, draw},
    oauth::{TokenCounts, TokenSettings},
    script::{DeviceScripts, GlobalScript},
    tokens::TokenStore,
};
use crate::domain::id::{AppId, TenantId};

/// Digits of a device number, at least.
const NUMBER_DIGITS: usize = 7;

/// The whole state, shared by all threads.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) apps: Vec<App>,
    pub(crate) tokens: TokenStore,
    pub(crate) token_settings: ArcSwap<TokenSettings>,
    pub(crate) token_counts: TokenCounts,
    pub(crate) live: ArcSwap<Live>,
    pub(crate) script: GlobalScript,
    pub(crate) device_scripts: DeviceScripts,
    pub(crate) wheel: Wheel,
    pub(crate) fleet_counts: FleetCounts,
    pub(crate) shards: Vec<Shard>,
    pub(crate) ca_pem: Arc<str>,
    pub(crate) counted_since: AtomicU64,
    /// Notifications that were kept for a device and reached it when it came online.
    pub(crate) delivered_late: AtomicU64,
    prefix: String,
    /// `https://host:port/?token=`, in turn by device.
    channel_starts: Vec<String>,
    base_url: String,
}

/// One app and its devices.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) identity: Identity,
    /// The broker's name space that its devices check in at.
    pub(crate) tenant: TenantId,
    pub(crate) secrets: ArcSwap<Vec<String>>,
    pub(crate) devices: Vec<Device>,
    /// State of the ceiling.
    pub(crate) ceiling: AtomicU64,
    pub(crate) penalty_until: AtomicU64,
    pub(crate) penalties: AtomicU64,
    pub(crate) highest_second: AtomicU64,
}

/// The behaviour with its ceilings worked out.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) behaviour: Behaviour,
    pub(crate) app_ceiling: Option<Gcra>,
    pub(crate) channel_ceiling: Option<Gcra>,
}

impl Live {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            app_ceiling: behaviour
                .app_ceiling
                .as_ref()
                .map(super::behaviour::AppCeiling::gcra),
            channel_ceiling: behaviour
                .channel_ceiling
                .map(super::behaviour::ChannelCeiling::gcra),
            behaviour,
        }
    }
}

impl App {
    fn new(seed: u64, index: u16, spec: &AppSpec, devices: u32) -> Result<Self, ConfigError> {
        let secrets = if spec.secrets.is_empty() {
            vec![DEFAULT_SECRET.to_owned()]
        } else {
            spec.secrets.clone()
        };
        Ok(Self {
            id: spec.id.clone(),
            identity: Identity::new(seed, index, spec)?,
            tenant: match &spec.tenant {
                Some(tenant) => tenant.clone(),
                None => TenantId::new(spec.id.as_str())?,
            },
            secrets: ArcSwap::from_pointee(secrets),
            devices: (0..spec.devices.unwrap_or(devices))
                .map(|_| Device::default())
                .collect(),
            ceiling: AtomicU64::new(0),
            penalty_until: AtomicU64::new(0),
            penalties: AtomicU64::new(0),
            highest_second: AtomicU64::new(0),
        })
    }

    /// The end of the penalty that is running, if one is.
    pub(crate) fn penalty(&self, now: Moment) -> Option<Moment> {
        Some(Moment(self.penalty_until.load(Relaxed))).filter(|until| *until > now)
    }

    /// Starts a penalty; returns its end, which an earlier caller may have set.
    pub(crate) fn punish(&self, now: Moment, until: Moment) -> Moment {
        let before = self.penalty_until.fetch_max(until.0, Relaxed);
        if before <= now.0 {
            self.penalties.fetch_add(1, Relaxed);
        }
        Moment(before.max(until.0))
    }
}

impl World {
    /// Builds the world for a sandbox that is reached at `port`.
    pub(crate) fn new(
        config: &SandboxConfig,
        port: u16,
        ca_pem: String,
    ) -> Result<Self, ConfigError> {
        let clock = Clock::start();
        let specs = config.proven_apps()?;
        let mut apps = Vec::with_capacity(specs.len());
        for (index, spec) in (0..).zip(&specs) {
            apps.push(App::new(config.seed, index, spec, config.devices)?);
        }
        refuse_twins(&apps)?;
        let run = clock.wall(Moment(0)).as_nanosecond() as u64;
        let own_host = format!("localhost:{port}");
        let hosts = if config.channel_hosts.is_empty() {
            std::slice::from_ref(&own_host)
        } else {
            &config.channel_hosts
        };
        Ok(Self {
            seed: config.seed,
            tokens: TokenStore::new(config.seed ^ run),
            token_settings: ArcSwap::from_pointee(config.tokens.clone()),
            token_counts: TokenCounts::default(),
            live: ArcSwap::from_pointee(Live::new(config.behaviour.clone())),
            script: GlobalScript::default(),
            device_scripts: DeviceScripts::default(),
            wheel: Wheel::default(),
            fleet_counts: FleetCounts::default(),
            shards: (0..config.threads)
                .map(|_| Shard::new(apps.len()))
                .collect(),
            ca_pem: ca_pem.into(),
            counted_since: AtomicU64::new(clock.now().0),
            delivered_late: AtomicU64::new(0),
            prefix: config.device_prefix.clone(),
            channel_starts: hosts
                .iter()
                .map(|host| format!("https://{host}/?token="))
                .collect(),
            base_url: format!("https://{own_host}"),
            clock,
            apps,
        })
    }

    /// The URL of the sandbox itself, without a path.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The index of an app by its id; the first app if no id is given.
    pub(crate) fn find_app(&self, id: Option<&str>) -> Option<u16> {
        let Some(id) = id else {
            return Some(0);
        };
        let index = self.apps.iter().position(|app| app.id.as_str() == id)?;
        u16::try_from(index).ok()
    }

    pub(crate) fn app(&self, index: u16) -> &App {
        &self.apps[usize::from(index)]
    }

    /// The device behind a target, if there is one.
    pub(crate) fn device(&self, target: Target) -> Option<&Device> {
        self.apps
            .get(usize::from(target.app))?
            .devices
            .get(target.device as usize)
    }

    /// Writes the id of a device: the prefix, then its number, which begins at 1.
    pub(crate) fn write_device_id(&self, device: u32, out: &mut String) {
        write!(
            out,
            "{}{:0width$}",
            self.prefix,
            u64::from(device) + 1,
            width = NUMBER_DIGITS
        )
        .expect("writing to a string cannot fail");
    }

    /// The index of a device by its id, if the app has so many.
    pub(crate) fn find_device(&self, app: u16, id: &str) -> Option<u32> {
        let number = id.strip_prefix(self.prefix.as_str())?;
        let index = number.parse::<u32>().ok()?.checked_sub(1)?;
        let mut canonical = String::new();
        self.write_device_id(index, &mut canonical);
        (canonical == id && (index as usize) < self.app(app).devices.len()).then_some(index)
    }

    /// Writes the URI of a channel.
    pub(crate) fn write_channel(&self, target: Target, out: &mut Vec<u8>) {
        let start = &self.channel_starts[target.device as usize % self.channel_starts.len()];
        out.extend_from_slice(start.as_bytes());
        write_token(self.seed, target, out);
    }

    /// Whether a device is offline now.
    pub(crate) fn is_offline(
        &self,
        target: Target,
        device: &Device,
        behaviour: &Behaviour,
    ) -> bool {
        if device.has(Flag::Online) {
            return false;
        }
        device.has(Flag::Offline)
            || behaviour
                .offline
                .hits(self.draw(Purpose::Offline, target, 0))
    }

    /// Whether a channel is dead, by its device's share or because it was declared so.
    pub(crate) fn is_dead(&self, target: Target, device: &Device, behaviour: &Behaviour) -> bool {
        device.is_killed(target.generation)
            || (target.generation == 1 && behaviour.dead.hits(self.draw(Purpose::Dead, target, 0)))
    }

    /// The draw for a device.
    pub(crate) fn draw(&self, purpose: Purpose, target: Target, count: u64) -> u64 {
        draw(
            self.seed,
            purpose,
            subject(target.app, target.device),
            count,
        )
    }

    /// Counts a request to an app.
    pub(crate) fn count_request(&self, shard: usize, app: u16, now: Moment) {
        let counters = self.shards[shard].app(app);
        counters.requests.fetch_add(1, Relaxed);
        counters.rate.record(now, |complete| {
            let second = second_to(&self.shards, app, complete);
            self.app(app).highest_second.fetch_max(second, Relaxed);
        });
    }

    /// Puts every device back into the state it began with; counts and behaviour stay.
    pub(crate) fn reset_devices(&self) {
        for app in &self.apps {
            app.devices.iter().for_each(Device::reset_state);
            app.ceiling.store(0, Relaxed);
            app.penalty_until.store(0, Relaxed);
        }
        self.device_scripts.clear();
        self.script.clear();
    }
}

fn refuse_twins(apps: &[App]) -> Result<(), ConfigError> {
    for (index, app) in apps.iter().enumerate() {
        for other in &apps[index + 1..] {
            let twins = [
                ("id", app.id.as_str(), other.id.as_str()),
                (
                    "package SID",
                    &app.identity.package_sid,
                    &other.identity.package_sid,
                ),
                (
                    "Entra client",
                    &app.identity.entra_client,
                    &other.identity.entra_client,
                ),
            ];
            if let Some((what, value, _)) = twins
                .into_iter()
                .find(|(_, one, other)| one.eq_ignore_ascii_case(other))
            {
                return Err(ConfigError::Twice {
                    what,
                    value: value.to_owned(),
                });
            }
        }
    }
    Ok(())
}
