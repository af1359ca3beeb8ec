//! The changes that the log is made of: the state of the store is what they add up to, live and after a restart.

mod fields;

use super::bytes::{Bytes, Malformed, Put};
use fields::{
    read_key, read_place, read_record, write_key, write_place, write_record, write_texts,
};

pub(super) use fields::record_checksum;

/// Bytes that stand between the place of a record in a segment and its content.
pub(super) const RECORD_CHECKSUM_BYTES: usize = 4;

/// A device by its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub(super) tenant: &'a str,
    pub(super) device: &'a str,
}

/// A place in a due queue, in milliseconds of the queue clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) queue: &'a str,
    pub(super) due_ms: i64,
}

/// A record with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) key: Key<'a>,
    pub(super) revision: u32,
    pub(super) place: Option<Place<'a>>,
    /// Ends a lease on the device; otherwise a live one stays, and the place with it.
    pub(super) settles: bool,
    pub(super) bytes: &'a [u8],
    /// Where its checksum and bytes begin, counted from the begin of the payload; only meaningful when read.
    pub(super) at: usize,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// What follows in this frame replaces all counters, fences, leases, parks and feed ends.
    Checkpoint,
    /// A new content of a record.
    Record(Record<'a>),
    /// An unchanged record, copied out of a segment that will be removed.
    Moved(Record<'a>),
    /// A record is gone, with its place and lease.
    Delete(Key<'a>),
    /// A record stays and its place changes.
    Place {
        key: Key<'a>,
        place: Option<Place<'a>>,
        settles: bool,
    },
    /// A counter moves.
    Count {
        tenant: &'a str,
        name: &'a str,
        by: i64,
    },
    /// Counters are forgotten.
    DropCounters { tenant: &'a str, prefix: &'a str },
    /// A device enters a list or changes there.
    ListPut {
        tenant: &'a str,
        list: &'a str,
        device: &'a str,
        score: i64,
        text: &'a str,
    },
    /// A device leaves a list.
    ListRemove {
        tenant: &'a str,
        list: &'a str,
        device: &'a str,
    },
    /// Events with consecutive numbers, each as length and text.
    Events {
        tenant: &'a str,
        first: u64,
        count: u32,
        at_ms: i64,
        texts: &'a [u8],
    },
    /// The oldest event that is kept and the number of the next one.
    FeedEnds {
        tenant: &'a str,
        oldest: u64,
        next: u64,
    },
    /// A document; `expires_ms` by the queue clock, zero for never.
    Document {
        name: &'a str,
        version: u64,
        expires_ms: i64,
        bytes: &'a [u8],
    },
    /// A document is gone.
    DocumentGone { name: &'a str },
    /// Lower epochs are refused.
    Fence { name: &'a str, epoch: u64 },
    /// A named lease has a new owner.
    Lease {
        name: &'a str,
        owner: &'a str,
        epoch: u64,
    },
    /// A selector is parked or taken back; an empty flow is all of the tenant.
    Park {
        tenant: &'a str,
        flow: &'a str,
        parked: bool,
    },
    /// The queue clock is ahead of the wall clock by this much.
    Correction { ms: i64 },
    /// The store was opened for the n-th time.
    Opened { times: u64 },
}

impl<'a> Op<'a> {
    /// Appends the change to a frame.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(self.tag());
        match *self {
            Op::Checkpoint => {}
            Op::Record(record) | Op::Moved(record) => write_record(out, &record),
            Op::Delete(key) => write_key(out, key),
            Op::Place {
                key,
                place,
                settles,
            } => {
                write_key(out, key);
                write_place(out, place);
                out.put_u8(settles.into());
            }
            Op::Count { tenant, name, by } => {
                write_texts(out, &[tenant, name]);
                out.put_i64(by);
            }
            Op::DropCounters { tenant, prefix } => write_texts(out, &[tenant, prefix]),
            Op::ListPut { score, text, .. } => {
                self.write_list(out);
                out.put_i64(score);
                out.put_text(text);
            }
            Op::ListRemove { .. } => self.write_list(out),
            Op::Events { .. } | Op::FeedEnds { .. } => self.write_feed(out),
            Op::Document { .. } | Op::DocumentGone { .. } => self.write_document(out),
            Op::Fence { name, epoch } => {
                out.put_text(name);
                out.put_u64(epoch);
            }
            Op::Lease { name, owner, epoch } => {
                write_texts(out, &[name, owner]);
                out.put_u64(epoch);
            }
            Op::Park {
                tenant,
                flow,
                parked,
            } => {
                write_texts(out, &[tenant, flow]);
                out.put_u8(parked.into());
            }
            Op::Correction { ms } => out.put_i64(ms),
            Op::Opened { times } => out.put_u64(times),
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Op::Checkpoint => 1,
            Op::Record(_) => 2,
            Op::Moved(_) => 3,
            Op::Delete(_) => 4,
            Op::Place { .. } => 5,
            Op::Count { .. } => 6,
            Op::DropCounters { .. } => 7,
            Op::ListPut { .. } => 8,
            Op::ListRemove { .. } => 9,
            Op::Events { .. } => 10,
            Op::FeedEnds { .. } => 11,
            Op::Document { .. } => 12,
            Op::DocumentGone { .. } => 13,
            Op::Fence { .. } => 14,
            Op::Lease { .. } => 15,
            Op::Park { .. } => 16,
            Op::Correction { .. } => 17,
            Op::Opened { .. } => 18,
        }
    }

    fn write_list(&self, out: &mut Vec<u8>) {
        if let Op::ListPut {
            tenant,
            list,
            device,
            ..
        }
        | Op::ListRemove {
            tenant,
            list,
            device,
        } = *self
        {
            write_texts(out, &[tenant, list, device]);
        }
    }

    fn write_feed(&self, out: &mut Vec<u8>) {
        if let Op::Events {
            tenant,
            first,
            count,
            at_ms,
            texts,
        } = *self
        {
            out.put_text(tenant);
            out.put_u64(first);
            out.put_u32(count);
            out.put_i64(at_ms);
            out.put_bytes(texts);
        }
        if let Op::FeedEnds {
            tenant,
            oldest,
            next,
        } = *self
        {
            out.put_text(tenant);
            out.put_u64(oldest);
            out.put_u64(next);
        }
    }

    fn write_document(&self, out: &mut Vec<u8>) {
        if let Op::Document {
            name,
            version,
            expires_ms,
            bytes,
        } = *self
        {
            out.put_text(name);
            out.put_u64(version);
            out.put_i64(expires_ms);
            out.put_bytes(bytes);
        }
        if let Op::DocumentGone { name } = *self {
            out.put_text(name);
        }
    }

    /// Reads the next change of a payload.
    pub(super) fn read(from: &mut Bytes<'a>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            1 => Op::Checkpoint,
            2 => Op::Record(read_record(from)?),
            3 => Op::Moved(read_record(from)?),
            4 => Op::Delete(read_key(from)?),
            5 => Op::Place {
                key: read_key(from)?,
                place: read_place(from)?,
                settles: from.u8()? != 0,
            },
            6 => Op::Count {
                tenant: from.text()?,
                name: from.text()?,
                by: from.i64()?,
            },
            7 => Op::DropCounters {
                tenant: from.text()?,
                prefix: from.text()?,
            },
            8 => Op::ListPut {
                tenant: from.text()?,
                list: from.text()?,
                device: from.text()?,
                score: from.i64()?,
                text: from.text()?,
            },
            9 => Op::ListRemove {
                tenant: from.text()?,
                list: from.text()?,
                device: from.text()?,
            },
            tag => Self::read_rare(tag, from)?,
        })
    }

    fn read_rare(tag: u8, from: &mut Bytes<'a>) -> Result<Self, Malformed> {
        Ok(match tag {
            10 => Op::Events {
                tenant: from.text()?,
                first: from.u64()?,
                count: from.u32()?,
                at_ms: from.i64()?,
                texts: from.bytes()?,
            },
            11 => Op::FeedEnds {
                tenant: from.text()?,
                oldest: from.u64()?,
                next: from.u64()?,
            },
            12 => Op::Document {
                name: from.text()?,
                version: from.u64()?,
                expires_ms: from.i64()?,
                bytes: from.bytes()?,
            },
            13 => Op::DocumentGone { name: from.text()? },
            14 => Op::Fence {
                name: from.text()?,
                epoch: from.u64()?,
            },
            15 => Op::Lease {
                name: from.text()?,
                owner: from.text()?,
                epoch: from.u64()?,
            },
            16 => Op::Park {
                tenant: from.text()?,
                flow: from.text()?,
                parked: from.u8()? != 0,
            },
            17 => Op::Correction { ms: from.i64()? },
            18 => Op::Opened { times: from.u64()? },
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests;
