//! OffsetDelete: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Deletes a group's committed offsets.
    request OffsetDeleteRequest(OffsetDelete) {
        group_id: Str;
        topics: Vec<OffsetDeleteRequestTopic>;
    }

    /// The partitions of one topic.
    struct OffsetDeleteRequestTopic {
        name: Str;
        partitions: Vec<OffsetDeleteRequestPartition>;
    }

    /// One partition.
    struct OffsetDeleteRequestPartition {
        partition_index: i32;
    }

    /// The answer to an [`OffsetDeleteRequest`].
    response OffsetDeleteResponse(OffsetDelete) {
        error_code: i16;
        throttle_time_ms: i32;
        topics: Vec<OffsetDeleteResponseTopic>;
    }

    /// The answer for one topic.
    struct OffsetDeleteResponseTopic {
        name: Str;
        partitions: Vec<OffsetDeleteResponsePartition>;
    }

    /// The answer for one partition.
    struct OffsetDeleteResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
