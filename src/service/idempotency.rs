//! Answers that are kept for repeated requests: a repeat gets the first answer, and nothing is done twice.
//!
//! The mark of a request in progress lives for a minute and is prolonged while it runs, so that a crash blocks a repeat for
//! no longer. An answer is kept for a day.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use tokio::time::Instant;

use crate::ports::{
    documents::{Document, Documents, Precondition, Put},
    error::StoreError,
};

/// How long the mark of a request in progress lives unless it is prolonged.
pub const MARK_LIFE: Duration = Duration::from_secs(60);
/// How often a running request prolongs its mark.
pub const MARK_REFRESH: Duration = Duration::from_secs(20);
/// How long an answer is kept.
pub const ANSWER_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest piece of a body kept in one document; longer bodies take several. Quoting may double it.
const PIECE_BYTES: usize = 100 * 1024;
/// How long a mark lives that its owner gave up: long enough to be replaced, too short to be noticed.
const GIVEN_UP_LIFE: Duration = Duration::from_secs(1);

/// Names one request: who, where, what, under which key of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestName(String);

impl RequestName {
    /// Joins the parts so that no two lists of parts have one name.
    #[must_use]
    pub fn new(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(format!("answer/{:x}", hash.finalize()))
    }
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Digest of the request's body and query, hexadecimal.
    pub digest: String,
    /// Body of the answer: JSON.
    pub body: Bytes,
}

/// How a request begins.
pub enum Begin {
    /// Nobody has made it: go on, and tell the [`Mark`] how it ended.
    Fresh(Mark),
    /// It is being worked on.
    InProgress,
    /// It was answered.
    Answered(Answer),
}

/// The right to work on a request.
pub struct Mark {
    documents: Arc<dyn Documents>,
    name: RequestName,
    version: u64,
    /// Until then nobody else can have taken it: a mark that has lapsed may have been made anew, with the same version.
    lapses: Instant,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum Kept {
    InProgress,
    GivenUp,
    Answered {
        status: u16,
        digest: String,
        body: String,
        /// Further documents that hold the rest of the body.
        pieces: usize,
        /// Tells them from those of another answer: one that comes too late must not write over them.
        #[serde(default)]
        series: String,
    },
}

/// Begins a request, or finds how it stands.
///
/// # Errors
/// [`StoreError`].
pub async fn begin(documents: Arc<dyn Documents>, name: RequestName) -> Result<Begin, StoreError> {
    let mut precondition = Precondition::Absent;
    loop {
        let lapses = Instant::now() + MARK_LIFE;
        let put = documents
            .put(
                &name.0,
                write(&Kept::InProgress),
                precondition,
                Some(MARK_LIFE),
            )
            .await?;
        let kept = match put {
            Put::Done(version) => {
                return Ok(Begin::Fresh(Mark {
                    documents,
                    name,
                    version,
                    lapses,
                }));
            }
            // The mark lapsed between the two looks.
            Put::Conflict(None) => {
                precondition = Precondition::Absent;
                continue;
            }
            Put::Conflict(Some(kept)) => kept,
        };
        match read(&kept)? {
            Kept::InProgress => return Ok(Begin::InProgress),
            Kept::GivenUp => precondition = Precondition::Version(kept.version),
            Kept::Answered {
                status,
                digest,
                body,
                pieces,
                series,
            } => {
                let mut body = body.into_bytes();
                for piece in 1..=pieces {
                    let more = documents.get(&piece_name(&name, &series, piece)).await?;
                    let more = more.ok_or_else(|| damaged("a piece is missing"))?;
                    body.extend_from_slice(&more.bytes);
                }
                let body = Bytes::from(body);
                return Ok(Begin::Answered(Answer {
                    status,
                    digest,
                    body,
                }));
            }
        }
    }
}

impl Mark {
    /// Prolongs the mark; to be called every [`MARK_REFRESH`]. Returns whether it is still this request's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prolong(&mut self) -> Result<bool, StoreError> {
        self.put(Kept::InProgress, MARK_LIFE).await
    }

    /// Keeps the answer for repeats. Returns whether the mark was still this request's.
    ///
    /// # Errors
    /// [`StoreError`]; the mark lapses then and a repeat is done anew.
    pub async fn answer(mut self, answer: &Answer) -> Result<bool, StoreError> {
        let text = std::str::from_utf8(&answer.body).map_err(|_| damaged("the body is no text"))?;
        let mut pieces = pieces(text).into_iter();
        let first = pieces.next().unwrap_or_default().to_owned();
        let (series, mut count) = (format!("{:016x}-", rand::random::<u64>()), 0);
        for piece in pieces {
            count += 1;
            let bytes = Bytes::copy_from_slice(piece.as_bytes());
            let name = piece_name(&self.name, &series, count);
            // The pieces outlive what points to them.
            let life = ANSWER_LIFE + MARK_LIFE;
            self.documents
                .put(&name, bytes, Precondition::Any, Some(life))
                .await?;
        }
        let kept = Kept::Answered {
            status: answer.status,
            digest: answer.digest.clone(),
            body: first,
            pieces: count,
            series,
        };
        self.put(kept, ANSWER_LIFE).await
    }

    /// Gives the request up, so that a repeat is done anew at once.
    ///
    /// # Errors
    /// [`StoreError`]; the mark lapses by itself then.
    pub async fn give_up(mut self) -> Result<(), StoreError> {
        self.put(Kept::GivenUp, GIVEN_UP_LIFE).await.map(|_| ())
    }

    async fn put(&mut self, kept: Kept, life: Duration) -> Result<bool, StoreError> {
        let asked = Instant::now();
        if asked >= self.lapses {
            return Ok(false);
        }
        let precondition = Precondition::Version(self.version);
        let put = self
            .documents
            .put(&self.name.0, write(&kept), precondition, Some(life))
            .await?;
        match put {
            Put::Done(version) => {
                self.version = version;
                self.lapses = asked + life;
                Ok(true)
            }
            Put::Conflict(_) => Ok(false),
        }
    }
}

/// Cuts a text into pieces of at most [`PIECE_BYTES`], between characters.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE_BYTES {
        let boundary = (0..=PIECE_BYTES)
            .rev()
            .find(|at| rest.is_char_boundary(*at));
        let (piece, more) = rest.split_at(boundary.unwrap_or(0));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

fn piece_name(name: &RequestName, series: &str, piece: usize) -> String {
    format!("{}/{series}{piece}", name.0)
}

fn write(kept: &Kept) -> Bytes {
    Bytes::from(serde_json::to_vec(kept).expect("a kept answer is plain JSON"))
}

fn read(kept: &Document) -> Result<Kept, StoreError> {
    serde_json::from_slice(&kept.bytes).map_err(|e| damaged(&e.to_string()))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged {
        detail: format!("a kept answer: {what}"),
    }
}
