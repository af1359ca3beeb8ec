//! Reads the text of a record; what is not as it is written is an error, never a guess.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::{ClosedAsk, ClosedPush, DeviceRecord, LastAttempt, Push, VERSION, goal_text};
use crate::domain::{
    ask::{Ask, CancelCause, Class, CloseReason, ExpiryCause, Goal, Phase, Source},
    channel::{Channel, ChannelState, EarlierUri, Generation, Trial},
    id::CampaignId,
    trace_context::TraceContext,
    wns::{channel_uri::ChannelUri, reply::ChannelRefusal},
};

/// The stored bytes are not a record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored record is damaged or of another version: {part}")]
pub struct DamagedRecord {
    /// Which part could not be read.
    pub part: &'static str,
}

/// Reads the text of a record.
///
/// # Errors
/// [`DamagedRecord`] names the part that is not as [`encode`](super::encode) writes it.
pub fn decode(bytes: &[u8]) -> Result<DeviceRecord, DamagedRecord> {
    let text = std::str::from_utf8(bytes).map_err(|_| DamagedRecord { part: "text" })?;
    let mut lines = text.split('\n');
    let mut head = Fields::new(lines.next().unwrap_or(""), "head");
    if head.text()? != VERSION {
        return Err(DamagedRecord { part: "version" });
    }
    let mut record = DeviceRecord {
        last_check_in: match head.text()? {
            "" => None,
            at => Some(head.time_of(at)?),
        },
        ..DeviceRecord::default()
    };
    for line in lines {
        let (tag, rest) = line.split_once('|').ok_or(DamagedRecord { part: "line" })?;
        match tag {
            "c" => record.channel = Some(read_channel(rest)?),
            "a" => record.last_attempt = Some(read_attempt(rest)?),
            "p" => record.push = Some(read_push(rest)?),
            "k" => {
                let push = record.push.as_mut().ok_or(DamagedRecord {
                    part: "ask without push",
                })?;
                push.asks.push(read_ask(rest)?);
            }
            "z" => record.closed = Some(read_closed(rest)?),
            _ => return Err(DamagedRecord { part: "tag" }),
        }
    }
    if record.push.as_ref().is_some_and(|p| p.asks.is_empty()) {
        return Err(DamagedRecord {
            part: "push without ask",
        });
    }
    Ok(record)
}

struct Fields<'a> {
    rest: std::str::Split<'a, char>,
    part: &'static str,
}

impl<'a> Fields<'a> {
    fn new(line: &'a str, part: &'static str) -> Self {
        Self {
            rest: line.split('|'),
            part,
        }
    }

    fn damaged(&self) -> DamagedRecord {
        DamagedRecord { part: self.part }
    }

    fn text(&mut self) -> Result<&'a str, DamagedRecord> {
        let part = self.part;
        self.rest.next().ok_or(DamagedRecord { part })
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, DamagedRecord> {
        let text = self.text()?;
        text.parse().map_err(|_| self.damaged())
    }

    fn time(&mut self) -> Result<Timestamp, DamagedRecord> {
        let text = self.text()?;
        self.time_of(text)
    }

    fn time_of(&self, text: &str) -> Result<Timestamp, DamagedRecord> {
        let ms = text.parse::<i64>().map_err(|_| self.damaged())?;
        Timestamp::from_millisecond(ms).map_err(|_| self.damaged())
    }

    /// A time that stands last, if it is there.
    fn time_if_any(&mut self) -> Result<Option<Timestamp>, DamagedRecord> {
        let text = self.rest.next();
        text.map(|text| self.time_of(text)).transpose()
    }

    fn flag(&mut self) -> Result<bool, DamagedRecord> {
        match self.text()? {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(self.damaged()),
        }
    }

    fn free_text(&mut self) -> Result<Arc<str>, DamagedRecord> {
        let text = self.text()?;
        if !text.contains('%') {
            return Ok(Arc::from(text));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(b) = rest.next() {
            if b != b'%' {
                bytes.push(b);
                continue;
            }
            let digit = |d: Option<u8>| d.and_then(|d| char::from(d).to_digit(16));
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                return Err(self.damaged());
            };
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| self.damaged())?);
        }
        String::from_utf8(bytes)
            .map(Arc::from)
            .map_err(|_| self.damaged())
    }

    fn earlier_uri(&mut self) -> Result<Option<EarlierUri>, DamagedRecord> {
        let Some(text) = self.rest.next() else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let both = u64::from_be_bytes(bytes.ok_or_else(|| self.damaged())?);
        Ok(Some(EarlierUri {
            fingerprint: (both >> 32) as u32,
            first_seen: (both & u64::from(u32::MAX)) as u32,
        }))
    }

    fn trace(&mut self) -> Result<Option<TraceContext>, DamagedRecord> {
        let text = self.rest.next();
        let read = text.map(|text| TraceContext::parse(text).ok_or_else(|| self.damaged()));
        read.transpose()
    }

    fn source(&mut self) -> Result<Source, DamagedRecord> {
        let text = self.text()?;
        match text.strip_prefix("c/") {
            Some(id) => Ok(Source::Campaign(
                CampaignId::new(id).map_err(|_| self.damaged())?,
            )),
            None if text == "d" => Ok(Source::Direct),
            None => Err(self.damaged()),
        }
    }
}

