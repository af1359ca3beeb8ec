//! How many requests a second an app sends to WNS.

use super::{
    kind::whole,
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Highest pace that can be asked for, in requests a second.
const PER_SECOND_MAX: u32 = 1_000_000;

settings! {
    /// The pace of every app, unless its own `[apps.pace]` says otherwise. WNS publishes no limit; about 1,000 requests a
    /// second for one app have been seen to earn a pause of 15 minutes and more.
    pub struct Pace at "pace" {
        /// Requests a second to begin with.
        start_per_second: u32 = whole(1, PER_SECOND_MAX).default("200");
        /// Most requests a second.
        ceiling_per_second: u32 = whole(1, PER_SECOND_MAX).default("900");
        /// Fewest requests a second to which throttling may slow an app.
        floor_per_second: u32 = whole(1, PER_SECOND_MAX).default("10");
    }
}

settings! {
    /// The pace of this app; what is left out comes from `[pace]`.
    pub(super) struct AppPaceKeys at "apps[].pace" {
        /// Requests a second to begin with.
        start_per_second: Option<u32> = whole(1, PER_SECOND_MAX).optional();
        /// Most requests a second.
        ceiling_per_second: Option<u32> = whole(1, PER_SECOND_MAX).optional();
        /// Fewest requests a second to which throttling may slow this app.
        floor_per_second: Option<u32> = whole(1, PER_SECOND_MAX).optional();
    }
}

/// Reads `[pace]`.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> Option<Pace> {
    let place = root.sub("pace", problems);
    ordered(Pace::read(&place, problems)?, &place, problems)
}

/// Reads `[apps.pace]` of the app at `app`, over the `common` pace.
///
/// A bound that only the common pace names gives way, so that one key is enough to set an app below or above it.
pub(super) fn read_of_app(app: &Place<'_>, common: &Pace, problems: &mut Problems) -> Option<Pace> {
    let place = app.sub("pace", problems);
    let own = AppPaceKeys::read(&place, problems)?;
    let ceiling = own.ceiling_per_second.or(own
        .start_per_second
        .map(|start| start.max(common.ceiling_per_second)));
    let ceiling_per_second = ceiling.unwrap_or(common.ceiling_per_second);
    let start_per_second = own
        .start_per_second
        .unwrap_or(common.start_per_second.min(ceiling_per_second));
    let floor_per_second = own
        .floor_per_second
        .unwrap_or(common.floor_per_second.min(start_per_second));
    ordered(
        Pace {
            start_per_second,
            ceiling_per_second,
            floor_per_second,
        },
        &place,
        problems,
    )
}

fn ordered(pace: Pace, place: &Place<'_>, problems: &mut Problems) -> Option<Pace> {
    let Pace {
        start_per_second: start,
        ceiling_per_second: ceiling,
        floor_per_second: floor,
    } = pace;
    if start > ceiling {
        place.blame(
            "start_per_second",
            format!("{start} is above ceiling_per_second = {ceiling}"),
            problems,
        );
        return None;
    }
    if floor > start {
        place.blame(
            "floor_per_second",
            format!("{floor} is above start_per_second = {start}"),
            problems,
        );
        return None;
    }
    Some(pace)
}
