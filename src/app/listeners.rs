//! The addresses that the broker listens on: the message API with the console page, or each at an address of its own.
//!
//! The page calls the API that it came from, so both addresses serve the API; only one has the page.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_web::{dev::ServerHandle, web::ServiceConfig};
use futures_util::future::join_all;

use super::{StartError, settings::listening};
use crate::{api, config::Config, console};

/// Puts pages beside the API.
type Pages = fn(&mut ServiceConfig);

/// A socket that is bound and not served yet.
type Bound = (SocketAddr, TcpListener, Pages);

/// Sockets that are bound and not served yet.
pub(super) struct Listeners {
    bound: Vec<Bound>,
}

/// What serves them.
pub(super) struct Servers(Vec<ServerHandle>);

impl Listeners {
    /// Binds all addresses of the configuration.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let own = config.server.console_listen;
        let beside: Pages = if own.is_some() {
            |_| {}
        } else {
            console::configure
        };
        let mut bound = vec![bind(config.server.listen, beside)?];
        if let Some(address) = own {
            bound.push(bind(address, console::configure)?);
        }
        Ok(Self { bound })
    }

    /// The address of the message API; its port is that which the system chose, if it was left to it.
    pub(super) fn address(&self) -> SocketAddr {
        self.bound[0].0
    }

    /// Serves the API, and the page where it belongs, until stopped; all listeners share `connections_max`.
    pub(super) fn serve(
        self,
        state: &Arc<api::State>,
        config: &Config,
        connections_max: usize,
    ) -> Result<Servers, StartError> {
        let mut handles = Vec::with_capacity(self.bound.len());
        let connections_max = connections_max / self.bound.len();
        for (address, listener, pages) in self.bound {
            let server = api::server::serve(
                listener,
                Arc::clone(state),
                listening(config, connections_max),
                pages,
            )
            .map_err(|source| StartError::Listen { address, source })?;
            handles.push(server.handle());
            actix_rt::spawn(server);
        }
        Ok(Servers(handles))
    }
}

impl Servers {
    /// Stops taking requests and waits for those in work.
    pub(super) async fn stop(&self) {
        join_all(self.0.iter().map(|handle| handle.stop(true))).await;
    }
}

fn bind(address: SocketAddr, pages: Pages) -> Result<Bound, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((address, listener, pages))
}
