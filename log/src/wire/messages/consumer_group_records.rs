//! Keys and values of the records in `__consumer_offsets` that keep the groups of the consumer protocol
//! (KIP-848), written with their version in front.
//!
//! The version of a key also says which kind of record it is; each kind has one.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// The key of a group's epoch.
    record ConsumerGroupMetadataKey(3..=3) {
        group_id: Str;
    }

    /// A group's epoch, and a hash of the topics it was computed from.
    record ConsumerGroupMetadataValue(0..=0, flexible 0) {
        epoch: i32;
        metadata_hash: i64 [.., tag 0];
    }

    /// The key of the topics that a group is subscribed to.
    record ConsumerGroupPartitionMetadataKey(4..=4) {
        group_id: Str;
    }

    /// The topics that a group is subscribed to, as brokers before 4.1 wrote them.
    record ConsumerGroupPartitionMetadataValue(0..=0, flexible 0) {
        topics: Vec<ConsumerGroupTopicMetadata>;
    }

    /// One of these topics.
    struct ConsumerGroupTopicMetadata {
        topic_id: Uuid;
        topic_name: Str;
        num_partitions: i32;
        partition_metadata: Vec<ConsumerGroupTopicPartitionMetadata>;
    }

    /// The racks of one of its partitions.
    struct ConsumerGroupTopicPartitionMetadata {
        partition: i32;
        racks: Vec<Str>;
    }

    /// The key of a member's subscription.
    record ConsumerGroupMemberMetadataKey(5..=5) {
        group_id: Str;
        member_id: Str;
    }

    /// What a member is and is subscribed to.
    record ConsumerGroupMemberMetadataValue(0..=0, flexible 0) {
        instance_id: Option<Str>;
        rack_id: Option<Str>;
        client_id: Str;
        client_host: Str;
        subscribed_topic_names: Vec<Str>;
        subscribed_topic_regex: Option<Str>;
        rebalance_timeout_ms: i32 = -1;
        server_assignor: Option<Str>;
        classic_member_metadata: Option<ClassicMemberMetadata> [.., tag 0] = None;
    }

    /// What a member that speaks the classic protocol told when it joined.
    struct ClassicMemberMetadata {
        session_timeout_ms: i32;
        supported_protocols: Vec<ClassicProtocol>;
    }

    /// A protocol that such a member supports.
    struct ClassicProtocol {
        name: Str;
        metadata: Bytes;
    }

    /// The key of the epoch of a group's target assignment.
    record ConsumerGroupTargetAssignmentMetadataKey(6..=6) {
        group_id: Str;
    }

    /// The group epoch that the target assignment was computed for.
    record ConsumerGroupTargetAssignmentMetadataValue(0..=0, flexible 0) {
        assignment_epoch: i32;
        assignment_timestamp: i64 [.., tag 0], ignorable;
    }

    /// The key of a member's target assignment.
    record ConsumerGroupTargetAssignmentMemberKey(7..=7) {
        group_id: Str;
        member_id: Str;
    }

    /// What a member shall have.
    record ConsumerGroupTargetAssignmentMemberValue(0..=0, flexible 0) {
        topic_partitions: Vec<TargetAssignmentTopicPartition>;
    }

    /// The partitions of one topic.
    struct TargetAssignmentTopicPartition {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }

    /// The key of a member's current assignment.
    record ConsumerGroupCurrentMemberAssignmentKey(8..=8) {
        group_id: Str;
        member_id: Str;
    }

    /// What a member has, and what it must give up first.
    record ConsumerGroupCurrentMemberAssignmentValue(0..=0, flexible 0) {
        member_epoch: i32;
        previous_member_epoch: i32;
        state: i8;
        assigned_partitions: Vec<CurrentAssignmentTopicPartitions>;
        partitions_pending_revocation: Vec<CurrentAssignmentTopicPartitions>;
    }

    /// The partitions of one topic.
    struct CurrentAssignmentTopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
        assignment_epochs: Option<Vec<i32>> [.., tag 0] = None;
    }

    /// The key of a regular expression that members are subscribed to.
    record ConsumerGroupRegularExpressionKey(16..=16) {
        group_id: Str;
        regular_expression: Str;
    }

    /// The topics that a regular expression matched, and when.
    record ConsumerGroupRegularExpressionValue(0..=0, flexible 0) {
        topics: Vec<Str>;
        version: i64;
        timestamp: i64;
    }
}
