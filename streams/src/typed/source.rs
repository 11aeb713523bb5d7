//! Sources: from the bytes of an input record to typed keys and values.

use std::sync::Arc;

use super::{Meta, NodeContext, Outputs, Step};
use crate::StreamsError;
use crate::serdes::{SerdeError, SharedSerde};
use crate::task::{InputRecord, Progress};

/// What to do with a record whose key or value cannot be deserialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadRecord {
    /// The job fails and says topic, partition and offset. Nothing is lost.
    #[default]
    Fail,
    /// The record is skipped and counted.
    Skip,
}

/// Reads the event time of a record out of key and value; the last argument is the
/// record's own timestamp.
pub(crate) type TimestampExtractor<K, V> = Arc<dyn Fn(&K, &V, i64) -> i64 + Send + Sync>;

/// Where a reader's event time comes from.
pub(crate) struct EventTime<K, V> {
    pub(crate) extractor: Option<TimestampExtractor<K, V>>,
    /// The source in the sub-topology, if this reader has to say its time because the
    /// order of its input does not follow the records' own timestamps.
    pub(crate) told_for: Option<usize>,
}

impl<K, V> EventTime<K, V> {
    /// The record's event time; the watermark of its source follows.
    pub(crate) fn of(
        &self,
        key: &K,
        value: &V,
        record: &InputRecord,
        cx: &mut NodeContext<'_, '_>,
    ) -> i64 {
        let at = match &self.extractor {
            Some(extract) => extract(key, value, record.timestamp),
            None => record.timestamp,
        };
        if let Some(source) = self.told_for {
            cx.task.observe_event_time(source, at);
        }
        at
    }
}

/// A typed reader of one topic.
pub(crate) trait SourceNode {
    fn record(
        &mut self,
        record: &InputRecord,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError>;

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError>;
}

/// The source of a stream.
pub(crate) struct Source<K, V> {
    pub(crate) name: String,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
    pub(crate) on_bad_record: OnBadRecord,
    pub(crate) time: EventTime<K, V>,
    pub(crate) out: Outputs<K, V>,
}

/// The metadata that a record from a topic begins with.
pub(crate) fn meta_of(record: &InputRecord) -> Meta<'_> {
    Meta {
        timestamp: record.timestamp,
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        headers: &record.headers,
    }
}

/// Decides over a record that could not be deserialized.
pub(crate) fn bad_record(
    source: &str,
    part: &'static str,
    error: SerdeError,
    policy: OnBadRecord,
    record: &InputRecord,
    cx: &mut NodeContext<'_, '_>,
) -> Result<(), StreamsError> {
    match policy {
        OnBadRecord::Skip => {
            tracing::debug!(
                source, topic = &*record.topic, partition = record.partition,
                offset = record.offset, %error, "skipped a record that cannot be read"
            );
            cx.task.skipped_record(1);
            Ok(())
        }
        OnBadRecord::Fail => Err(StreamsError::Deserialize {
            part,
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            cause: error.into(),
        }),
    }
}

impl<K, V> SourceNode for Source<K, V> {
    fn record(
        &mut self,
        record: &InputRecord,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let policy = self.on_bad_record;
        let key = match self.key.deserialize_nullable(record.key.as_ref()) {
            Ok(key) => key,
            Err(error) => return bad_record(&self.name, "key", error, policy, record, cx),
        };
        let value = match self.value.deserialize_nullable(record.value.as_ref()) {
            Ok(value) => value,
            Err(error) => return bad_record(&self.name, "value", error, policy, record, cx),
        };
        let at = self.time.of(&key, &value, record, cx);
        let meta = meta_of(record).with_timestamp(at);
        self.out.forward(&key, &value, &meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}
