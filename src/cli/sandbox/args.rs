//! The options of `reveille sandbox`, and the configuration that they describe.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::SandboxCommandError;
use crate::{
    domain::id::TenantId,
    sandbox::{
        AppCeiling, AppSpec, Behaviour, ChannelCeiling, CheckIns, Delay, ExpiresIn, FleetConfig,
        Period, Protocols, ReplyShare, RetryAfter, SandboxConfig, Share, StatusHeaders, TokenMode,
        TokenSettings,
    },
};

/// A WNS to test a client against: token endpoints, channels, every documented reply, and a fleet behind them.
///
/// Shares are written as 10% or 0.1, times as 20ms, 15m or 1h30m, delays as a time or a range such as 200ms..2s. What is
/// set here can be changed while it runs, by the control API under /sandbox/v1 on the same address.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// Where to listen; port 0 lets the system choose
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9443",
        help_heading = "Server"
    )]
    pub listen: SocketAddr,
    /// Where to write the certificate of the sandbox's own authority
    #[arg(
        long,
        value_name = "FILE",
        default_value = "sandbox-ca.pem",
        help_heading = "Server"
    )]
    pub ca_file: PathBuf,
    /// Keep the authority's key here, so that whoever trusts the authority does so after a restart [default: new at each start]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ca_key_file: Option<PathBuf>,
    /// Name that the certificate is valid for, beside localhost, 127.0.0.1, ::1 and the channel hosts; may be repeated
    #[arg(long = "name", value_name = "NAME", help_heading = "Server")]
    pub names: Vec<String>,
    /// Host and port in channel URIs [default: localhost and the port]; if repeated, devices take turns
    #[arg(
        long = "channel-host",
        value_name = "HOST:PORT",
        help_heading = "Server"
    )]
    pub channel_hosts: Vec<String>,
    /// HTTP versions offered to clients
    #[arg(long, default_value = "both", value_parser = protocols(), help_heading = "Server")]
    pub protocols: Protocols,
    /// Streams that a client may have open on one HTTP/2 connection
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 250,
        help_heading = "Server"
    )]
    pub http2_streams: u32,
    /// Threads that serve
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        help_heading = "Server"
    )]
    pub threads: usize,
    /// Close connections that had no request for so long [default: never]
    #[arg(long, value_name = "TIME", help_heading = "Server")]
    pub idle_timeout: Option<Period>,

    /// An app: its id, or id=…,pfn=…,sid=…,secret=…,devices=…,tenant=…,entra-tenant=…,entra-client=… of which only the id
    /// is needed and secret may be repeated [default: contoso]; may be repeated
    #[arg(long = "app", value_name = "APP", help_heading = "Apps and devices")]
    pub apps: Vec<AppSpec>,
    /// Devices of each app that does not say
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1000,
        help_heading = "Apps and devices"
    )]
    pub devices: u32,
    /// What device ids begin with
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "device-",
        help_heading = "Apps and devices"
    )]
    pub device_prefix: String,
    /// Decides every chance: the same seed gives the same channels and the same replies
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        help_heading = "Apps and devices"
    )]
    pub seed: u64,

    #[command(flatten)]
    replies: ReplyArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    check_ins: CheckInArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Replies")]
