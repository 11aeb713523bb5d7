//! CreatePartitions: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Adds partitions to topics.
    request CreatePartitionsRequest(CreatePartitions) {
        topics: Vec<CreatePartitionsTopic>;
        timeout_ms: i32;
        validate_only: bool;
    }

    /// A topic and how many partitions it should have in all.
    struct CreatePartitionsTopic {
        name: Str;
        count: i32;
        assignments: Option<Vec<CreatePartitionsAssignment>>;
    }

    /// Where the replicas of one new partition go.
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>;
    }

    /// The answer to a [`CreatePartitionsRequest`].
    response CreatePartitionsResponse(CreatePartitions) {
        throttle_time_ms: i32;
        results: Vec<CreatePartitionsTopicResult>;
    }

    /// The answer for one topic.
    struct CreatePartitionsTopicResult {
        name: Str;
        error_code: i16;
        error_message: Option<Str> = None;
    }
}
