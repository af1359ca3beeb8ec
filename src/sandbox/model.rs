//! What WNS would answer: scripts, ceilings, dead channels and offline devices, in this order.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use http::{HeaderValue, StatusCode};

use super::{
    behaviour::{AppCeiling, RetryAfter},
    channel::Target,
    check::Wish,
    clock::{Clock, Moment},
    counters::ReplyKind,
    device::{Device, Flag},
    mix::Purpose,
    reply::{Ending, Reply},
    step::{Step, StepKind},
    units::unit,
    world::{App, Live, World},
};

/// What a penalty lasts when none is configured.
const PENALTY_DEFAULT: Duration = Duration::from_mins(15);

/// A notification that is in order: its token is valid and its channel is one of the app's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    pub(crate) target: Target,
    pub(crate) wish: Wish,
    pub(crate) now: Moment,
    /// How many came for the device before it.
    pub(crate) before: u32,
    /// The thread that serves it.
    pub(crate) shard: usize,
}

impl World {
    /// Decides the reply to a notification and does what follows from it.
    pub(crate) fn decide(
        &self,
        live: &Live,
        device: &Device,
        notification: &Notification,
    ) -> Reply {
        let mut delay = Duration::ZERO;
        for play in [play_global, play_device, play_share] {
            let Some(step) = play(self, live, device, notification) else {
                continue;
            };
            delay += self.delay_of(&step, notification);
            if step.kind != StepKind::Default {
                let mut reply = self.act_out(&step, live, device, notification);
                reply.delay = delay;
                return reply;
            }
        }
        let mut reply = self.imitate(live, device, notification);
        reply.delay = delay;
        reply
    }

    /// What is answered without any script.
    fn imitate(&self, live: &Live, device: &Device, notification: &Notification) -> Reply {
        if let Some(reply) = self.throttle_app(live, notification) {
            return reply;
        }
        let behaviour = &live.behaviour;
        if self.is_dead(notification.target, device, behaviour) {
            return self.dead(device, notification);
        }
        if let Some(ceiling) = live.channel_ceiling
            && !ceiling.admits(&device.ceiling, notification.now)
        {
            return channel_throttled(live);
        }
        if self.is_offline(notification.target, device, behaviour) {
            return self.to_offline(device, notification);
        }
        self.accept(device, notification);
        let mut reply = Reply::with_status(ReplyKind::Received, StatusCode::OK, "received");
        reply.connection = notification.wish.device_status.then_some("connected");
        reply
    }

    /// The app's ceiling and the penalty for having exceeded it.
    fn throttle_app(&self, live: &Live, notification: &Notification) -> Option<Reply> {
        let app = self.app(notification.target.app);
        if let Some(until) = app.penalty(notification.now) {
            let counters = self.shards[notification.shard].app(notification.target.app);
            counters.during_penalty.fetch_add(1, Relaxed);
            return Some(self.app_throttled(live, until, notification.now));
        }
        if live.app_ceiling?.admits(&app.ceiling, notification.now) {
            return None;
        }
        let penalty = live
            .behaviour
            .app_ceiling
            .as_ref()
            .map_or(PENALTY_DEFAULT, |ceiling| ceiling.penalty.0);
        let until = app.punish(notification.now, notification.now.after(penalty));
        Some(self.app_throttled(live, until, notification.now))
    }

    fn app_throttled(&self, live: &Live, until: Moment, now: Moment) -> Reply {
        let fallback = AppCeiling::default();
        let ceiling = live.behaviour.app_ceiling.as_ref().unwrap_or(&fallback);
        let mut reply = app_throttled(ceiling.status);
        reply.retry_after = retry_after(ceiling.retry_after, &self.clock, until, now);
        reply
    }

    fn dead(&self, device: &Device, notification: &Notification) -> Reply {
        let target = notification.target;
        self.plan_poll(target, device, notification.now);
        let by_share = !device.is_killed(target.generation);
        if device.has(Flag::NotFound)
            || (by_share && self.draw(Purpose::DeadKind, target, 0) & 1 == 0)
        {
            return Reply::new(ReplyKind::NotFound, StatusCode::NOT_FOUND);
        }
        Reply::new(ReplyKind::Gone, StatusCode::GONE)
            .described(HeaderValue::from_static("The channel URI has expired."))
    }

