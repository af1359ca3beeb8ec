//! Chance without a generator: every draw is a function of the seed and of what it is for, so runs repeat themselves.

/// What a draw decides; each purpose has its own stream.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    ChannelMask = 1,
    ChannelFill = 2,
    AccessToken = 3,
    Identity = 4,
    Offline = 5,
    Dead = 6,
    DeadKind = 7,
    Reply = 8,
    Latency = 9,
    MessageId = 10,
    ReturnDelay = 11,
    CheckInDelay = 12,
    NeverChecksIn = 13,
    RenewsChannel = 14,
    PollDelay = 15,
}

/// Scrambles a number into one that looks drawn evenly from all of `u64` (the finalizer of splitmix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The draw of `purpose` for a subject and its `count`-th occasion.
pub(crate) const fn draw(seed: u64, purpose: Purpose, subject: u64, count: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = mix(seed.wrapping_add((purpose as u64).wrapping_mul(STEP)));
    let key = mix(key ^ subject.wrapping_add(STEP));
    mix(key ^ count.wrapping_mul(STEP).wrapping_add(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_input() {
        let base = draw(1, Purpose::Offline, 2, 3);
        assert_eq!(base, draw(1, Purpose::Offline, 2, 3));
        assert_ne!(base, draw(2, Purpose::Offline, 2, 3));
        assert_ne!(base, draw(1, Purpose::Dead, 2, 3));
        assert_ne!(base, draw(1, Purpose::Offline, 3, 3));
        assert_ne!(base, draw(1, Purpose::Offline, 2, 4));
    }

    #[test]
    fn draws_are_even_enough_for_shares() {
        let hits = (0..100_000)
            .filter(|device| draw(9, Purpose::Dead, *device, 0) < u64::MAX / 10)
            .count();
        assert!((9_600..10_400).contains(&hits), "{hits}");
    }
}
