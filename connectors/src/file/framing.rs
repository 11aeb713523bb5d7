//! Cutting a byte stream into records.
//!
//! A record ends at a line end. In CSV a line end between quotes belongs to the record;
//! since a quote within quotes is doubled, that is where the record holds an odd number of
//! quotes so far. A record without its line end at the end of the stream is whole only if
//! the stream is: a file that still grows may be in the middle of it.

use std::io::{self, BufRead};

/// How records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// At each line end.
    Lines,
    /// At each line end that is not between quotes.
    Csv {
        /// The quote.
        quote: u8,
    },
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole record is in the buffer, without its line end.
    Record,
    /// The stream ends in the middle of a record; what is there is in the buffer.
    Partial,
    /// The stream ends behind a record.
    End,
    /// The record is longer than the limit.
    TooLong,
}

/// Reads records and counts what it has read.
pub(crate) struct RecordReader<R> {
    input: R,
    framing: Framing,
    limit: usize,
    /// Bytes read, line ends included.
    bytes: u64,
    /// Line ends read.
    lines: u64,
    /// Quotes in the record so far: a partial record may go on later.
    quotes: usize,
}

impl<R: BufRead> RecordReader<R> {
    pub(crate) fn new(input: R, framing: Framing, limit: usize) -> Self {
        Self {
            input,
            framing,
            limit,
            bytes: 0,
            lines: 0,
            quotes: 0,
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the line that the next byte is on, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.lines + 1
    }

    /// The stream behind the records, to pass over a part that was read before.
    pub(crate) fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Says that the stream starts `bytes` and `lines` into the file.
    pub(crate) fn start_at(&mut self, bytes: u64, lines: u64) {
        self.bytes = bytes;
        self.lines = lines;
    }

    /// Appends to `record` until the record ends. Give back the same buffer after
    /// [`Frame::Partial`] to go on, an empty one otherwise.
    pub(crate) fn read(&mut self, record: &mut Vec<u8>) -> io::Result<Frame> {
        loop {
            let before = record.len();
            let read = self.input.read_until(b'\n', record)?;
            if read == 0 {
                return Ok(if record.is_empty() {
                    Frame::End
                } else {
                    Frame::Partial
                });
            }
            self.bytes += read as u64;
            if let Framing::Csv { quote } = self.framing {
                let added = record.get(before..).unwrap_or_default();
                self.quotes += added.iter().filter(|&&byte| byte == quote).count();
            }
            if record.len() > self.limit {
                return Ok(Frame::TooLong);
            }
            if record.last() != Some(&b'\n') {
                continue;
            }
            self.lines += 1;
            if self.quotes % 2 == 1 {
                continue;
            }
            self.quotes = 0;
            record.pop();
            if record.last() == Some(&b'\r') {
                record.pop();
            }
            return Ok(Frame::Record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(input: &[u8], framing: Framing) -> (Vec<String>, Frame) {
        let mut reader = RecordReader::new(input, framing, 100);
        let mut records = Vec::new();
        loop {
            let mut record = Vec::new();
            match reader.read(&mut record).unwrap() {
                Frame::Record => records.push(String::from_utf8(record).unwrap()),
                end => return (records, end),
            }
        }
    }

    #[test]
    fn lines_end_records_and_carriage_returns_are_dropped() {
        let (records, end) = frames(b"a\r\n\nb\n", Framing::Lines);
        assert_eq!(records, ["a", "", "b"]);
        assert_eq!(end, Frame::End);
    }

    #[test]
    fn quoted_line_ends_belong_to_a_csv_record() {
        let csv = Framing::Csv { quote: b'"' };
        let (records, end) = frames(b"1,\"a\nb\"\n2,\"say \"\"hi\"\"\"\n", csv);
        assert_eq!(records, ["1,\"a\nb\"", "2,\"say \"\"hi\"\"\""]);
        assert_eq!(end, Frame::End);
    }

    #[test]
    fn the_last_record_without_a_line_end_is_partial() {
        assert_eq!(frames(b"a\nb", Framing::Lines).1, Frame::Partial);
    }

    #[test]
    fn a_record_that_never_ends_is_refused_at_the_limit() {
        let endless = [b'x'; 500];
        assert_eq!(frames(&endless, Framing::Lines).1, Frame::TooLong);
        let mut open_quote = b"\"".to_vec();
        open_quote.extend(b"line\n".repeat(100));
        let csv = Framing::Csv { quote: b'"' };
        assert_eq!(frames(&open_quote, csv).1, Frame::TooLong);
    }

    #[test]
    fn bytes_and_lines_are_counted() {
        let mut reader = RecordReader::new(&b"a\nbc\n"[..], Framing::Lines, 100);
        reader.start_at(10, 3);
        let mut record = Vec::new();
        reader.read(&mut record).unwrap();
        assert_eq!((reader.bytes(), reader.line()), (12, 5));
    }
}
