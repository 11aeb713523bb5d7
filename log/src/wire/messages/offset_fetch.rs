//! OffsetFetch: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Reads a group's committed offsets; from version 8 on those of several groups, in `groups`.
    request OffsetFetchRequest(OffsetFetch) {
        group_id: Str [..=7];
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, nullable 2..];
        groups: Vec<OffsetFetchRequestGroup> [8..];
        require_stable: bool [7..];
    }

    /// The partitions asked for, of one topic.
    struct OffsetFetchRequestTopic {
        name: Str;
        partition_indexes: Vec<i32>;
    }

    /// The topics asked for, of one group; null means all.
    struct OffsetFetchRequestGroup {
        group_id: Str;
        member_id: Option<Str> [9..] = None, ignorable;
        member_epoch: i32 [9..] = -1, ignorable;
        topics: Option<Vec<OffsetFetchRequestTopics>>;
    }

    /// The partitions asked for, of one topic of one group.
    struct OffsetFetchRequestTopics {
        name: Str [..=9], ignorable;
        topic_id: Uuid [10..], ignorable;
        partition_indexes: Vec<i32>;
    }

    /// The answer to an [`OffsetFetchRequest`].
    response OffsetFetchResponse(OffsetFetch) {
        throttle_time_ms: i32 [3..], ignorable;
        topics: Vec<OffsetFetchResponseTopic> [..=7];
        error_code: i16 [2..=7], ignorable;
        groups: Vec<OffsetFetchResponseGroup> [8..];
    }

    /// The offsets of one topic.
    struct OffsetFetchResponseTopic {
        name: Str;
        partitions: Vec<OffsetFetchResponsePartition>;
    }

    /// The offsets of one group.
    struct OffsetFetchResponseGroup {
        group_id: Str;
        topics: Vec<OffsetFetchResponseTopics>;
        error_code: i16;
    }

    /// The offset of one partition; -1 if none is committed.
    struct OffsetFetchResponsePartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 [5..] = -1, ignorable;
        metadata: Option<Str>;
        error_code: i16;
    }

    /// The offsets of one topic of one group.
    struct OffsetFetchResponseTopics {
        name: Str [..=9], ignorable;
        topic_id: Uuid [10..], ignorable;
        partitions: Vec<OffsetFetchResponsePartitions>;
    }

    /// The offset of one partition; -1 if none is committed.
    struct OffsetFetchResponsePartitions {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 = -1;
        metadata: Option<Str>;
        error_code: i16;
    }
}
