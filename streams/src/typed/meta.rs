//! What a record carries besides key and value.

use crate::task::Header;

/// The metadata of the record being processed. It travels along the edges beside key
/// and value and is cheap to copy; a node that changes the timestamp passes on a copy.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// Event time in milliseconds since 1970.
    pub timestamp: i64,
    /// The topic that the record was read from; empty for a record made by a timer.
    pub topic: &'a str,
    /// The partition that the record was read from, -1 for a record made by a timer.
    pub partition: i32,
    /// The offset that the record was read at, -1 for a record made by a timer.
    pub offset: i64,
    /// The record's headers; they are written along when the record reaches a sink.
    pub headers: &'a [Header],
}

impl<'a> Meta<'a> {
    /// The metadata of a record that comes from a timer or a store and not from a topic.
    pub fn at(timestamp: i64) -> Meta<'static> {
        Meta {
            timestamp,
            topic: "",
            partition: -1,
            offset: -1,
            headers: &[],
        }
    }

    /// The same with another timestamp.
    #[must_use]
    pub fn with_timestamp(self, timestamp: i64) -> Meta<'a> {
        Meta { timestamp, ..self }
    }
}
