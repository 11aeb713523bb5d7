//! What members of a consumer group tell each other through JoinGroup and SyncGroup, opaque to the broker.
//!
//! Written with a version in front ([`Message::to_versioned`](crate::wire::Message::to_versioned)). A newer
//! version than ours only adds fields at the end, so it is read as ours.

use bytes::Bytes;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// What a member wants and has.
    record ConsumerProtocolSubscription(0..=3) {
        topics: Vec<Str>;
        user_data: Option<Bytes> = None;
        owned_partitions: Vec<ConsumerProtocolTopicPartition> [1..], ignorable;
        generation_id: i32 [2..] = -1, ignorable;
        rack_id: Option<Str> [3..] = None, ignorable;
    }

    /// What a member gets.
    record ConsumerProtocolAssignment(0..=3) {
        assigned_partitions: Vec<ConsumerProtocolTopicPartition>;
        user_data: Option<Bytes> = None;
    }

    /// Partitions of one topic.
    struct ConsumerProtocolTopicPartition {
        topic: Str;
        partitions: Vec<i32>;
    }
}
