//! Who does what all the time: supervised actors over the ports, thin shells around plain async functions.

pub mod app;
pub mod broker;
pub mod campaign_runner;
mod decisions;
pub mod dispatcher;
pub mod janitor;
pub mod limiter;
pub mod notifier;
pub mod pacer;
pub mod ready;
pub mod roster;
pub mod sampler;
pub mod scout;
pub mod sessions;
pub mod set;
pub mod sharer;
pub mod status;
pub mod supervise;
pub mod token_keeper;
pub mod tokens;

pub use self::{
    app::AppSettings,
    broker::DispatchSettings,
    set::{ActorSet, AppSource, Deps, Placement, WnsFactory, start},
    status::{AppStatus, TokenStatus},
};
