//! Runs an actor so that a panic or a `ctx.stop()` restarts it behind the same `Addr`.
//!
//! actix's own `Supervisor` restarts only on `ctx.stop()`, never on a panic, and at once, so an actor that stops in
//! `started()` spins its thread. Here the address and the mailbox outlive the actor's death; lost is only the message that
//! killed it. `restarting()` must rebuild what the actor holds, and `started()` arms every timer each time.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Supervised,
    dev::{ContextFut, channel},
    fut::wrap_future,
};
use actix_rt::time::{Sleep, sleep};
use tokio::time::{Instant, timeout_at};

use crate::telemetry::{ActorKind, ActorMetrics};

/// How often an actor that has nothing to do shows that it lives.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Why an actor left its run loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It stopped itself.
    Stopped,
    /// It panicked.
    Panicked,
}

/// How often an actor may restart before its supervisor gives up.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    /// Wait before the first restart; it doubles with each further one.
    pub delay_min: Duration,
    /// Longest wait.
    pub delay_max: Duration,
    /// A run this long counts as healthy and resets the restart count.
    pub healthy_after: Duration,
    /// Most restarts in a row.
    pub restarts_max: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(100),
            delay_max: Duration::from_secs(10),
            healthy_after: Duration::from_secs(60),
            restarts_max: 10,
        }
    }
}

/// What the supervisor tells the rest of the program.
pub trait Watch: Send + Sync {
    /// The actor left its run loop and restarts after `backoff`, for the `restarts`-th time in a row.
    fn exited(&self, actor: ActorKind, exit: Exit, restarts: u32, backoff: Duration);
    /// The actor will not be restarted: the process should end, so that its service manager starts it afresh.
    fn gave_up(&self, actor: ActorKind, restarts: u32);
}

/// Starts an actor on the current arbiter, with room for `capacity` messages.
pub fn start<A>(
    kind: ActorKind,
    capacity: usize,
    watch: Arc<dyn Watch>,
    build: impl FnOnce(&mut Context<A>) -> A,
) -> Addr<A>
where
    A: Supervised + Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel::channel(capacity);
    let mut context = Context::with_receiver(receiver);
    let actor = build(&mut context);
    actix_rt::spawn(Guarded {
        run: context.into_future(actor),
        kind,
        policy: RestartPolicy::default(),
        watch,
        restarts: 0,
        born: Instant::now(),
        pause: None,
    });
    Addr::new(sender)
}

/// Waits for an event or until `most` is over, and shows signs of life meanwhile.
pub async fn wait_for(metrics: &ActorMetrics, most: Duration, event: impl Future) {
    let end = Instant::now() + most;
    let mut event = std::pin::pin!(event);
    loop {
        metrics.progressed(Instant::now());
        let next = end.min(Instant::now() + SIGN_OF_LIFE);
        if timeout_at(next, &mut event).await.is_ok() || next == end {
            return;
        }
    }
}

/// Gives an actor its one long-lived future: the loop that does its work. If it panics or ends, the actor is restarted.
#[expect(
    clippy::disallowed_methods,
    reason = "a single future, whose panic has to kill the actor for the supervisor to see it"
)]
pub fn live<A>(context: &mut Context<A>, work: impl Future<Output = ()> + 'static)
where
    A: Actor<Context = Context<A>>,
{
    let ends = wrap_future::<_, A>(work).map(|(), _, context: &mut Context<A>| context.stop());
    context.spawn(ends);
}

struct Guarded<A: Supervised + Actor<Context = Context<A>>> {
    run: ContextFut<A, Context<A>>,
    kind: ActorKind,
    policy: RestartPolicy,
    watch: Arc<dyn Watch>,
    restarts: u32,
    born: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Guarded<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if let Some(pause) = this.pause.as_mut() {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
                this.born = Instant::now();
                // `restarting()` may panic too; that is one more failed run.
                match catch_unwind(AssertUnwindSafe(|| this.run.restart())) {
                    Ok(true) => {}
                    // No address is left: nobody needs the actor any more.
                    Ok(false) => return Poll::Ready(()),
                    Err(_) => match this.schedule(Exit::Panicked) {
                        Poll::Ready(()) => return Poll::Ready(()),
                        Poll::Pending => continue,
                    },
                }
            }
            let exit = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.run).poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => Exit::Stopped,
                Err(_) => Exit::Panicked,
            };
            if let Poll::Ready(()) = this.schedule(exit) {
                return Poll::Ready(());
            }
        }
    }
}

impl<A: Supervised + Actor<Context = Context<A>>> Guarded<A> {
    /// Arms the restart delay, or reports `Ready` when the budget is spent.
    fn schedule(&mut self, exit: Exit) -> Poll<()> {
        if self.born.elapsed() >= self.policy.healthy_after {
            self.restarts = 0;
        }
        if self.restarts >= self.policy.restarts_max {
            self.watch.gave_up(self.kind, self.restarts);
            return Poll::Ready(());
        }
        let factor = 2_u32.saturating_pow(self.restarts);
        let delay = self.policy.delay_min.saturating_mul(factor);
        let delay = delay.min(self.policy.delay_max);
        self.restarts += 1;
        self.watch.exited(self.kind, exit, self.restarts, delay);
        self.pause = Some(Box::pin(sleep(delay)));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
