//! Channel URIs that carry their own address: app, device and generation, bound by a keyed fill so that no byte may change.
//!
//! They have the shape of real ones (`/?token=AwYAAA…`, base64 with lower-case `%2b %2f %3d`), and a million of them need no
//! storage. A URI is compared byte by byte with the one that the sandbox would hand out: a client that decodes and
//! encodes it again, which turns `%2b` into `%2B`, gets 404 as from WNS.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::mix::{Purpose, draw};

/// What the token decodes to; 200 base64 characters, one of them `=`.
const BLOB_BYTES: usize = 149;
const BASE64_BYTES: usize = 200;
/// Version bytes of every classic channel token: `AwYAAA`.
const HEAD: [u8; 5] = [3, 6, 0, 0, 0];
/// Head, app (2), device (4), generation (2): all in the first 13 bytes, so in the first 20 characters.
const ADDRESS_END: usize = 13;
const ADDRESS_CHARS: usize = 20;
const ADDRESS_BLOB: usize = 15;

/// Whom a channel reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Index of the app.
    pub(crate) app: u16,
    /// Index of the device within its app.
    pub(crate) device: u32,
    /// 1 for the first channel of a device, one more with each renewal.
    pub(crate) generation: u16,
}

impl Target {
    /// One number for app and device.
    pub(crate) fn subject(self) -> u64 {
        subject(self.app, self.device)
    }
}

/// One number for an app and a device of it.
pub(crate) fn subject(app: u16, device: u32) -> u64 {
    u64::from(app) << 32 | u64::from(device)
}

/// Writes the `token` value of a channel URI, percent-encoded.
pub(crate) fn write_token(seed: u64, target: Target, out: &mut Vec<u8>) {
    for byte in encode(seed, target) {
        out.extend_from_slice(escape(&byte));
    }
}

/// Reads the `token` value of a channel URI.
///
/// Returns nothing if a single byte differs from what [`write_token`] would write.
pub(crate) fn read_token(seed: u64, token: &[u8]) -> Option<Target> {
    let target = read_address(seed, token)?;
    let mut rest = token;
    for byte in encode(seed, target) {
        rest = rest.strip_prefix(escape(&byte))?;
    }
    rest.is_empty().then_some(target)
}

fn encode(seed: u64, target: Target) -> [u8; BASE64_BYTES] {
    let mut blob = [0_u8; BLOB_BYTES];
    blob[..HEAD.len()].copy_from_slice(&HEAD);
    let mask = draw(seed, Purpose::ChannelMask, 0, 0).to_le_bytes();
    blob[5..7].copy_from_slice(&target.app.to_le_bytes());
    blob[7..11].copy_from_slice(&target.device.to_le_bytes());
    blob[11..13].copy_from_slice(&target.generation.to_le_bytes());
    for (byte, mask) in blob[HEAD.len()..ADDRESS_END].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    let generation = u64::from(target.generation) << 32;
    for (at, chunk) in (0..).zip(blob[ADDRESS_END..].chunks_mut(8)) {
        let fill = draw(
            seed,
            Purpose::ChannelFill,
            target.subject(),
            generation | at,
        );
        chunk.copy_from_slice(&fill.to_le_bytes()[..chunk.len()]);
    }
    let mut text = [0_u8; BASE64_BYTES];
    STANDARD
        .encode_slice(blob, &mut text)
        .expect("149 bytes make exactly 200 characters");
    text
}

fn read_address(seed: u64, token: &[u8]) -> Option<Target> {
    let mut text = [0_u8; ADDRESS_CHARS];
    let mut rest = token;
    for slot in &mut text {
        let (byte, width) = match rest {
            [b'%', b'2', b'b', ..] => (b'+', 3),
            [b'%', b'2', b'f', ..] => (b'/', 3),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        *slot = byte;
        rest = &rest[width..];
    }
    let mut blob = [0_u8; ADDRESS_BLOB];
    STANDARD.decode_slice_unchecked(text, &mut blob).ok()?;
    let mask = draw(seed, Purpose::ChannelMask, 0, 0).to_le_bytes();
    for (byte, mask) in blob[HEAD.len()..ADDRESS_END].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    Some(Target {
        app: u16::from_le_bytes([blob[5], blob[6]]),
        device: u32::from_le_bytes([blob[7], blob[8], blob[9], blob[10]]),
        generation: u16::from_le_bytes([blob[11], blob[12]]),
    })
}

fn escape(byte: &u8) -> &[u8] {
    match byte {
        b'+' => b"%2b",
        b'/' => b"%2f",
        b'=' => b"%3d",
        plain => std::slice::from_ref(plain),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(seed: u64, target: Target) -> Vec<u8> {
        let mut out = Vec::new();
        write_token(seed, target, &mut out);
        out
    }

    #[test]
    fn a_token_looks_like_one_of_wns() {
        let target = Target {
            app: 0,
            device: 41,
            generation: 1,
        };
        let text = String::from_utf8(token(1, target)).unwrap();
        assert!(text.starts_with("AwYAAA"), "{text}");
        assert!(text.ends_with("%3d"), "{text}");
        assert!((200..280).contains(&text.len()), "{}", text.len());
        assert!(!text.contains(['+', '/', '=', 'é']));
    }

    proptest! {
        #[test]
        fn tokens_are_read_back(seed: u64, app: u16, device: u32, generation: u16) {
            let target = Target { app, device, generation };
            prop_assert_eq!(read_token(seed, &token(seed, target)), Some(target));
        }

        #[test]
        fn any_altered_byte_is_refused(device: u32, at in 0..200_usize, flip in 1..=255_u8) {
            let target = Target { app: 0, device, generation: 1 };
            let mut text = token(7, target);
            text[at] ^= flip;
            prop_assert_eq!(read_token(7, &text), None);
        }

        #[test]
        fn any_bytes_at_all_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert_eq!(read_token(7, &bytes), None);
        }
    }

    #[test]
    fn escapes_in_upper_case_and_longer_or_shorter_tokens_are_refused() {
        let target = Target {
            app: 3,
            device: 9,
            generation: 2,
        };
        let text = String::from_utf8(token(5, target)).unwrap();
        for altered in [
            text.replace("%3d", "%3D"),
            text.replace("%3d", "="),
            format!("{text}A"),
            text[..text.len() - 3].to_owned(),
        ] {
            assert_eq!(read_token(5, altered.as_bytes()), None, "{altered}");
        }
        assert_eq!(read_token(6, text.as_bytes()), None);
    }
}
