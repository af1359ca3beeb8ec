//! The WNS protocol as values: what is sent, what an answer means, how a token is asked for.
//!
//! Nothing here does IO. Facts cite Microsoft's pages by their titles ("Push notification service request and response
//! headers", "WNS overview", "Push notification support for device management"), an RFC, or "field observation" where a
//! behaviour is known from clients and recorded replies only.

pub mod channel_uri;
pub mod ms_cv;
pub mod payload;
pub mod reply;
pub mod request;
pub mod retry_after;
pub mod text;
pub mod token;
