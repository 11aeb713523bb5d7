//! TxnOffsetCommit: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Commits a group's offsets within a transaction.
    request TxnOffsetCommitRequest(TxnOffsetCommit) {
        transactional_id: Str;
        group_id: Str;
        producer_id: i64;
        producer_epoch: i16;
        generation_id: i32 [3..] = -1;
        member_id: Str [3..];
        group_instance_id: Option<Str> [3..] = None;
        topics: Vec<TxnOffsetCommitRequestTopic>;
    }

    /// The offsets of one topic.
    struct TxnOffsetCommitRequestTopic {
        name: Str;
        partitions: Vec<TxnOffsetCommitRequestPartition>;
    }

    /// The offset of one partition.
    struct TxnOffsetCommitRequestPartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 [2..] = -1, ignorable;
        committed_metadata: Option<Str>;
    }

    /// The answer to a [`TxnOffsetCommitRequest`].
    response TxnOffsetCommitResponse(TxnOffsetCommit) {
        throttle_time_ms: i32;
        topics: Vec<TxnOffsetCommitResponseTopic>;
    }

    /// The answer for one topic.
    struct TxnOffsetCommitResponseTopic {
        name: Str;
        partitions: Vec<TxnOffsetCommitResponsePartition>;
    }

    /// The answer for one partition.
    struct TxnOffsetCommitResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
