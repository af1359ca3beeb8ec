//! The stage of the demo: a sandbox with a troubled fleet, and a broker on a fresh store.

use std::time::Duration;

use secrecy::SecretString;

use super::{DemoError, TENANT};
use crate::{
    app::Broker,
    config::{Config, Environment},
    sandbox::{
        AppSpec, Behaviour, CheckIns, Delay, FleetConfig, Period, Sandbox, SandboxConfig, Share,
    },
};

/// What is wrong with the fleet, in words.
pub(super) const TROUBLES: &str =
    "10% offline, 3% with dead channels, 4% throttled, 3% asleep, 2% that never answer";
/// The variable that the demo's configuration names for the secret.
const SECRET_VARIABLE: &str = "REVEILLE_DEMO_SECRET";
/// The fleet is sent through in about this time, whatever its size.
const SEND_SECONDS: u32 = 5;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    broker: Broker,
    // Removed when dropped.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts a sandbox and a broker.
    pub(super) async fn set(devices: u32) -> Result<Self, DemoError> {
        let folder = tempfile::tempdir()?;
        let api = free_address()?;
        let sandbox = Sandbox::start(&sandbox_config(devices, &format!("http://{api}")))?;
        let ca = folder.path().join("sandbox-ca.pem");
        std::fs::write(&ca, sandbox.ca_pem())?;
        let login = sandbox.credentials(TENANT).ok_or_else(|| {
            DemoError::Api("the sandbox has no credentials for the demo's app".to_owned())
        })?;
        let pace = (devices / SEND_SECONDS).clamp(100, 100_000);
        let text = format!(
            r#"
server.listen = "{api}"
store.path = "{store}"
wns.sandbox_hosts = ["{host}"]
wns.ca_file = "{ca}"
log.level = "error"
limits.channel_interval = "1s"
limits.channel_interval_urgent = "1s"
retry.dropped_first = "2s"
retry.dropped_max = "8s"

[[apps]]
id = "{TENANT}"
pfn = "{pfn}"
package_sid = "{sid}"
secret_env = "{SECRET_VARIABLE}"
token_url = "{token_url}"
pace.start_per_second = {pace}
pace.ceiling_per_second = {pace}
"#,
            store = folder.path().join("store").display(),
            host = sandbox.host(),
            ca = ca.display(),
            pfn = login.pfn,
            sid = login.package_sid,
            token_url = login.token_url,
        );
        let secret = login.secrets.into_iter().next().unwrap_or_default();
        let environment = [(SECRET_VARIABLE, secret)]
            .into_iter()
            .collect::<Environment>();
        let mut config = Config::parse(&text, "the demo's configuration", &environment)?;
        // Shorter than an operator may choose, so that the demo ends while somebody watches.
        config.retry.repush = vec![Duration::from_secs(15)];
        let broker = Broker::start(config).await?;
        Ok(Self {
            sandbox,
            broker,
            _folder: folder,
        })
    }

    /// The broker's address, as a console needs it.
    pub(super) fn api(&self) -> String {
        format!("http://{}", self.broker.address())
    }

    /// Stops the broker in order.
    pub(super) async fn clear(self) {
        self.broker.drain().await;
    }
}

fn free_address() -> Result<std::net::SocketAddr, std::io::Error> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn sandbox_config(devices: u32, broker: &str) -> SandboxConfig {
    let share = |ratio| Share::ratio(ratio);
    let reply = |text: &str| text.parse().expect("the demo's replies are well formed");
    let ms = Duration::from_millis;
    let behaviour = Behaviour {
        latency: Delay::between(ms(5), ms(40)),
        replies: vec![
            reply("channelthrottled:continue-after=3=4%"),
            reply("dropped=3%"),
        ],
        offline: share(0.10),
        offline_for: Some(Delay::between(ms(2_000), ms(8_000))),
        dead: share(0.03),
        check_in: CheckIns {
            delay: Delay::between(ms(200), ms(2_000)),
            never: share(0.02),
            renew: Share::NONE,
            poll: Some(Period(ms(5_000))),
        },
        ..Behaviour::default()
    };
    SandboxConfig {
        devices,
        behaviour,
        apps: AppSpec::new(TENANT).into_iter().collect(),
        fleet: Some(FleetConfig {
            url: broker.to_owned(),
            key: None::<SecretString>,
        }),
        ..SandboxConfig::default()
    }
}
