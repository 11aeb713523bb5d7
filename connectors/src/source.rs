//! The source side of the connector trait.
//!
//! A source gives records in one order that is the same each time it is read, each with
//! a [`Position`] that grows. That is all the runner needs to write every record to the
//! topic once and in order through any crash: it commits positions together with the data
//! and opens the source at the last one.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ConnectorError;

/// How far a source has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The record's number in the source, from 1; grows with each record.
    pub sequence: u64,
    /// What the source needs to go on behind this record. Small; opaque to the runner.
    pub cursor: serde_json::Value,
}

/// A record read from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// The record's number in the source, from 1.
    pub sequence: u64,
    /// The key, which also chooses the partition; without one partitions take turns.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch; the time of writing when absent.
    pub timestamp: Option<i64>,
}

/// What a source had to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePoll {
    /// Records, and the position behind the last of them.
    Records {
        /// In the source's order; may be empty when all were passed over as malformed.
        records: Vec<SourceRecord>,
        /// Where to go on.
        position: Position,
        /// How many malformed records were passed over on the way.
        skipped: u64,
    },
    /// Nothing now, perhaps later.
    Idle,
    /// Nothing any more.
    End,
}

/// How long a source is, for a progress display.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Bytes read so far.
    pub done: u64,
    /// Bytes in all, where the source has an end.
    pub total: Option<u64>,
}

/// Something that is not a topic and can be read into one.
#[async_trait]
pub trait SourceConnector: Send {
    /// Goes to the record behind `position`, or to the beginning.
    ///
    /// # Errors
    /// The source cannot be reached, or is not what `position` was taken from.
    async fn open(&mut self, position: Option<&Position>) -> Result<(), ConnectorError>;

    /// The next records.
    ///
    /// # Errors
    /// The source cannot be read, or a record is malformed and the source is told to stop
    /// at such.
    async fn poll(&mut self) -> Result<SourcePoll, ConnectorError>;

    /// How far it is.
    fn progress(&self) -> SourceProgress;

    /// Whether the source has an end ([`SourcePoll::End`] will come).
    fn is_bounded(&self) -> bool;
}
