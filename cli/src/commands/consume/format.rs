//! How a record is printed: as its value, as JSON, or by a format of one's own.

use std::io::Write;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use thalweg_log::client::{ConsumerRecord, TopicPartition};
use thalweg_log::record::RecordBatch;

use crate::args::shown_time;
use crate::commands::log::Marker;
use crate::encoding::Encoding;

/// What is printed of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// Pieces, one after the other.
    Pieces(Vec<Piece>),
}

/// A piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A text as it is.
    Text(Vec<u8>),
    /// The topic.
    Topic,
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// The timestamp, in milliseconds since 1970.
    Timestamp,
    /// The timestamp, as people read it.
    Time,
    /// The key.
    Key,
    /// The value.
    Value,
    /// The headers, as `name=value,name=value`.
    Headers,
    /// The length of the key, -1 for null.
    KeyLength,
    /// The length of the value, -1 for null.
    ValueLength,
    /// The leader epoch.
    LeaderEpoch,
}

/// What the help says of formats.
pub const HELP: &str = "%t topic, %p partition, %o offset, %T timestamp in ms, %d timestamp as a time, %k key, %v value, \
%h headers, %K length of the key, %V length of the value, %e leader epoch, %% a percent sign; \\n, \\t, \\0 and \\xHH as in C";

impl Format {
    /// Reads a format such as `%k\t%v\n`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '\\' => {
                    match chars.next() {
                        Some('n') => plain.push(b'\n'),
                        Some('t') => plain.push(b'\t'),
                        Some('r') => plain.push(b'\r'),
                        Some('0') => plain.push(0),
                        Some('\\') => plain.push(b'\\'),
                        Some('x') => {
                            let digits: String = chars.by_ref().take(2).collect();
                            match u8::from_str_radix(&digits, 16) {
                                Ok(byte) if digits.len() == 2 => plain.push(byte),
                                _ => bail!("\\x takes two hexadecimal digits, not {digits:?}"),
                            }
                        }
                        other => bail!(
                            "{:?} is no escape; {HELP}",
                            other.map_or(String::new(), |c| format!("\\{c}"))
                        ),
                    }
                    continue;
                }
                '%' => match chars.next() {
                    Some('%') => {
                        plain.push(b'%');
                        continue;
                    }
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('T') => Piece::Timestamp,
                    Some('d') => Piece::Time,
                    Some('k') => Piece::Key,
                    Some('v' | 's') => Piece::Value,
                    Some('h') => Piece::Headers,
                    Some('K') => Piece::KeyLength,
                    Some('V' | 'S') => Piece::ValueLength,
                    Some('e') => Piece::LeaderEpoch,
                    other => bail!(
                        "%{} is unknown; {HELP}",
                        other.map_or(String::new(), String::from)
                    ),
                },
                c => {
                    let mut bytes = [0; 4];
                    plain.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self::Pieces(pieces))
    }
}

/// Prints records.
#[derive(Debug)]
pub struct Printer {
    pub format: Format,
    /// How keys and values are written.
    pub encoding: Encoding,
    /// What stands for null, but in JSON.
    pub null: Vec<u8>,
}

impl Printer {
    /// Prints a record.
    pub fn print(
        &self,
        out: &mut impl Write,
        place: &TopicPartition,
        record: &ConsumerRecord,
    ) -> std::io::Result<()> {
        match &self.format {
            Format::Json => writeln!(out, "{}", self.to_json(place, record)),
            Format::Pieces(pieces) => pieces
                .iter()
                .try_for_each(|piece| self.print_piece(out, piece, place, record)),
        }
    }

