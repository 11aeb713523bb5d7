//! DescribeProducers: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks which producers partitions remember.
    request DescribeProducersRequest(DescribeProducers) {
        topics: Vec<DescribeProducersRequestTopic>;
    }

    /// The partitions of one topic asked for.
    struct DescribeProducersRequestTopic {
        name: Str;
        partition_indexes: Vec<i32>;
    }

    /// The answer to a [`DescribeProducersRequest`].
    response DescribeProducersResponse(DescribeProducers) {
        throttle_time_ms: i32;
        topics: Vec<DescribeProducersTopic>;
    }

    /// The producers of one topic.
    struct DescribeProducersTopic {
        name: Str;
        partitions: Vec<DescribeProducersPartition>;
    }

    /// The producers of one partition.
    struct DescribeProducersPartition {
        partition_index: i32;
        error_code: i16;
        error_message: Option<Str> = None;
        active_producers: Vec<ProducerState>;
    }

    /// What the partition remembers of one producer.
    struct ProducerState {
        producer_id: i64;
        producer_epoch: i32;
        last_sequence: i32 = -1;
        last_timestamp: i64 = -1;
        coordinator_epoch: i32;
        current_txn_start_offset: i64 = -1;
    }
}