struct ReplyArgs {
    /// Time before each reply to a notification
    #[arg(long, value_name = "DELAY", default_value = "0s")]
    latency: Delay,
    /// Share of devices that are offline
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    offline: Share,
    /// An offline device returns so long after a notification was kept for it [default: never]
    #[arg(long, value_name = "DELAY")]
    offline_for: Option<Delay>,
    /// Share of devices whose channel is dead: half of them answer 410, half 404
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    dead: Share,
    /// Share of notifications answered 200 channelthrottled
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    throttled: Share,
    /// Share of notifications answered 200 dropped
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    dropped: Share,
    /// A reply and the share of notifications that get it, such as 503:retry-after=2=1%, reset=0.1% or slow:2s=5%; may be
    /// repeated. Replies: default, slow:DELAY, received, dropped, channelthrottled, appthrottled, revoked, blocked,
    /// no-status, unknown-status, redirect, reset, timeout, html, or a status code
    #[arg(long = "reply", value_name = "REPLY=SHARE")]
    replies: Vec<ReplyShare>,
    /// Spelling of the status header
    #[arg(long, default_value = "both", value_parser = one_of::<StatusHeaders>(&["both", "status", "notification-status", "none"]))]
    status_headers: StatusHeaders,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ceilings")]
struct LimitArgs {
    /// Requests per second that one app may send [default: no ceiling]
    #[arg(long, value_name = "PER_SECOND")]
    app_ceiling: Option<f64>,
    /// Requests of an app that may come at once [default: a tenth of a second's worth]
    #[arg(long, value_name = "NUMBER", requires = "app_ceiling")]
    app_burst: Option<u32>,
    /// How long every request of an app is refused after the first excess
    #[arg(long, value_name = "TIME", default_value = "15m")]
    penalty: Period,
    /// Status code of that refusal
    #[arg(long, default_value = "406", value_parser = PossibleValuesParser::new(["406", "429"]).try_map(|code| code.parse::<u16>()))]
    penalty_status: u16,
    /// Retry-After of that refusal: remaining, date, absent or a number of seconds
    #[arg(long, value_name = "WHAT", default_value = "remaining")]
    retry_after: RetryAfter,
    /// Notifications that one channel takes within a time, such as 1/30s; others are answered channelthrottled
    /// [default: no ceiling]
    #[arg(long, value_name = "NUMBER/TIME")]
    channel_ceiling: Option<ChannelCeiling>,
    /// X-WNS-CONTINUE-AFTER sent with channelthrottled [default: not sent]
    #[arg(long, value_name = "TIME")]
    continue_after: Option<Period>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
struct TokenArgs {
    /// How long an access token is valid
    #[arg(long, value_name = "TIME", default_value = "24h")]
    token_lifetime: Period,
    /// How expires_in is sent: as documented, a number from the classic endpoint and a string from Entra
    #[arg(long, default_value = "documented", value_parser = one_of::<ExpiresIn>(&["documented", "number", "string", "absent"]))]
    expires_in: ExpiresIn,
    /// How the token endpoints answer
    #[arg(long, default_value = "normal", value_parser = one_of::<TokenMode>(&["normal", "no-longer-supported", "unauthorized-client", "unavailable", "html", "too-many-requests", "timeout", "reset"]))]
    token_mode: TokenMode,
    /// Time before each reply of a token endpoint
    #[arg(long, value_name = "DELAY", default_value = "0s")]
    token_latency: Delay,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Check-ins")]
struct CheckInArgs {
    /// The broker's API at which woken devices check in, such as http://127.0.0.1:8470 [default: nowhere]
    #[arg(long, value_name = "URL")]
    check_in_url: Option<String>,
    /// Tenant that devices check in for [default: the id of their app]
    #[arg(long, value_name = "TENANT", requires = "check_in_url")]
    check_in_tenant: Option<TenantId>,
    /// Environment variable that holds the key for the broker's API [default: no key]
    #[arg(long, value_name = "VARIABLE", requires = "check_in_url")]
    check_in_key_env: Option<String>,
    /// Time from a notification to the session that it starts
    #[arg(long, value_name = "DELAY", default_value = "200ms..2s")]
    check_in_delay: Delay,
    /// Share of devices that never begin a session
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    never_check_in: Share,
    /// Share of sessions that report a new channel URI
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    renew: Share,
    /// Within this time after a notification met a dead channel, its device gets a new one and reports it [default: never]
    #[arg(long, value_name = "TIME")]
    poll: Option<Period>,
}

impl SandboxArgs {
    /// The configuration that the options describe.
    ///
    /// # Errors
    /// [`SandboxCommandError`] when the variable with the broker's key is not set.
    pub fn into_config(self) -> Result<SandboxConfig, SandboxCommandError> {
        let behaviour = behaviour(&self);
        let fleet = self.check_ins.fleet()?;
        let mut apps = self.apps;
        if apps.is_empty() {
            apps.push(AppSpec::new("contoso")?);
        }
        for app in &mut apps {
            app.tenant = app
                .tenant
                .take()
                .or_else(|| self.check_ins.check_in_tenant.clone());
        }
        Ok(SandboxConfig {
            listen: self.listen,
            extra_names: self.names,
            channel_hosts: self.channel_hosts,
            ca_file: Some(self.ca_file),
            ca_key_file: self.ca_key_file,
            protocols: self.protocols,
            http2_streams_max: self.http2_streams,
            threads: self.threads,
            idle_timeout: self.idle_timeout.map(|period| period.0),
            apps,
            devices: self.devices,
            device_prefix: self.device_prefix,
            seed: self.seed,
            tokens: TokenSettings {
                lifetime: self.tokens.token_lifetime,
                expires_in: self.tokens.expires_in,
                mode: self.tokens.token_mode,
                latency: self.tokens.token_latency,
            },
            behaviour,
            fleet,
        })
    }
}

impl CheckInArgs {
    fn fleet(&self) -> Result<Option<FleetConfig>, SandboxCommandError> {
        let Some(url) = self.check_in_url.clone() else {
            return Ok(None);
        };
        let key = match &self.check_in_key_env {
            Some(name) => {
                let unset = |_| SandboxCommandError::KeyUnset { name: name.clone() };
                Some(SecretString::from(std::env::var(name).map_err(unset)?))
            }
            None => None,
        };
        Ok(Some(FleetConfig { url, key }))
    }
}

fn behaviour(args: &SandboxArgs) -> Behaviour {
    let (given, limits, check_ins) = (&args.replies, &args.limits, &args.check_ins);
    let mut replies = given.replies.clone();
    for (reply, share) in [
        ("channelthrottled", given.throttled),
        ("dropped", given.dropped),
    ] {
        if share > Share::NONE {
            let reply = reply.parse().expect("these are names of replies");
            replies.push(ReplyShare { share, reply });
        }
    }
    Behaviour {
        latency: given.latency,
        replies,
        offline: given.offline,
        offline_for: given.offline_for,
        dead: given.dead,
        app_ceiling: limits.app_ceiling.map(|per_second| AppCeiling {
            per_second,
            burst: limits.app_burst,
            penalty: limits.penalty,
            status: limits.penalty_status,
            retry_after: limits.retry_after,
        }),
        channel_ceiling: limits.channel_ceiling,
        continue_after: limits.continue_after,
        status_headers: given.status_headers,
        check_in: CheckIns {
            delay: check_ins.check_in_delay,
            never: check_ins.never_check_in,
            renew: check_ins.renew,
            poll: check_ins.poll,
        },
    }
}

/// Reads one of some words into a type that serde reads from them.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value(serde_json::Value::String(word)))
}

fn protocols() -> impl TypedValueParser<Value = Protocols> {
    PossibleValuesParser::new(["both", "http1", "http2"]).map(|word| match word.as_str() {
        "http1" => Protocols::Http1,
        "http2" => Protocols::Http2,
        _ => Protocols::Both,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SandboxArgs,
    }

    fn config(line: &str) -> Result<SandboxConfig, String> {
        let words = std::iter::once("sandbox").chain(line.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        command
            .args
            .into_config()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_behaviour() {
        let config = config(
            "--devices 7 --latency 20ms --offline 10% --dead 2% --throttled 1% --reply 503:retry-after=2=0.5% \
             --app-ceiling 900 --penalty 1m --penalty-status 429 --retry-after date --channel-ceiling 1/30s \
             --check-in-url http://127.0.0.1:1 --check-in-tenant t --expires-in absent --app a --app id=b,tenant=u",
        )
        .unwrap();
        let ceiling = config.behaviour.app_ceiling.unwrap();
        assert_eq!(
            (ceiling.status, ceiling.retry_after),
            (429, RetryAfter::Date)
        );
        assert_eq!(config.behaviour.replies.len(), 2);
        let tenants: Vec<_> = config
            .apps
            .iter()
            .map(|app| app.tenant.as_ref().unwrap().as_str())
            .collect();
        assert_eq!(tenants, ["t", "u"]);
        assert_eq!(config.tokens.expires_in, ExpiresIn::Absent);
        assert!(config.fleet.unwrap().key.is_none());
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for line in [
            "--offline 200%",
            "--reply 503",
            "--penalty-status 500",
            "--token-mode broken",
            "--check-in-tenant t",
            "--app a,colour=red",
            "--check-in-url http://x --check-in-key-env REVEILLE_SANDBOX_TEST_UNSET",
        ] {
            assert!(config(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_help_names_every_option() {
        let mut command = <Command as clap::CommandFactory>::command().term_width(100);
        insta::assert_snapshot!(command.render_long_help());
    }
}
