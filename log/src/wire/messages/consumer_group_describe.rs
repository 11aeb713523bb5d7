//! ConsumerGroupDescribe: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Describes groups of the consumer protocol.
    request ConsumerGroupDescribeRequest(ConsumerGroupDescribe) {
        group_ids: Vec<Str>;
        include_authorized_operations: bool;
    }

    /// The answer to a [`ConsumerGroupDescribeRequest`].
    response ConsumerGroupDescribeResponse(ConsumerGroupDescribe) {
        throttle_time_ms: i32;
        groups: Vec<ConsumerGroupDescribedGroup>;
    }

    /// One group.
    struct ConsumerGroupDescribedGroup {
        error_code: i16;
        error_message: Option<Str> = None;
        group_id: Str;
        group_state: Str;
        group_epoch: i32;
        assignment_epoch: i32;
        assignor_name: Str;
        members: Vec<ConsumerGroupDescribeMember>;
        authorized_operations: i32 = i32::MIN;
    }

    /// One of its members.
    struct ConsumerGroupDescribeMember {
        member_id: Str;
        instance_id: Option<Str> = None;
        rack_id: Option<Str> = None;
        member_epoch: i32;
        client_id: Str;
        client_host: Str;
        subscribed_topic_names: Vec<Str>;
        subscribed_topic_regex: Option<Str> = None;
        assignment: ConsumerGroupDescribeAssignment;
        target_assignment: ConsumerGroupDescribeAssignment;
        member_type: i8 [1..] = -1, ignorable;
    }

    /// What the member has, or shall have.
    struct ConsumerGroupDescribeAssignment {
        topic_partitions: Vec<ConsumerGroupDescribeTopicPartitions>;
    }

    /// The partitions of one topic.
    struct ConsumerGroupDescribeTopicPartitions {
        topic_id: Uuid;
        topic_name: Str;
        partitions: Vec<i32>;
    }
}
