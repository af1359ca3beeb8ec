//! Waits until replicas have what was committed; one `WAIT` serves all that wait.
//!
//! `WAIT` covers everything that its connection has written so far, and blocks that connection until it is answered. So a
//! commit that has been applied joins the next `WAIT`, not the one under way.
//!
//! Once there were too few, the server is asked before each `WAIT` whether there are enough now. While there are not, it looks
//! only at what has been acknowledged by then, so that calls fail at once instead of one after the other in their full time.

use std::{sync::Arc, time::Duration};

use redis::RedisResult;
use tokio::sync::Mutex;

use super::{errors::unavailable, link::Wire};
use crate::ports::error::StoreError;

/// Part of the call's time that replicas get to answer.
const SHARE_OF_TIMEOUT: u32 = 2;
/// Time in ms that they get while too few seem to be there. None would be for ever.
const NO_PATIENCE: u64 = 1;
/// Seconds since a replica was last heard of after which it is not waited for; one that is well is heard of every second.
const LAG_MAX: u64 = 2;

#[derive(Clone, Copy, Default)]
struct Round {
    /// Rounds begun.
    begun: u64,
    /// The last round that ended, the connection it was about, and how many replicas had everything by then.
    ended: (u64, u64, u64),
    /// Whether there were too few in it.
    doubtful: bool,
}

/// The rounds of one server.
#[derive(Default)]
pub(super) struct Replicas {
    round: std::sync::Mutex<Round>,
    turn: Arc<Mutex<()>>,
}

impl Replicas {
    /// Returns when `needed` replicas have all that was answered on this connection before the call.
    pub(super) async fn wait(
        &self,
        wire: &Wire,
        needed: u32,
        timeout: Duration,
    ) -> Result<(), StoreError> {
        let mine = self.round().begun + 1;
        let _turn = self.turn.lock().await;
        let ended = self.round().ended;
        let acknowledged = match ended {
            (ended, number, acknowledged) if ended >= mine && number == wire.number() => {
                acknowledged
            }
            _ => self.run_round(wire, needed, timeout).await?,
        };
        if acknowledged >= u64::from(needed) {
            return Ok(());
        }
        Err(unavailable(format!(
            "applied, but only {acknowledged} of {needed} replicas have it"
        )))
    }

    async fn run_round(
        &self,
        wire: &Wire,
        needed: u32,
        timeout: Duration,
    ) -> Result<u64, StoreError> {
        let number = {
            let mut round = self.round();
            round.begun += 1;
            round.begun
        };
        let mut connection = wire.connection.clone();
        let mut patience =
            u64::try_from((timeout / SHARE_OF_TIMEOUT).as_millis()).unwrap_or(u64::MAX);
        if self.round().doubtful {
            let mut command = redis::cmd("INFO");
            command.arg("replication");
            // Where the question is forbidden there is nothing but to wait.
            let told: RedisResult<String> = command.query_async(&mut connection).await;
            let there = told.ok().and_then(|info| followers(&info));
            if there.is_some_and(|there| there < needed) {
                patience = NO_PATIENCE;
            }
        }
        let mut command = redis::cmd("WAIT");
        command.arg(needed).arg(patience);
        let answer: RedisResult<u64> = command.query_async(&mut connection).await;
        let acknowledged =
            answer.map_err(|_| unavailable("applied, but the replicas could not be asked"))?;
        let mut round = self.round();
        round.ended = (number, wire.number(), acknowledged);
        round.doubtful = acknowledged < u64::from(needed);
        Ok(acknowledged)
    }

    fn round(&self) -> std::sync::MutexGuard<'_, Round> {
        self.round
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How many replicas follow a server by its own account; nothing if it does not tell.
fn followers(info: &str) -> Option<u32> {
    let fields = || info.lines().filter_map(|line| line.split_once(':'));
    let (_, known) = fields().find(|(name, _)| *name == "connected_slaves")?;
    let known: u32 = known.trim().parse().ok()?;
    let numbered = (0..known).map(|n| format!("slave{n}"));
    let there = numbered.filter(|slave| {
        fields().any(|(name, line)| name == slave && is_following(line.trim(), LAG_MAX))
    });
    u32::try_from(there.count()).ok()
}

/// Whether a server says of a replica that it follows and was heard of within so many seconds.
pub(super) fn is_following(line: &str, lag_max: u64) -> bool {
    let lag = line.split(',').find_map(|part| part.strip_prefix("lag="));
    let prompt = lag.is_none_or(|lag| lag.parse().is_ok_and(|lag: u64| lag <= lag_max));
    line.contains("state=online") && prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_count_that_are_there_and_were_heard_of() {
        let line =
            |state: &str, lag: u64| format!("ip=::1,port=1,state={state},offset=7,lag={lag}");
        let info = |replicas: &[String]| {
            let lines = replicas.iter().enumerate();
            let lines: String = lines
                .map(|(n, line)| format!("slave{n}:{line}\r\n"))
                .collect();
            format!(
                "# Replication\r\nrole:master\r\nconnected_slaves:{}\r\n{lines}",
                replicas.len()
            )
        };
        assert_eq!(followers(&info(&[])), Some(0));
        let replicas = [
            line("online", 1),
            line("online", LAG_MAX + 1),
            line("send_bulk", 0),
            line("online", 0),
        ];
        assert_eq!(followers(&info(&replicas)), Some(2));
        assert_eq!(followers("# Replication\r\nrole:master\r\n"), None);
    }
}
