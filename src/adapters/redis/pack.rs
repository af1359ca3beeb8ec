//! Writes MessagePack, the form in which a script gets a batch: one argument, read by `cmsgpack` in C.
//!
//! Only what the scripts need: integers, byte strings and arrays.

/// A growing MessagePack text.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Pack(Vec<u8>);

impl Pack {
    /// Begins an array of `len` values, which must follow.
    pub(super) fn array(&mut self, len: usize) -> &mut Self {
        let len = u32::try_from(len).expect("a batch has fewer than 2^32 parts");
        match u8::try_from(len) {
            Ok(short) if short < 16 => self.0.push(0x90 | short),
            _ => {
                self.0.push(0xdd);
                self.0.extend_from_slice(&len.to_be_bytes());
            }
        }
        self
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        match u8::try_from(value) {
            Ok(small) if small < 128 => self.0.push(small),
            _ => {
                self.0.push(0xd3);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
        self
    }

    pub(super) fn index(&mut self, value: usize) -> &mut Self {
        self.int(i64::try_from(value).expect("an index of a batch"))
    }

    /// A string from parts, written one after the other.
    pub(super) fn text(&mut self, parts: &[&[u8]]) -> &mut Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).expect("a record has fewer than 2^32 bytes");
        match u8::try_from(len) {
            Ok(short) if short < 32 => self.0.push(0xa0 | short),
            Ok(short) => self.0.extend_from_slice(&[0xd9, short]),
            Err(_) => {
                self.0.push(0xdb);
                self.0.extend_from_slice(&len.to_be_bytes());
            }
        }
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self
    }

    pub(super) fn str(&mut self, text: &str) -> &mut Self {
        self.text(&[text.as_bytes()])
    }

    /// Adds values that were written apart.
    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// An array that was filled before.
    pub(super) fn row(&mut self, row: &Row) -> &mut Self {
        self.array(row.len);
        self.0.extend_from_slice(&row.pack.0);
        self
    }

    /// An array that was filled before, or 0 if it is the same as `all`.
    pub(super) fn row_or_all(&mut self, row: &Row, all: &Row) -> &mut Self {
        match row == all && !row.is_empty() {
            true => self.int(0),
            false => self.row(row),
        }
    }

    /// An array of a command's name, its key and what follows.
    pub(super) fn command(&mut self, name: &str, key: usize, arguments: &Row) -> &mut Self {
        self.array(2 + arguments.len).str(name).index(key);
        self.0.extend_from_slice(&arguments.pack.0);
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// An array that grows.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    len: usize,
    pack: Pack,
}

impl Row {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.len += 1;
        self.pack.int(value);
        self
    }

    pub(super) fn text(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.len += 1;
        self.pack.text(parts);
        self
    }

    pub(super) fn str(&mut self, text: &str) -> &mut Self {
        self.text(&[text.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_bytes_of_the_specification() {
        let mut pack = Pack::default();
        pack.array(3).int(-1).int(127).text(&[b"a", b"b"]);
        assert_eq!(
            pack.into_bytes(),
            [
                0x93, 0xd3, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0xa2, b'a', b'b'
            ]
        );
    }

    #[test]
    fn an_array_that_is_the_same_as_another_is_written_once() {
        let (mut all, mut same, mut other) = (Row::default(), Row::default(), Row::default());
        all.str("a").str("b");
        same.str("a").str("b");
        other.str("a");
        let mut pack = Pack::default();
        pack.row(&all).row_or_all(&same, &all);
        pack.row_or_all(&other, &all)
            .row_or_all(&Row::default(), &Row::default());
        let written = [0x92, 0xa1, b'a', 0xa1, b'b', 0, 0x91, 0xa1, b'a', 0x90];
        assert_eq!(pack.into_bytes(), written);
    }

    #[test]
    fn long_values_get_long_headers() {
        let mut pack = Pack::default();
        pack.array(16)
            .int(128)
            .str(&"x".repeat(32))
            .str(&"y".repeat(256));
        let bytes = pack.into_bytes();
        assert_eq!(&bytes[..5], [0xdd, 0, 0, 0, 16]);
        assert_eq!(&bytes[5..14], [0xd3, 0, 0, 0, 0, 0, 0, 0, 128]);
        assert_eq!(&bytes[14..16], [0xd9, 32]);
        assert_eq!(&bytes[48..53], [0xdb, 0, 0, 1, 0]);
    }
}
