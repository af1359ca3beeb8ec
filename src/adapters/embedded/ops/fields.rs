//! The parts that changes share: keys, places, records with their checksum.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::bytes::{Bytes, Malformed, Put},
    Key, Place, RECORD_CHECKSUM_BYTES, Record,
};

const NO_PLACE: u8 = 0;
const PLACE: u8 = 1;

/// The short checksum that stands before the bytes of a record.
pub(in super::super) fn record_checksum(bytes: &[u8]) -> [u8; RECORD_CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_le_bytes();
    [a, b, c, d]
}

pub(super) fn write_texts(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.put_text(text);
    }
}

pub(super) fn write_key(out: &mut Vec<u8>, key: Key<'_>) {
    write_texts(out, &[key.tenant, key.device]);
}

pub(super) fn write_place(out: &mut Vec<u8>, place: Option<Place<'_>>) {
    let Some(place) = place else {
        return out.put_u8(NO_PLACE);
    };
    out.put_u8(PLACE);
    out.put_text(place.queue);
    out.put_i64(place.due_ms);
}

pub(super) fn write_record(out: &mut Vec<u8>, record: &Record<'_>) {
    write_key(out, record.key);
    out.put_u32(record.revision);
    write_place(out, record.place);
    out.put_u8(record.settles.into());
    let length = u32::try_from(record.bytes.len()).expect("a frame is far shorter than 4 GiB");
    out.put_u32(length);
    out.extend_from_slice(&record_checksum(record.bytes));
    out.extend_from_slice(record.bytes);
}

pub(super) fn read_key<'a>(from: &mut Bytes<'a>) -> Result<Key<'a>, Malformed> {
    let (tenant, device) = (from.text()?, from.text()?);
    Ok(Key { tenant, device })
}

pub(super) fn read_place<'a>(from: &mut Bytes<'a>) -> Result<Option<Place<'a>>, Malformed> {
    match from.u8()? {
        NO_PLACE => Ok(None),
        PLACE => {
            let (queue, due_ms) = (from.text()?, from.i64()?);
            Ok(Some(Place { queue, due_ms }))
        }
        _ => Err(Malformed),
    }
}

pub(super) fn read_record<'a>(from: &mut Bytes<'a>) -> Result<Record<'a>, Malformed> {
    let (key, revision) = (read_key(from)?, from.u32()?);
    let (place, settles) = (read_place(from)?, from.u8()? != 0);
    let length = usize::try_from(from.u32()?).map_err(|_| Malformed)?;
    let at = from.at();
    from.take(RECORD_CHECKSUM_BYTES)?;
    let bytes = from.take(length)?;
    Ok(Record {
        key,
        revision,
        place,
        settles,
        bytes,
        at,
    })
}
