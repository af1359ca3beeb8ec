//! Splits a body that comes in pieces into lines, with bounded memory.

/// A byte order mark in UTF-8, which some editors and shells put in front.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line of a body; lines are counted from 1, blank ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its number and its bytes without the end of line; never blank.
    Text(u64, &'a [u8]),
    /// The number of a line that is longer than allowed; its bytes are skipped.
    TooLong(u64),
}

/// Splits pieces into lines. Holds at most one unfinished line.
#[derive(Debug)]
pub(super) struct LineSplitter {
    line_bytes_max: usize,
    unfinished: Vec<u8>,
    skipping: bool,
    ended: u64,
}

impl LineSplitter {
    /// Takes lines of at most `line_bytes_max` bytes, the end of line not counted.
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            unfinished: Vec::new(),
            skipping: false,
            ended: 0,
        }
    }

    /// Gives every line that ends in `piece` to `take`, and keeps the rest.
    pub(super) fn feed(&mut self, piece: &[u8], mut take: impl FnMut(Line<'_>)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            self.end_line(&piece[start..end], &mut take);
            start = end + 1;
        }
        self.keep(&piece[start..]);
    }

    /// Gives the last line to `take` if no end of line followed it. The body must have come whole.
    pub(super) fn finish(mut self, mut take: impl FnMut(Line<'_>)) {
        if self.skipping || !self.unfinished.is_empty() {
            self.end_line(&[], &mut take);
        }
    }

    fn end_line(&mut self, tail: &[u8], take: &mut impl FnMut(Line<'_>)) {
        self.ended += 1;
        if self.skipping || self.unfinished.len() + tail.len() > self.line_bytes_max {
            self.skipping = false;
            self.unfinished.clear();
            take(Line::TooLong(self.ended));
            return;
        }
        if self.unfinished.is_empty() {
            give(self.ended, tail, take);
            return;
        }
        self.unfinished.extend_from_slice(tail);
        give(self.ended, &self.unfinished, take);
        self.unfinished.clear();
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.skipping || rest.is_empty() {
            return;
        }
        if self.unfinished.len() + rest.len() > self.line_bytes_max {
            self.skipping = true;
            self.unfinished.clear();
            return;
        }
        self.unfinished.extend_from_slice(rest);
    }
}

fn give(number: u64, line: &[u8], take: &mut impl FnMut(Line<'_>)) {
    let line = match line.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if number == 1 => rest,
        Some(_) | None => line,
    };
    if !line.trim_ascii().is_empty() {
        take(Line::Text(number, line));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Found {
        Text(u64, Vec<u8>),
        TooLong(u64),
    }

    fn split(pieces: &[&[u8]], max: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut take = |line: Line<'_>| {
            found.push(match line {
                Line::Text(number, text) => Found::Text(number, text.to_vec()),
                Line::TooLong(number) => Found::TooLong(number),
            });
        };
        let mut splitter = LineSplitter::new(max);
        for piece in pieces {
            splitter.feed(piece, &mut take);
            assert!(splitter.unfinished.len() <= max, "memory is bounded");
        }
        splitter.finish(&mut take);
        found
    }

    fn text(number: u64, text: &str) -> Found {
        Found::Text(number, text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_numbered_from_one_and_blank_ones_are_counted_but_not_given() {
        let found = split(&[b"a\n\n \r\nb\r\n", b"c"], 10);
        assert_eq!(found, [text(1, "a"), text(4, "b\r"), text(5, "c")]);
    }

    #[test]
    fn a_line_over_the_limit_is_told_by_its_number_and_does_not_stop_the_others() {
        let found = split(&[b"12345\n123", b"456\n12", b"\n1234567"], 5);
        let wanted = [
            text(1, "12345"),
            Found::TooLong(2),
            text(3, "12"),
            Found::TooLong(4),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_byte_order_mark_in_front_is_no_part_of_the_first_line() {
        let found = split(&[b"\xEF\xBB", b"\xBFa\n\xEF\xBB\xBFb"], 10);
        assert_eq!(found[0], text(1, "a"));
        assert_eq!(found[1], Found::Text(2, b"\xEF\xBB\xBFb".to_vec()));
    }

    proptest! {
        #[test]
        fn where_a_body_is_cut_into_pieces_does_not_matter(
            body in "[ab\n]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6), max in 1_usize..8,
        ) {
            let bytes = body.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            prop_assert_eq!(split(&pieces, max), split(&[bytes], max));
            let wanted: Vec<Found> = body.split('\n').enumerate().filter(|(_, l)| !l.is_empty()).map(|(i, l)| {
                let number = i as u64 + 1;
                if l.len() > max { Found::TooLong(number) } else { text(number, l) }
            }).collect();
            prop_assert_eq!(split(&[bytes], max), wanted);
        }
    }
}
