//! Waits until replicas have what was committed; one `WAIT` serves all that wait.
//!
//! `WAIT` covers everything that its connection has written so far, and blocks that connection until it is answered. So a
//! commit that has been applied joins the next `WAIT`, not the one under way.

use std::{sync::Arc, time::Duration};

use redis::RedisResult;
use tokio::sync::Mutex;

use super::{errors::unavailable, link::Wire};
use crate::ports::error::StoreError;

/// Part of the call's time that replicas get to answer.
const SHARE_OF_TIMEOUT: u32 = 2;

#[derive(Clone, Copy, Default)]
struct Round {
    /// Rounds begun.
    begun: u64,
    /// The last round that ended, the connection it was about, and how many replicas had everything by then.
    ended: (u64, u64, u64),
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
        let mut command = redis::cmd("WAIT");
        let patience = u64::try_from((timeout / SHARE_OF_TIMEOUT).as_millis()).unwrap_or(u64::MAX);
        command.arg(needed).arg(patience);
        let answer: RedisResult<u64> = command.query_async(&mut wire.connection.clone()).await;
        let acknowledged =
            answer.map_err(|_| unavailable("applied, but the replicas could not be asked"))?;
        self.round().ended = (number, wire.number(), acknowledged);
        Ok(acknowledged)
    }

    fn round(&self) -> std::sync::MutexGuard<'_, Round> {
        self.round
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