    /// Prints the markers of a control batch, as `kafka-dump-log` writes them.
    pub fn print_control(
        &self,
        out: &mut impl Write,
        place: &TopicPartition,
        batch: &RecordBatch,
    ) -> std::io::Result<()> {
        let records = batch.records().map_err(std::io::Error::other)?;
        for record in records {
            let record = record.map_err(std::io::Error::other)?;
            let marker = Marker::of(&record);
            match &self.format {
                Format::Json => writeln!(
                    out,
                    "{}",
                    json!({
                        "topic": place.topic.as_ref(),
                        "partition": place.partition,
                        "offset": record.offset,
                        "timestamp": record.timestamp,
                        "control": marker.name(),
                        "producer_id": batch.producer_id,
                        "producer_epoch": batch.producer_epoch,
                        "coordinator_epoch": marker.coordinator_epoch,
                    })
                )?,
                Format::Pieces(_) => writeln!(
                    out,
                    "{place} offset: {} {}: {} producerId: {} producerEpoch: {} {marker}",
                    record.offset,
                    batch.timestamp_type(),
                    record.timestamp,
                    batch.producer_id,
                    batch.producer_epoch,
                )?,
            }
        }
        Ok(())
    }

    fn print_piece(
        &self,
        out: &mut impl Write,
        piece: &Piece,
        place: &TopicPartition,
        record: &ConsumerRecord,
    ) -> std::io::Result<()> {
        let bytes = |out: &mut dyn Write, bytes: &Option<bytes::Bytes>| match bytes {
            Some(bytes) => out.write_all(&self.encoding.encode(bytes)),
            None => out.write_all(&self.null),
        };
        let length = |bytes: &Option<bytes::Bytes>| match bytes {
            Some(bytes) => i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            None => -1,
        };
        match piece {
            Piece::Text(text) => out.write_all(text),
            Piece::Topic => write!(out, "{}", place.topic),
            Piece::Partition => write!(out, "{}", place.partition),
            Piece::Offset => write!(out, "{}", record.offset),
            Piece::Timestamp => write!(out, "{}", record.timestamp),
            Piece::Time => out.write_all(shown_time(record.timestamp).as_bytes()),
            Piece::Key => bytes(out, &record.key),
            Piece::Value => bytes(out, &record.value),
            Piece::KeyLength => write!(out, "{}", length(&record.key)),
            Piece::ValueLength => write!(out, "{}", length(&record.value)),
            Piece::LeaderEpoch => write!(out, "{}", record.leader_epoch.unwrap_or(-1)),
            Piece::Headers => {
                for (at, header) in record.headers.iter().enumerate() {
                    if at > 0 {
                        out.write_all(b",")?;
                    }
                    out.write_all(&header.key)?;
                    out.write_all(b"=")?;
                    bytes(out, &header.value)?;
                }
                Ok(())
            }
        }
    }

    fn to_json(&self, place: &TopicPartition, record: &ConsumerRecord) -> Value {
        let text = |bytes: &Option<bytes::Bytes>| match bytes {
            None => Value::Null,
            Some(bytes) => json!(String::from_utf8_lossy(&self.encoding.encode(bytes))),
        };
        let headers: Vec<Value> = record
            .headers
            .iter()
            .map(|header| json!([String::from_utf8_lossy(&header.key), text(&header.value)]))
            .collect();
        json!({
            "topic": place.topic.as_ref(),
            "partition": place.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key": text(&record.key),
            "value": text(&record.value),
            "headers": headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read() {
        let format = Format::parse(r"%t-%p %o\t%k%%\x41\n").unwrap();
        let Format::Pieces(pieces) = format else {
            panic!("not pieces")
        };
        assert_eq!(
            pieces,
            [
                Piece::Topic,
                Piece::Text(b"-".to_vec()),
                Piece::Partition,
                Piece::Text(b" ".to_vec()),
                Piece::Offset,
                Piece::Text(b"\t".to_vec()),
                Piece::Key,
                Piece::Text(b"%A\n".to_vec()),
            ]
        );
        for (bad, says) in [
            ("%z", "%z is unknown"),
            ("%", "is unknown"),
            (r"\q", "no escape"),
            (r"\x4", "hexadecimal"),
        ] {
            let error = Format::parse(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
