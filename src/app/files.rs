//! How many files the process may open, and how many of them callers may take: when callers hold them all, nothing reaches
//! WNS and the store cannot begin a new file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{config::Config, telemetry::Telemetry};

/// Files beside connections: those of the store, of tokens, webhooks and logs.
const BESIDE: u64 = 256;

/// Most connections that callers may have, together on all listeners. Raises the process's limit as far as it may, and warns
/// if that is too little for what the configuration wants.
pub(super) fn connections_max(config: &Config, telemetry: &Telemetry) -> usize {
    let wanted = u64::from(config.server.connections_max);
    let Some(files) = raise() else {
        return config.server.connections_max as usize;
    };
    let dispatchers = super::settings::dispatchers(config);
    let own = u64::from(config.limits.in_flight_max) * dispatchers as u64 + BESIDE;
    let most = for_callers(files, own);
    if most < wanted {
        telemetry.advised(&format!(
            "server.connections_max is {wanted}, but the process may open {files} files: {most} connections are taken; \
             raise the limit (LimitNOFILE of systemd, ulimit -Hn of a shell)"
        ));
    }
    usize::try_from(most.min(wanted)).unwrap_or(usize::MAX)
}

/// What is left for callers: all but what the broker needs itself, which is never more than half.
fn for_callers(files: u64, own: u64) -> u64 {
    files - own.min(files / 2)
}

/// Raises the soft limit to the hard one and gives it; none without a limit.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Some systems refuse what they offer; then it stays as it is.
    setrlimit(Resource::Nofile, raised).ok();
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_never_take_the_files_that_the_broker_needs_itself() {
        assert_eq!(for_callers(20_000, 2_304), 17_696);
        assert_eq!(for_callers(1_024, 2_304), 512, "half at least");
        assert_eq!(for_callers(1, 2_304), 1);
    }

    #[test]
    fn the_limit_of_the_process_is_raised_as_far_as_it_may_be() {
        let before = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: before.maximum.map(|most| most - 1),
            ..before
        };
        setrlimit(Resource::Nofile, lowered).unwrap();

        assert_eq!(raise(), before.maximum);
    }
}
