//! ConsumerGroupHeartbeat: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Joins, stays in or leaves a group of the consumer protocol; what has not changed since the last heartbeat is
    /// null.
    request ConsumerGroupHeartbeatRequest(ConsumerGroupHeartbeat) {
        group_id: Str;
        member_id: Str;
        member_epoch: i32;
        instance_id: Option<Str> = None;
        rack_id: Option<Str> = None;
        rebalance_timeout_ms: i32 = -1;
        subscribed_topic_names: Option<Vec<Str>> = None;
        subscribed_topic_regex: Option<Str> [1..] = None;
        server_assignor: Option<Str> = None;
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>> = None;
    }

    /// The partitions of one topic that the member owns.
    struct ConsumerGroupHeartbeatRequestTopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }

    /// The answer to a [`ConsumerGroupHeartbeatRequest`].
    response ConsumerGroupHeartbeatResponse(ConsumerGroupHeartbeat) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str> = None;
        member_id: Option<Str> = None;
        member_epoch: i32;
        heartbeat_interval_ms: i32;
        assignment: Option<ConsumerGroupHeartbeatAssignment> = None;
    }

    /// What the member gets; null if nothing has changed.
    struct ConsumerGroupHeartbeatAssignment {
        topic_partitions: Vec<ConsumerGroupHeartbeatTopicPartitions>;
    }

    /// The partitions of one topic that the member gets.
    struct ConsumerGroupHeartbeatTopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }
}