    /// WNS keeps one raw notification per channel, if it was asked to, and drops it otherwise.
    fn to_offline(&self, device: &Device, notification: &Notification) -> Reply {
        let wish = notification.wish;
        let connection = wish.device_status.then_some("disconnected");
        if !wish.cache {
            let description =
                HeaderValue::from_static("Device is offline and X-WNS-Cache-Policy is no-cache");
            let mut reply = Reply::with_status(ReplyKind::Dropped, StatusCode::OK, "dropped")
                .described(description);
            reply.connection = connection;
            return reply;
        }
        let until = wish
            .time_to_live
            .map_or(Moment::NEVER, |time| notification.now.after(time));
        device.cache(until);
        self.count_accepted(device, notification);
        self.plan_return(notification.target, device, notification.now);
        let mut reply = Reply::with_status(ReplyKind::Cached, StatusCode::OK, "received");
        reply.connection = connection;
        reply
    }

    /// A notification that reaches its device.
    fn accept(&self, device: &Device, notification: &Notification) {
        self.count_accepted(device, notification);
        self.wake(notification.target, device, notification.now);
    }

    fn count_accepted(&self, device: &Device, notification: &Notification) {
        device.accept();
        let counters = self.shards[notification.shard].app(notification.target.app);
        counters.accepted.fetch_add(1, Relaxed);
    }

    fn delay_of(&self, step: &Step, notification: &Notification) -> Duration {
        let delay = step
            .extra
            .as_ref()
            .and_then(|extra| extra.delay)
            .unwrap_or_default();
        delay.pick(self.draw(
            Purpose::Latency,
            notification.target,
            u64::from(notification.before) << 1 | 1,
        ))
    }

    fn act_out(
        &self,
        step: &Step,
        live: &Live,
        device: &Device,
        notification: &Notification,
    ) -> Reply {
        let mut reply = match step.kind {
            StepKind::Default => self.imitate(live, device, notification),
            StepKind::Received => {
                self.accept(device, notification);
                let mut reply = Reply::with_status(ReplyKind::Received, StatusCode::OK, "received");
                reply.connection = notification.wish.device_status.then_some("connected");
                reply
            }
            StepKind::NoStatus => {
                self.accept(device, notification);
                Reply::new(ReplyKind::NoStatus, StatusCode::OK)
            }
            StepKind::UnknownStatus => {
                self.accept(device, notification);
                Reply::with_status(ReplyKind::UnknownStatus, StatusCode::OK, "teleported")
            }
            StepKind::Dropped => {
                let mut reply = Reply::with_status(ReplyKind::Dropped, StatusCode::OK, "dropped");
                reply.connection = notification.wish.device_status.then_some("connected");
                reply
            }
            StepKind::ChannelThrottled => channel_throttled(live),
            StepKind::AppThrottled => app_throttled(406),
            StepKind::Revoked => Reply::with_status(ReplyKind::Gone, StatusCode::GONE, "revoked")
                .described(HeaderValue::from_static("Revoked channel URL")),
            StepKind::Blocked => Reply::new(ReplyKind::Gone, StatusCode::GONE).described(HeaderValue::from_static(
                "Domain Blocked: the sending domain has been blocked for abusing push notifications.",
            )),
            StepKind::Redirect => Reply::new(ReplyKind::Redirect, StatusCode::TEMPORARY_REDIRECT),
            StepKind::Reset => ending(ReplyKind::Reset, Ending::Reset),
            StepKind::Timeout => ending(ReplyKind::Timeout, Ending::Silence),
            StepKind::Html => ending(ReplyKind::ServerError, Ending::Html),
            StepKind::Code(code) => bare(code),
        };
        self.decorate(&mut reply, step, notification.now);
        if reply.kind == ReplyKind::Received && matches!(step.kind, StepKind::Code(_)) {
            self.accept(device, notification);
        }
        reply
    }

    fn decorate(&self, reply: &mut Reply, step: &Step, now: Moment) {
        let Some(extra) = &step.extra else {
            return;
        };
        if let Some(wait) = extra.retry_after_date {
            reply.retry_after = Some(http_date(&self.clock, now.after(wait)));
        }
        for (slot, value) in [
            (&mut reply.retry_after, &extra.retry_after),
            (&mut reply.continue_after, &extra.continue_after),
            (&mut reply.status, &extra.status),
            (&mut reply.description, &extra.description),
        ] {
            if value.is_some() {
                slot.clone_from(value);
            }
        }
    }
}

