//! CreateTopics: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Creates topics.
    request CreateTopicsRequest(CreateTopics) {
        topics: Vec<CreatableTopic>;
        timeout_ms: i32 = 60_000;
        validate_only: bool;
    }

    /// A topic to create; -1 partitions or replicas stand for the broker's default.
    struct CreatableTopic {
        name: Str;
        num_partitions: i32;
        replication_factor: i16;
        assignments: Vec<CreatableReplicaAssignment>;
        configs: Vec<CreatableTopicConfig>;
    }

    /// Where the replicas of one partition go.
    struct CreatableReplicaAssignment {
        partition_index: i32;
        broker_ids: Vec<i32>;
    }

    /// A configuration entry of the new topic.
    struct CreatableTopicConfig {
        name: Str;
        value: Option<Str>;
    }

    /// The answer to a [`CreateTopicsRequest`].
    response CreateTopicsResponse(CreateTopics) {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult>;
    }

    /// The answer for one topic.
    struct CreatableTopicResult {
        name: Str;
        topic_id: Uuid [7..], ignorable;
        error_code: i16;
        error_message: Option<Str>;
        topic_config_error_code: i16 [5.., tag 0], ignorable;
        num_partitions: i32 [5..] = -1, ignorable;
        replication_factor: i16 [5..] = -1, ignorable;
        configs: Option<Vec<CreatableTopicConfigs>> [5..], ignorable;
    }

    /// A configuration entry that the topic has now.
    struct CreatableTopicConfigs {
        name: Str;
        value: Option<Str>;
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
    }
}
