//! Opening pushes for direct requests, and taking them back.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        ask::{Class, Goal, Source},
        id::{DeviceId, TenantId},
        record::DeviceRecord,
        trace_context::TraceContext,
        transition::{self, AskRequest, Cancel, OpenError, Opened},
    },
    ports::{error::StoreError, records::Urgency},
};

use super::{desk::Desk, edit::Decision};

/// What a console wants of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How urgent.
    pub class: Class,
    /// When it is done.
    pub goal: Goal,
    /// Until when.
    pub deadline: Timestamp,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// Whether a device that nobody has named before is made, to be pushed when it reports a channel.
    pub register_unknown: bool,
}

/// What became of a wish for one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wished {
    /// The device's push is open for it.
    Open {
        /// Whether it was opened now or had been open.
        opened: Opened,
        /// Whether the device has a channel that can be used; otherwise the push waits for one.
        reachable: bool,
    },
    /// Nobody has named the device before.
    Unknown,
    /// The push has no room for it.
    Refused(OpenError),
}

impl Wished {
    /// Why nothing was opened, if so.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Open { .. } => None,
            Self::Unknown => {
                let why = "nobody has named this device; register_unknown=true makes it";
                Some(why.to_owned())
            }
            Self::Refused(error) => Some(error.to_string()),
        }
    }
}

/// Opens or joins the pushes of devices; one answer for each, in order. What is sent for a device that comes with a trace
/// belongs to it.
///
/// # Errors
/// [`StoreError`]; some may have been opened then. Repeating merges.
pub async fn open(
    desk: &Desk,
    tenant: &TenantId,
    wish: &Wish,
    devices: Vec<(DeviceId, Option<TraceContext>)>,
) -> Result<Vec<Wished>, StoreError> {
    desk.change(tenant, devices, Urgency::Open, |step, trace, record| {
        let mut record = match record {
            Some(record) => record,
            None if wish.register_unknown => DeviceRecord::default(),
            None => return Decision::Leave(Wished::Unknown),
        };
        let request = AskRequest {
            source: Source::Direct,
            class: wish.class,
            goal: wish.goal,
            deadline: wish.deadline,
            reason: wish.reason.clone(),
            trace: *trace,
        };
        match transition::open(step, &mut record, request) {
            Ok((opened, effects)) => {
                let reachable = record.reachable();
                let answer = Wished::Open { opened, reachable };
                Decision::Commit(Some(record), effects, answer)
            }
            Err(error) => Decision::Leave(Wished::Refused(error)),
        }
    })
    .await
}

/// What taking back came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cancelled {
    /// Asks that ended.
    pub asks: usize,
    /// The device as it is then.
    pub record: DeviceRecord,
}

/// Takes back asks of one device; `None` for an unknown device.
///
/// # Errors
/// [`StoreError`].
pub async fn cancel(
    desk: &Desk,
    tenant: &TenantId,
    device: DeviceId,
    which: Cancel,
) -> Result<Option<Cancelled>, StoreError> {
    let jobs = vec![(device, which)];
    let answers = desk.change(tenant, jobs, Urgency::Settle, |step, which, record| {
        let Some(mut record) = record else {
            return Decision::Leave(None);
        };
        let effects = transition::cancel(step, &mut record, which);
        let asks = effects.closed.len();
        let answer = Some(Cancelled {
            asks,
            record: record.clone(),
        });
        if asks == 0 {
            Decision::Leave(answer)
        } else {
            Decision::Commit(Some(record), effects, answer)
        }
    });
    Ok(answers.await?.into_iter().next().flatten())
}