fn play_global(world: &World, _: &Live, _: &Device, notification: &Notification) -> Option<Step> {
    world.script.next(notification.target.app, notification.now)
}

fn play_device(
    world: &World,
    _: &Live,
    device: &Device,
    notification: &Notification,
) -> Option<Step> {
    if !device.has(Flag::Scripted) {
        return None;
    }
    let step = world.device_scripts.next(notification.target.subject());
    if step.is_none() {
        device.clear(Flag::Scripted);
    }
    step
}

fn play_share(world: &World, live: &Live, _: &Device, notification: &Notification) -> Option<Step> {
    let shares = &live.behaviour.replies;
    if shares.is_empty() {
        return None;
    }
    let mut left = unit(world.draw(
        Purpose::Reply,
        notification.target,
        u64::from(notification.before),
    ));
    for part in shares {
        left -= part.share.as_ratio();
        if left < 0.0 {
            return Some(part.reply.clone());
        }
    }
    None
}

fn channel_throttled(live: &Live) -> Reply {
    let mut reply = Reply::with_status(
        ReplyKind::ChannelThrottled,
        StatusCode::OK,
        "channelthrottled",
    );
    reply.continue_after = live
        .behaviour
        .continue_after
        .map(|wait| HeaderValue::from(wait.0.as_secs()));
    reply
}

fn app_throttled(status: u16) -> Reply {
    if status != 429 {
        return Reply::with_status(
            ReplyKind::NotAcceptable,
            StatusCode::NOT_ACCEPTABLE,
            "appthrottled",
        );
    }
    let description =
        "App is throttled. Wait for the seconds of the value in Retry-After header and try again";
    Reply::with_status(
        ReplyKind::TooManyRequests,
        StatusCode::TOO_MANY_REQUESTS,
        "appthrottled",
    )
    .described(HeaderValue::from_static(description))
}

fn ending(kind: ReplyKind, ending: Ending) -> Reply {
    let mut reply = Reply::new(kind, StatusCode::SERVICE_UNAVAILABLE);
    reply.ending = ending;
    reply
}

/// A status code with what WNS is known to send along with it.
fn bare(code: StatusCode) -> Reply {
    match code.as_u16() {
        200 => Reply::with_status(ReplyKind::Received, code, "received"),
        300..=399 => Reply::new(ReplyKind::Redirect, code),
        400 => Reply::new(ReplyKind::BadRequest, code)
            .described(HeaderValue::from_static("Bad request.")),
        401 => Reply::new(ReplyKind::Unauthorized, code),
        403 => Reply::with_status(ReplyKind::Forbidden, code, "dropped").described(
            HeaderValue::from_static("Channel URL incompatible with caller app"),
        ),
        404 => Reply::new(ReplyKind::NotFound, code),
        405 => Reply::new(ReplyKind::MethodNotAllowed, code),
        status @ (406 | 429) => {
            let mut reply = app_throttled(status);
            reply.retry_after = Some(HeaderValue::from(PENALTY_DEFAULT.as_secs()));
            reply
        }
        410 => Reply::new(ReplyKind::Gone, code)
            .described(HeaderValue::from_static("The channel URI has expired.")),
        413 => Reply::new(ReplyKind::TooLarge, code),
        500..=599 => Reply::new(ReplyKind::ServerError, code),
        _ => Reply::new(ReplyKind::Other, code),
    }
}

fn retry_after(says: RetryAfter, clock: &Clock, until: Moment, now: Moment) -> Option<HeaderValue> {
    match says {
        RetryAfter::Remaining => {
            let left = until.since(now);
            Some(HeaderValue::from(
                left.as_secs() + u64::from(left.subsec_nanos() > 0),
            ))
        }
        RetryAfter::Date => Some(http_date(clock, until)),
        RetryAfter::Absent => None,
        RetryAfter::Seconds(seconds) => Some(HeaderValue::from(seconds)),
    }
}

fn http_date(clock: &Clock, moment: Moment) -> HeaderValue {
    // A date has whole seconds: the next one, so that nobody comes back too early.
    let text = clock
        .wall(moment.after(Duration::from_nanos(999_999_999)))
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    HeaderValue::try_from(text).expect("a date is a header value")
}

impl App {
    /// Ends a penalty at once.
    pub(crate) fn forgive(&self) {
        self.penalty_until.store(0, Relaxed);
        self.ceiling.store(0, Relaxed);
    }
}
