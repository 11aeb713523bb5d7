//! AlterReplicaLogDirs: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Moves replicas to other log directories of the same broker.
    request AlterReplicaLogDirsRequest(AlterReplicaLogDirs) {
        dirs: Vec<AlterReplicaLogDir>;
    }

    /// What goes to one directory.
    struct AlterReplicaLogDir {
        path: Str;
        topics: Vec<AlterReplicaLogDirTopic>;
    }

    /// The partitions of one topic that go there.
    struct AlterReplicaLogDirTopic {
        name: Str;
        partitions: Vec<i32>;
    }

    /// The answer to an [`AlterReplicaLogDirsRequest`].
    response AlterReplicaLogDirsResponse(AlterReplicaLogDirs) {
        throttle_time_ms: i32;
        results: Vec<AlterReplicaLogDirTopicResult>;
    }

    /// The answer for one topic.
    struct AlterReplicaLogDirTopicResult {
        topic_name: Str;
        partitions: Vec<AlterReplicaLogDirPartitionResult>;
    }

    /// The answer for one partition.
    struct AlterReplicaLogDirPartitionResult {
        partition_index: i32;
        error_code: i16;
    }
}
