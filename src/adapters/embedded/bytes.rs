//! How numbers and texts stand in the log: little-endian, texts with their length in front.

/// The bytes do not hold what was expected of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log holds something unreadable")]
pub(super) struct Malformed;

/// Appends to a frame under construction.
pub(super) trait Put {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Four bytes.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes.
    fn put_u64(&mut self, value: u64);
    /// Eight bytes.
    fn put_i64(&mut self, value: i64);
    /// Four bytes of length and the text.
    fn put_text(&mut self, text: &str);
    /// Four bytes of length and the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a frame is far shorter than 4 GiB");
        self.put_u32(length);
        self.extend_from_slice(bytes);
    }
}

/// Reads what [`Put`] wrote, and knows where it is.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.all.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.all.get(self.at..).ok_or(Malformed)?;
        let taken = rest.get(..length).ok_or(Malformed)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_and_no_more() {
        let mut out = Vec::new();
        out.put_u8(7);
        out.put_i64(-1);
        out.put_text("ü");
        out.put_bytes(b"\0\xff");

        let mut bytes = Bytes::new(&out);

        assert_eq!((bytes.u8(), bytes.i64()), (Ok(7), Ok(-1)));
        assert_eq!((bytes.text(), bytes.bytes()), (Ok("ü"), Ok(&b"\0\xff"[..])));
        assert!(bytes.is_empty());
        assert_eq!(bytes.u32(), Err(Malformed));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(Bytes::new(&[255, 255, 0, 0, 1]).text(), Err(Malformed));
        assert_eq!(Bytes::new(&[255, 255, 255, 255, 1]).bytes(), Err(Malformed));
    }
}
