//! The logs: folders, flushing, retention and compaction, as far as it is no topic's default.

use super::{BrokerKey, keys};
use crate::storage::Valid::{Any, AtLeast};

pub(super) static KEYS: &[BrokerKey] = keys! { false:
    "log.cleaner.backoff.ms" Long Some("15000"), AtLeast(0), ClusterWide,
        "How long the cleaner rests when no log needs compaction.";
    "log.cleaner.dedupe.buffer.size" Long Some("134217728"), AtLeast(1_048_576), ClusterWide,
        "Memory for the keys of the log that is being compacted, over all cleaner threads. A log with more keys takes several rounds.";
    "log.cleaner.enable" Boolean Some("true"), Any, ReadOnly,
        "Whether topics with the policy compact are compacted at all.";
    "log.cleaner.io.buffer.load.factor" Double Some("0.9"), Any, ClusterWide,
        "How full the memory for keys may become.";
    "log.cleaner.io.buffer.size" Int Some("524288"), AtLeast(0), ClusterWide,
        "Memory for reading and writing of the cleaner, over all its threads.";
    "log.cleaner.io.max.bytes.per.second" Double Some("1.7976931348623157E308"), Any, ClusterWide,
        "What the cleaner may read and write a second, over all its threads.";
    "log.cleaner.threads" Int Some("1"), AtLeast(0), ClusterWide,
        "Threads that compact logs.";
    "log.flush.offset.checkpoint.interval.ms" Int Some("60000"), AtLeast(0), ReadOnly,
        "How often it is written down up to where the logs were flushed, which is where recovery after a crash begins.";
    "log.flush.scheduler.interval.ms" Long Some("9223372036854775807"), AtLeast(1), ReadOnly,
        "Stands in for log.flush.interval.ms where that is not set.";
    "log.flush.start.offset.checkpoint.interval.ms" Int Some("60000"), AtLeast(0), ReadOnly,
        "How often the first offsets of the logs are written down: after a crash, what was deleted since then may be back until it is deleted again.";
    "log.retention.check.interval.ms" Long Some("300000"), AtLeast(1), ReadOnly,
        "How often it is looked for segments to delete.";
    "log.retention.hours" Int Some("168"), Any, ReadOnly,
        "How long segments are kept, in hours, where neither log.retention.ms nor log.retention.minutes is set; -1 for good.";
    "log.retention.minutes" Int None, Any, ReadOnly,
        "How long segments are kept, in minutes, where log.retention.ms is not set; -1 for good.";
    "log.roll.hours" Int Some("168"), AtLeast(1), ReadOnly,
        "The age at which a new segment begins, in hours, where log.roll.ms is not set.";
    "log.roll.jitter.hours" Int Some("0"), AtLeast(0), ReadOnly,
        "At most so much is taken off that age at random, in hours, where log.roll.jitter.ms is not set.";
    "producer.id.expiration.ms" Int Some("86400000"), AtLeast(1), ClusterWide,
        "What a partition remembers of a producer that wrote nothing for longer is dropped, unless a transaction of it is open.";
};
