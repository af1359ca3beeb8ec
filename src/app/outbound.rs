//! The ways out: HTTP clients for WNS, and where each app's tokens come from.

use std::sync::Arc;

use secrecy::SecretString;

use super::StartError;
use crate::{
    actors::{AppSettings, AppSource},
    adapters::wns::{HttpClients, HttpConfig, Proxy, token_source::HttpTokenSource},
    config::{App, Config, Identity, Secret},
    domain::{pace::PaceBounds, schedule::Backoff, wns::token::TokenRequest},
    ports::clock::Clock,
};

/// Clients as the configuration wants them.
pub(super) struct Outbound {
    pub(super) clients: HttpClients,
    clock: Arc<dyn Clock>,
}

impl Outbound {
    /// Reads the extra certificate authority and loads what there is to trust.
    pub(super) fn new(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        let wns = &config.wns;
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|source| StartError::File {
                path: path.clone(),
                source,
            })
        };
        let http = HttpConfig {
            connect_timeout: wns.connect_timeout,
            request_timeout: wns.request_timeout,
            idle_timeout: wns.idle_timeout,
            http2: wns.http2,
            proxy: wns.proxy.as_ref().map(|proxy| Proxy {
                url: proxy.url.expose().clone(),
                except: proxy.except.clone(),
            }),
            extra_ca: wns.ca_file.as_ref().map(read).transpose()?,
        };
        Ok(Self {
            clients: HttpClients::new(http)?,
            clock: clock.clone(),
        })
    }

    /// The apps with where their tokens come from.
    pub(super) fn sources(&self, config: &Config) -> Result<Vec<AppSource>, StartError> {
        config
            .apps
            .iter()
            .map(|app| self.source(app, config))
            .collect()
    }

    fn source(&self, app: &App, config: &Config) -> Result<AppSource, StartError> {
        let signed = |duration| {
            jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
        };
        let probing = Backoff::new(
            signed(config.retry.hold_first),
            signed(config.retry.hold_max),
        );
        let settings = AppSettings {
            id: app.id.clone(),
            pace: PaceBounds {
                start: f64::from(app.pace.start_per_second),
                floor: f64::from(app.pace.floor_per_second),
                ceiling: f64::from(app.pace.ceiling_per_second),
            },
            probing: probing.map_err(|error| StartError::Config(error.to_string()))?,
        };
        Ok(AppSource {
            settings,
            tokens: Arc::new(self.token_source(app)?),
        })
    }

    /// Where the tokens of `app` come from. Secrets in files are read anew for each fetch.
    pub(super) fn token_source(&self, app: &App) -> Result<HttpTokenSource, StartError> {
        let app = app.clone();
        // Proven now, so that an Entra tenant that is no tenant is found at the start.
        requests(&app)?;
        let fetch = move || requests(&app).unwrap_or_default();
        Ok(HttpTokenSource::new(
            &self.clients,
            Arc::new(fetch),
            self.clock.clone(),
        )?)
    }
}

fn requests(app: &App) -> Result<Vec<TokenRequest>, StartError> {
    let secrets = [Some(&app.secrets.current), app.secrets.next.as_ref()];
    let request = |secret: &Secret| {
        // A file that is being replaced may be gone for a moment: what was read last is tried then.
        let fresh = secret.reread().unwrap_or_else(|_| secret.clone());
        request(app, &SecretString::from(fresh.expose().to_owned()))
    };
    secrets.into_iter().flatten().map(request).collect()
}

fn request(app: &App, secret: &SecretString) -> Result<TokenRequest, StartError> {
    let request = match &app.identity {
        Identity::Classic { package_sid } => TokenRequest::classic(package_sid, secret),
        Identity::Entra {
            tenant_id,
            client_id,
            ..
        } => TokenRequest::entra(tenant_id, client_id, secret)
            .map_err(|error| StartError::Config(format!("app {}: {error}", app.id)))?,
    };
    Ok(request.at(app.token_url.as_str()))
}