fn read_channel(line: &str) -> Result<Channel, DamagedRecord> {
    let mut f = Fields::new(line, "channel");
    let generation = Generation(f.number()?);
    let state = f.text()?;
    let state = read_state(state, &f)?;
    let (first_seen, last_seen) = (f.time()?, f.time()?);
    Ok(Channel {
        uri: ChannelUri::from_stored(f.text()?),
        generation,
        state,
        first_seen,
        last_seen,
        earlier: f.earlier_uri()?,
    })
}

fn read_state(text: &str, f: &Fields<'_>) -> Result<ChannelState, DamagedRecord> {
    let parts: Vec<&str> = text.split(',').collect();
    let cause = |text: &str| {
        let found = REFUSALS.into_iter().find(|c| c.label() == text);
        found.ok_or_else(|| f.damaged())
    };
    match parts.as_slice() {
        ["l"] => Ok(ChannelState::Live),
        ["s", until, strikes] => Ok(ChannelState::Silent {
            until: f.time_of(until)?,
            strikes: strikes.parse().map_err(|_| f.damaged())?,
        }),
        ["u", since, why, review] => Ok(ChannelState::Suspect {
            since: f.time_of(since)?,
            cause: cause(why)?,
            review_at: f.time_of(review)?,
        }),
        ["d", since, why, trial] => Ok(ChannelState::Dead {
            since: f.time_of(since)?,
            cause: cause(why)?,
            trial: match *trial {
                "n" => Trial::NotAsked,
                "a" => Trial::Allowed,
                at => Trial::Used(f.time_of(at)?),
            },
        }),
        _ => Err(f.damaged()),
    }
}

fn read_attempt(line: &str) -> Result<LastAttempt, DamagedRecord> {
    let mut f = Fields::new(line, "attempt");
    let (at, outcome, reached) = (f.time()?, f.free_text()?, f.flag()?);
    Ok(LastAttempt {
        at,
        outcome,
        reached,
        msg_id: f.free_text()?,
        debug_trace: f.free_text()?,
        ms_cv: f.free_text()?,
    })
}

fn read_push(line: &str) -> Result<Push, DamagedRecord> {
    let mut f = Fields::new(line, "push");
    Ok(Push {
        opened_at: f.time()?,
        attempts: f.number()?,
        failures: f.number()?,
        accepted: f.number()?,
        next_at: f.time()?,
        repeated_at: f.time_if_any()?,
        asks: Vec::with_capacity(1),
    })
}

fn read_ask(line: &str) -> Result<Ask, DamagedRecord> {
    let mut f = Fields::new(line, "ask");
    let source = f.source()?;
    let class = f.text()?;
    let class = Class::ALL.into_iter().find(|c| c.as_str() == class);
    let goal = f.text()?;
    let goal = [Goal::Accepted, Goal::CheckIn]
        .into_iter()
        .find(|g| goal_text(*g) == goal);
    let (opened_at, deadline, phase) = (f.time()?, f.time()?, f.text()?);
    Ok(Ask {
        source,
        class: class.ok_or_else(|| f.damaged())?,
        goal: goal.ok_or_else(|| f.damaged())?,
        opened_at,
        deadline,
        phase: match phase {
            "w" => Phase::Waiting,
            at => Phase::Awaiting {
                accepted_at: f.time_of(at)?,
            },
        },
        held: f.flag()?,
        attempts_before: f.number()?,
        wave: f.number()?,
        reason: Some(f.free_text()?).filter(|r| !r.is_empty()),
        trace: f.trace()?,
    })
}

fn read_closed(line: &str) -> Result<ClosedPush, DamagedRecord> {
    let mut f = Fields::new(line, "closed push");
    let (opened_at, closed_at, attempts, source) = (f.time()?, f.time()?, f.number()?, f.source()?);
    let reason = f.text()?;
    let reason = CLOSE_REASONS
        .into_iter()
        .find(|r| match reason.split_once(',') {
            Some((label, cause)) => r.as_str() == label && r.cause() == Some(cause),
            None => r.as_str() == reason && r.cause().is_none(),
        });
    Ok(ClosedPush {
        opened_at,
        closed_at,
        attempts,
        last: ClosedAsk {
            source,
            reason: reason.ok_or_else(|| f.damaged())?,
            opened_at: f.time()?,
            closed_at: f.time()?,
        },
    })
}

const REFUSALS: [ChannelRefusal; 3] = [
    ChannelRefusal::Forbidden,
    ChannelRefusal::NotFound,
    ChannelRefusal::Gone,
];

const CLOSE_REASONS: [CloseReason; 13] = [
    CloseReason::Accepted,
    CloseReason::CheckedIn,
    CloseReason::Rejected,
    CloseReason::Cancelled(CancelCause::Request),
    CloseReason::Cancelled(CancelCause::DeviceDeleted),
    CloseReason::Expired(ExpiryCause::NoChannel),
    CloseReason::Expired(ExpiryCause::DeadChannel),
    CloseReason::Expired(ExpiryCause::Throttled),
    CloseReason::Expired(ExpiryCause::Unavailable),
    CloseReason::Expired(ExpiryCause::Dropped),
    CloseReason::Expired(ExpiryCause::NoCheckIn),
    CloseReason::Expired(ExpiryCause::Held),
    CloseReason::Expired(ExpiryCause::NotSent),
];
