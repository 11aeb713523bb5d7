//! Sinks: from typed keys and values to the bytes of an output record.

use std::sync::Arc;

use super::{Meta, Node, NodeContext, Step};
use crate::StreamsError;
use crate::serdes::{SerdeError, SharedSerde};
use crate::task::{OutputRecord, Progress, partition_for_key};

/// Chooses the partition of an output record from key, value and the number of
/// partitions.
pub(crate) type Partitioner<K, V> = Arc<dyn Fn(&K, &V, i32) -> i32 + Send + Sync>;

/// Writes a stream to a topic.
pub(crate) struct Sink<K, V> {
    /// The topic as it was declared, for error messages.
    pub(crate) topic: String,
    /// The sink's index in its sub-topology.
    pub(crate) index: usize,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
    /// Whether records without a key are skipped and counted: where a topic
    /// repartitions by key they have no place to go.
    pub(crate) needs_key: bool,
}

impl<K, V> Node<K, V> for Sink<K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let failed = |part: &'static str| {
            let topic = self.topic.clone();
            move |error: SerdeError| StreamsError::Serialize {
                part,
                topic,
                cause: error.into(),
            }
        };
        let key_bytes = self.key.to_bytes(key).map_err(failed("key"))?;
        if self.needs_key && key_bytes.is_none() {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let value_bytes = self.value.to_bytes(value).map_err(failed("value"))?;
        let partitions = cx.task.sink_partitions(self.index);
        let partition = match (&self.partitioner, &key_bytes) {
            (Some(choose), _) => Some(choose(key, value, partitions)),
            (None, Some(bytes)) => {
                let part = self.key.partition_bytes(bytes);
                (part.len() < bytes.len()).then(|| partition_for_key(part, partitions))
            }
            (None, None) => None,
        };
        cx.task.send(
            self.index,
            OutputRecord {
                partition,
                key: key_bytes,
                value: value_bytes,
                headers: meta.headers.to_vec(),
                timestamp: meta.timestamp,
            },
        );
        Ok(())
    }

    fn step(
        &mut self,
        _step: Step,
        _cx: &mut NodeContext<'_, '_>,
    ) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }
}
