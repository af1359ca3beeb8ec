//! Does what messages ask for: neighbours of one kind together, in their order.

use std::time::Duration;

use super::{
    Parts,
    message::{Bounds, Command, listed, prove},
};
use crate::{
    domain::{
        id::{DeviceId, TenantId},
        wns::channel_uri::ChannelUri,
    },
    ports::{
        error::StoreError,
        streams::{DeadLetter, Message},
    },
    service::{
        channels,
        check_ins::{self, CheckIn},
        command::check_in::Report,
        pushes::{self, Wish},
        slow_down,
    },
};

/// Devices that are changed together.
const BATCH: usize = 512;

/// Messages that one call does.
pub(super) struct Run {
    pub(super) messages: Vec<Message>,
    job: Job,
}

enum Job {
    Register(Vec<(DeviceId, ChannelUri)>),
    Push(Wish, Vec<DeviceId>),
    CheckIn(Vec<(DeviceId, Report)>),
    /// The message cannot be taken.
    Refuse(String),
}

/// What became of messages.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) done: Vec<String>,
    pub(super) dead: Vec<DeadLetter>,
}

impl Settled {
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.dead.is_empty()
    }

    fn note(&mut self, message: Message, complaint: Option<String>) {
        match complaint {
            None => self.done.push(message.id),
            Some(reason) => self.dead.push(DeadLetter { message, reason }),
        }
    }

    pub(super) fn absorb(&mut self, more: Self) {
        self.done.extend(more.done);
        self.dead.extend(more.dead);
    }
}

/// Divides messages into runs.
pub(super) fn runs(messages: Vec<Message>, bounds: Bounds<'_>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for message in messages {
        let job = match prove(&message, bounds) {
            Ok(Command::Register(device, uri)) => Job::Register(vec![(device, uri)]),
            Ok(Command::Push(wish, devices)) => Job::Push(wish, devices),
            Ok(Command::CheckIn(device, report)) => Job::CheckIn(vec![(device, report)]),
            Err(reason) => Job::Refuse(reason),
        };
        match (runs.last_mut(), job) {
            (Some(run), job) if run.joins(&job) => run.join(message, job),
            (_, job) => runs.push(Run {
                messages: vec![message],
                job,
            }),
        }
    }
    runs
}

impl Run {
    /// Only runs with one device a message grow, so that the answer of each message is known by its place.
    fn joins(&self, other: &Job) -> bool {
        let alike = matches!(
            (&self.job, other),
            (Job::Register(_), Job::Register(_)) | (Job::CheckIn(_), Job::CheckIn(_))
        );
        alike && self.messages.len() < BATCH
    }

    fn join(&mut self, message: Message, job: Job) {
        self.messages.push(message);
        match (&mut self.job, job) {
            (Job::Register(these), Job::Register(more)) => these.extend(more),
            (Job::CheckIn(these), Job::CheckIn(more)) => these.extend(more),
            (Job::Register(_) | Job::CheckIn(_) | Job::Push(..) | Job::Refuse(_), _) => {}
        }
    }

    /// Does it, durably.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been done then. Repeating is harmless.
    pub(super) async fn apply(
        &self,
        parts: &Parts,
        tenant: &TenantId,
    ) -> Result<Settled, StoreError> {
        let complaints = match &self.job {
            Job::Register(reports) => {
                channels::register(&parts.desk, tenant, reports.clone()).await?;
                vec![None; reports.len()]
            }
            Job::Push(wish, devices) => vec![push(parts, tenant, wish, devices).await?],
            Job::CheckIn(reports) => check_in(parts, tenant, reports).await?,
            Job::Refuse(reason) => vec![Some(reason.clone())],
        };
        let mut settled = Settled::default();
        let answered = self.messages.iter().cloned().zip(complaints);
        answered.for_each(|(message, complaint)| settled.note(message, complaint));
        Ok(settled)
    }

    /// Does the messages one by one after what is kept of one of them turned out to be unreadable: that one is refused.
    ///
    /// # Errors
    /// [`StoreError`], but not for what is unreadable.
    pub(super) async fn apply_each(
        self,
        parts: &Parts,
        tenant: &TenantId,
    ) -> Result<Settled, StoreError> {
        let mut settled = Settled::default();
        for message in self.messages {
            for run in runs(vec![message], Bounds::of(parts)) {
                match run.apply(parts, tenant).await {
                    Ok(more) => settled.absorb(more),
                    Err(StoreError::Damaged { detail }) => {
                        let reason = format!("the store is damaged: {detail}");
                        let messages = run.messages.into_iter();
                        messages.for_each(|message| settled.note(message, Some(reason.clone())));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(settled)
    }
}

/// Opens pushes; the complaint tells which devices have none, while the others have theirs.
async fn push(
    parts: &Parts,
    tenant: &TenantId,
    wish: &Wish,
    devices: &[DeviceId],
) -> Result<Option<String>, StoreError> {
    let mut complaints = Vec::new();
    for devices in devices.chunks(BATCH) {
        let untraced = devices.iter().map(|device| (device.clone(), None));
        let wished = pushes::open(&parts.desk, tenant, wish, untraced.collect()).await?;
        let answered = devices.iter().zip(wished);
        complaints
            .extend(answered.filter_map(|(device, w)| Some((device.to_string(), w.complaint()?))));
    }
    if complaints.is_empty() {
        return Ok(None);
    }
    let (wrong, all) = (complaints.len(), devices.len());
    Ok(Some(format!(
        "{wrong} of {all} devices have no push: {}",
        listed(&complaints)
    )))
}

async fn check_in(
    parts: &Parts,
    tenant: &TenantId,
    reports: &[(DeviceId, Report)],
) -> Result<Vec<Option<String>>, StoreError> {
    let sessions = reports.iter().cloned();
    let sessions = sessions.map(|(device, report)| (device, report.session));
    let answers = check_ins::check_in(&parts.desk, tenant, sessions.collect()).await?;
    let slow_down: Option<Duration> = reports.iter().filter_map(|(_, r)| r.slow_down).max();
    if let Some(within) = slow_down {
        let now = parts.desk.clock.now();
        slow_down::ask(&*parts.desk.store, tenant, now, within).await?;
    }
    let complaint = |answer| match answer {
        CheckIn::Noted { .. } => None,
        CheckIn::Unknown => {
            let why = "nobody has named this device, and the check-in brings no channel";
            Some(why.to_owned())
        }
    };
    Ok(answers.into_iter().map(complaint).collect())
}
