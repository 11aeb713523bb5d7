//! What a task sends, and to which partition.
//!
//! The partition of a record for a repartition topic is chosen here and not by the
//! producer, because watermarks are told to each target partition: the first record that
//! goes to a partition after the watermark has moved carries it along.

use super::TaskId;
use super::time::{TIME_HEADER, TimeReport};
use bytes::Bytes;
use std::sync::Arc;

pub use thalweg_log::record::Header;

/// A record that a program sends to one of its sinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputRecord {
    /// The target partition; `None` chooses by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The record's timestamp in milliseconds.
    pub timestamp: i64,
}

/// A record on its way to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The sink: an index into the sub-topology's list.
    pub sink: usize,
    /// The resolved topic.
    pub topic: Arc<str>,
    /// The target partition; `None` leaves it to the producer (never for a repartition topic).
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The record's timestamp in milliseconds.
    pub timestamp: i64,
}

/// A resolved sink of a task.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
    pub(crate) repartition: bool,
}

/// The outputs a task has not handed over yet, and what each repartition partition was
/// last told about the task's time.
#[derive(Debug)]
pub(crate) struct OutputBuffer {
    task: TaskId,
    tasks: i32,
    pub(crate) sinks: Vec<Sink>,
    /// For each sink that is a repartition topic, the last report to each partition.
    told: Vec<Vec<Option<(i64, bool)>>>,
    /// The watermark and idleness that may be told: everything sent from now on is
    /// promised not to be older, lateness aside.
    promised: Option<(i64, bool)>,
    /// What every repartition partition has been told.
    told_all: Option<(i64, bool)>,
    pub(crate) pending: Vec<Output>,
    pending_bytes: usize,
    round_robin: i32,
}

impl OutputBuffer {
    pub(crate) fn new(task: TaskId, tasks: i32, sinks: Vec<Sink>) -> Self {
        let told = sinks
            .iter()
            .map(|sink| match sink.repartition {
                true => vec![None; usize::try_from(sink.partitions).unwrap_or(0)],
                false => Vec::new(),
            })
            .collect();
        Self {
            task,
            tasks,
            sinks,
            told,
            promised: None,
            told_all: None,
            pending: Vec::new(),
            pending_bytes: 0,
            round_robin: task.partition,
        }
    }

    pub(crate) fn push(&mut self, sink: usize, record: OutputRecord) -> bool {
        let Some(target) = self.sinks.get(sink) else {
            return false;
        };
        let mut headers = record.headers;
        let mut partition = record.partition;
        if target.repartition {
            let chosen = match (partition, &record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_for_key(key, target.partitions),
                (None, None) => {
                    self.round_robin = self.round_robin.wrapping_add(1) & i32::MAX;
                    self.round_robin % target.partitions.max(1)
                }
            };
            partition = Some(chosen);
            let told = usize::try_from(chosen)
                .ok()
                .and_then(|p| self.told.get_mut(sink)?.get_mut(p));
            if let (Some(told), Some(promised)) = (told, self.promised)
                && *told != Some(promised)
            {
                *told = Some(promised);
                headers.push(report(self.task, self.tasks, promised, false));
            }
        }
        self.pending_bytes += 64
            + record.key.as_ref().map_or(0, Bytes::len)
            + record.value.as_ref().map_or(0, Bytes::len);
        self.pending.push(Output {
            sink,
            topic: Arc::clone(&target.topic),
            partition,
            key: record.key,
            value: record.value,
            headers,
            timestamp: record.timestamp,
        });
        true
    }

    /// From now on records carry this watermark.
    pub(crate) fn promise(&mut self, watermark: i64, idle: bool) {
        self.promised = Some((watermark, idle));
    }

    /// Tells every repartition partition that has not heard it yet, in records without
    /// key and value.
    pub(crate) fn push_markers(&mut self, timestamp: i64) {
        let Some(promised) = self.promised else {
            return;
        };
        if promised.0 == super::time::NO_WATERMARK && !promised.1 {
            return;
        }
        self.told_all = Some(promised);
        for (sink, (target, told)) in self.sinks.iter().zip(&mut self.told).enumerate() {
            for (partition, told) in (0..).zip(told) {
                if *told == Some(promised) {
                    continue;
                }
                *told = Some(promised);
                self.pending_bytes += 96;
                self.pending.push(Output {
                    sink,
                    topic: Arc::clone(&target.topic),
                    partition: Some(partition),
                    key: None,
                    value: None,
                    headers: vec![report(self.task, self.tasks, promised, true)],
                    timestamp,
                });
            }
        }
    }

    /// Whether some repartition partition has not heard this yet.
    pub(crate) fn is_untold(&self, watermark: i64, idle: bool) -> bool {
        self.sinks.iter().any(|sink| sink.repartition)
            && (watermark != super::time::NO_WATERMARK || idle)
            && self.told_all != Some((watermark, idle))
    }

    pub(crate) fn take(&mut self) -> Vec<Output> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pending_bytes
    }
}

fn report(task: TaskId, tasks: i32, (watermark, idle): (i64, bool), marker: bool) -> Header {
    let report = TimeReport {
        upstream: task,
        tasks,
        watermark,
        idle,
    };
    Header {
        key: Bytes::from_static(TIME_HEADER.as_bytes()),
        value: Some(report.encode(marker)),
    }
}

/// The partition that a key belongs to: that of Kafka's default partitioner.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// Kafka's murmur2 hash.
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word
            .iter()
            .rev()
            .fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_the_one_of_kafka() {
        // The vectors of Kafka's own UtilsTest.
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (input, expected) in vectors {
            assert_eq!(murmur2(input), expected);
        }
    }

    fn buffer() -> OutputBuffer {
        let sink = |topic: &str, repartition| Sink {
            topic: topic.into(),
            partitions: 2,
            repartition,
        };
        let task = TaskId {
            sub_topology: 0,
            partition: 1,
        };
        OutputBuffer::new(task, 3, vec![sink("out", false), sink("again", true)])
    }

    fn to(partition: i32) -> OutputRecord {
        OutputRecord {
            partition: Some(partition),
            ..OutputRecord::default()
        }
    }

    #[test]
    fn a_watermark_is_told_once_to_each_repartition_partition() {
        let mut outputs = buffer();
        outputs.push(1, to(0));
        outputs.promise(10, false);
        outputs.push(0, to(0));
        outputs.push(1, to(0));
        outputs.push(1, to(0));
        outputs.push_markers(10);
        outputs.push_markers(10);
        let told: Vec<_> = outputs
            .take()
            .iter()
            .map(|o| (o.sink, o.partition, o.headers.len()))
            .collect();
        assert_eq!(
            told,
            [
                (1, Some(0), 0),
                (0, Some(0), 0),
                (1, Some(0), 1),
                (1, Some(0), 0),
                (1, Some(1), 1),
            ]
        );
    }

    #[test]
    fn an_unknown_sink_takes_nothing() {
        assert!(!buffer().push(2, to(0)));
    }
}
