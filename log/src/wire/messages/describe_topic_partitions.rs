//! DescribeTopicPartitions: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for topics and their partitions, one page at a time.
    request DescribeTopicPartitionsRequest(DescribeTopicPartitions) {
        topics: Vec<TopicRequest>;
        response_partition_limit: i32 = 2_000;
        cursor: Option<RequestCursor> = None;
    }

    /// A topic asked for.
    struct TopicRequest {
        name: Str;
    }

    /// Where the page starts.
    struct RequestCursor {
        topic_name: Str;
        partition_index: i32;
    }

    /// The answer to a [`DescribeTopicPartitionsRequest`].
    response DescribeTopicPartitionsResponse(DescribeTopicPartitions) {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic>;
        next_cursor: Option<ResponseCursor> = None;
    }

    /// A topic and its partitions on this page.
    struct DescribeTopicPartitionsResponseTopic {
        error_code: i16;
        name: Option<Str>;
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        topic_authorized_operations: i32 = i32::MIN;
    }

    /// Where the next page starts.
    struct ResponseCursor {
        topic_name: Str;
        partition_index: i32;
    }

    /// A partition, its leader and its replicas.
    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        eligible_leader_replicas: Option<Vec<i32>> = None;
        last_known_elr: Option<Vec<i32>> = None;
        offline_replicas: Vec<i32>;
    }
}
