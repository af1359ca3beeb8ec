//! Devices from a file, as the lines that the API takes: whatever its size, a piece at a time.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream;
use indicatif::ProgressBar;
use reqwest::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

use crate::cli::{Exit, Failure, output::progress_bar};

/// About how much is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest line that is read, in bytes; no id comes near, a line of a report may.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// An open file of devices, and how far it is read.
pub(super) struct Devices {
    pub(super) body: Body,
    pub(super) bar: ProgressBar,
}

/// Opens a file of devices, or standard input for `-`; `quiet` shows no progress.
pub(super) async fn open(file: &Path, quiet: bool) -> Result<Devices, Failure> {
    if file.as_os_str() == "-" {
        return Ok(devices(tokio::io::stdin(), progress_bar(None, quiet)));
    }
    let unreadable = |error: std::io::Error| {
        let file = PathBuf::from(file);
        Failure::new(
            Exit::Usage,
            format!("cannot read {}: {error}", file.display()),
        )
    };
    let open = tokio::fs::File::open(file).await.map_err(unreadable)?;
    let bytes = open.metadata().await.map_err(unreadable)?.len();
    Ok(devices(open, progress_bar(Some(bytes), quiet)))
}

fn devices(reader: impl AsyncRead + Send + Unpin + 'static, bar: ProgressBar) -> Devices {
    let reader = BufReader::with_capacity(PIECE_BYTES, reader);
    let pieces = stream::try_unfold((reader, bar.clone()), async |(mut reader, bar)| {
        let (read, piece) = piece(&mut reader).await?;
        bar.inc(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, (reader, bar))))
    });
    let body = Body::wrap_stream(pieces);
    Devices { body, bar }
}

/// Reads some lines; how many bytes they were, and what they become.
async fn piece(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<(u64, Bytes)> {
    let (mut read, mut piece, mut text) = (0, String::new(), Vec::new());
    while piece.len() < PIECE_BYTES {
        text.clear();
        let mut bounded = tokio::io::AsyncReadExt::take(&mut *reader, LINE_BYTES_MAX);
        let length = bounded.read_until(b'\n', &mut text).await?;
        if length == 0 {
            break;
        }
        read += length as u64;
        piece.push_str(&line(&String::from_utf8_lossy(&text)));
        piece.push('\n');
    }
    Ok((read, piece.into()))
}

/// One line as the API takes it. A line of a report keeps its device; an id becomes an object; what is neither goes as it
/// is, and the broker refuses it by its number.
fn line(text: &str) -> String {
    // Editors put a mark at the beginning of a file.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return String::new();
    }
    if !text.starts_with('{') {
        return json!({ "device": text }).to_string();
    }
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    match object["device"].as_str() {
        Some(device) => json!({ "device": device }).to_string(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_objects_and_lines_of_a_report_become_lines_of_devices() {
        for (text, sent) in [
            ("d1", r#"{"device":"d1"}"#),
            ("  d1\r\n", r#"{"device":"d1"}"#),
            ("\u{feff}d1", r#"{"device":"d1"}"#),
            (r#"{"device": "d1"}"#, r#"{"device":"d1"}"#),
            (
                r#"{"device":"d1","state":"expired","attempts":3}"#,
                r#"{"device":"d1"}"#,
            ),
            ("", ""),
            ("{nonsense", "{nonsense"),
            (r#"{"name":"d1"}"#, r#"{"name":"d1"}"#),
            (r#"say "x""#, r#"{"device":"say \"x\""}"#),
        ] {
            assert_eq!(line(text), sent, "{text}");
        }
    }

    #[tokio::test]
    async fn a_long_file_is_read_in_pieces_that_lose_no_line() {
        let text: String = (0..50_000).map(|n| format!("device-{n}\n")).collect();
        let mut reader = BufReader::new(text.as_bytes());
        let (mut whole, mut read, mut pieces) = (String::new(), 0, 0);
        loop {
            let (bytes, piece) = piece(&mut reader).await.unwrap();
            if bytes == 0 {
                break;
            }
            assert!(piece.len() < 2 * PIECE_BYTES);
            whole.push_str(std::str::from_utf8(&piece).unwrap());
            (read, pieces) = (read + bytes, pieces + 1);
        }
        assert_eq!(read, text.len() as u64);
        assert!(pieces > 10);
        assert_eq!(whole.lines().count(), 50_000);
        assert_eq!(whole.lines().last(), Some(r#"{"device":"device-49999"}"#));
    }
}
