//! Produce: request and response.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Appends record batches to partitions.
    request ProduceRequest(Produce) {
        transactional_id: Option<Str> = None;
        acks: i16;
        timeout_ms: i32;
        topic_data: Vec<TopicProduceData>;
    }

    /// What goes to one topic.
    struct TopicProduceData {
        name: Str [..=12], ignorable;
        topic_id: Uuid [13..], ignorable;
        partition_data: Vec<PartitionProduceData>;
    }

    /// What goes to one partition.
    struct PartitionProduceData {
        index: i32;
        records: Option<Bytes>;
    }

    /// The answer to a [`ProduceRequest`]; there is none if its `acks` is 0.
    response ProduceResponse(Produce) {
        responses: Vec<TopicProduceResponse>;
        throttle_time_ms: i32;
        node_endpoints: Vec<ProduceNodeEndpoint> [10.., tag 0], ignorable;
    }

    /// The answer for one topic.
    struct TopicProduceResponse {
        name: Str [..=12], ignorable;
        topic_id: Uuid [13..], ignorable;
        partition_responses: Vec<PartitionProduceResponse>;
    }

    /// Where a leader named in the response listens.
    struct ProduceNodeEndpoint {
        node_id: i32;
        host: Str;
        port: i32;
        rack: Option<Str> = None;
    }

    /// The answer for one partition.
    struct PartitionProduceResponse {
        index: i32;
        error_code: i16;
        base_offset: i64;
        log_append_time_ms: i64 = -1;
        log_start_offset: i64 [5..] = -1, ignorable;
        record_errors: Vec<BatchIndexAndErrorMessage> [8..], ignorable;
        error_message: Option<Str> [8..] = None, ignorable;
        current_leader: ProduceLeaderIdAndEpoch [10.., tag 0], ignorable;
    }

    /// A record that was refused.
    struct BatchIndexAndErrorMessage {
        batch_index: i32;
        batch_index_error_message: Option<Str> = None;
    }

    /// The partition's leader, when the broker asked is not it.
    struct ProduceLeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }
}
