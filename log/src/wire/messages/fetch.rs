//! Fetch: request and response.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Reads record batches from partitions, waiting for some if there are none.
    request FetchRequest(Fetch) {
        cluster_id: Option<Str> [12.., tag 0] = None, ignorable;
        replica_id: i32 [..=14] = -1;
        replica_state: ReplicaState [15.., tag 1];
        max_wait_ms: i32;
        min_bytes: i32;
        max_bytes: i32 = i32::MAX;
        isolation_level: i8;
        session_id: i32 [7..], ignorable;
        session_epoch: i32 [7..] = -1, ignorable;
        topics: Vec<FetchTopic>;
        forgotten_topics_data: Vec<ForgottenTopic> [7..];
        rack_id: Str [11..], ignorable;
    }

    /// The follower that fetches.
    struct ReplicaState {
        replica_id: i32 = -1;
        replica_epoch: i64 = -1;
    }

    /// What to read of one topic.
    struct FetchTopic {
        topic: Str [..=12], ignorable;
        topic_id: Uuid [13..], ignorable;
        partitions: Vec<FetchPartition>;
    }

    /// Partitions to drop from the fetch session.
    struct ForgottenTopic {
        topic: Str [..=12], ignorable;
        topic_id: Uuid [13..], ignorable;
        partitions: Vec<i32>;
    }

    /// Where to read in one partition.
    struct FetchPartition {
        partition: i32;
        current_leader_epoch: i32 [9..] = -1, ignorable;
        fetch_offset: i64;
        last_fetched_epoch: i32 [12..] = -1;
        log_start_offset: i64 [5..] = -1, ignorable;
        partition_max_bytes: i32;
        replica_directory_id: Uuid [17.., tag 0], ignorable;
        high_watermark: i64 [18.., tag 1] = i64::MAX, ignorable;
    }

    /// The answer to a [`FetchRequest`].
    response FetchResponse(Fetch) {
        throttle_time_ms: i32;
        error_code: i16 [7..], ignorable;
        session_id: i32 [7..];
        responses: Vec<FetchableTopicResponse>;
        node_endpoints: Vec<FetchNodeEndpoint> [16.., tag 0], ignorable;
    }

    /// What was read of one topic.
    struct FetchableTopicResponse {
        topic: Str [..=12], ignorable;
        topic_id: Uuid [13..], ignorable;
        partitions: Vec<PartitionData>;
    }

    /// Where a leader named in the response listens.
    struct FetchNodeEndpoint {
        node_id: i32;
        host: Str;
        port: i32;
        rack: Option<Str> = None;
    }

    /// What was read of one partition.
    struct PartitionData {
        partition_index: i32;
        error_code: i16;
        high_watermark: i64;
        last_stable_offset: i64 = -1;
        log_start_offset: i64 [5..] = -1, ignorable;
        diverging_epoch: EpochEndOffset [12.., tag 0];
        current_leader: FetchLeaderIdAndEpoch [12.., tag 1], ignorable;
        snapshot_id: SnapshotId [12.., tag 2];
        aborted_transactions: Option<Vec<AbortedTransaction>>;
        preferred_read_replica: i32 [11..] = -1;
        records: Option<Bytes>;
    }

    /// The largest epoch that both logs share, and where it ends.
    struct EpochEndOffset {
        epoch: i32 = -1;
        end_offset: i64 = -1;
    }

    /// The partition's leader, when the broker asked is not it.
    struct FetchLeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }

    /// The snapshot to fetch instead.
    struct SnapshotId {
        end_offset: i64 = -1;
        epoch: i32 = -1;
    }

    /// A transaction whose records a committed reader must skip.
    struct AbortedTransaction {
        producer_id: i64;
        first_offset: i64;
    }
}
