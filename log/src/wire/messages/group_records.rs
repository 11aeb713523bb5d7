//! Keys and values of the records in `__consumer_offsets`, written with their version in front.
//!
//! The version of a key also says which of the two kinds it is: 0 and 1 are offsets, 2 is a group.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// The key of a committed offset.
    record OffsetCommitKey(0..=1) {
        group: Str;
        topic: Str;
        partition: i32;
    }

    /// A committed offset.
    record OffsetCommitValue(0..=4, flexible 4) {
        offset: i64;
        leader_epoch: i32 [3..] = -1, ignorable;
        metadata: Str;
        commit_timestamp: i64;
        expire_timestamp: i64 [1..=1] = -1, ignorable;
        topic_id: Uuid [4.., tag 0], ignorable;
    }

    /// The key of a group.
    record GroupMetadataKey(2..=2) {
        group: Str;
    }

    /// A group and its members.
    record GroupMetadataValue(0..=4, flexible 4) {
        protocol_type: Str;
        generation: i32;
        protocol: Option<Str>;
        leader: Option<Str>;
        current_state_timestamp: i64 [2..] = -1, ignorable;
        members: Vec<MemberMetadata>;
    }

    /// A member of a group.
    struct MemberMetadata {
        member_id: Str;
        group_instance_id: Option<Str> [3..] = None, ignorable;
        client_id: Str;
        client_host: Str;
        rebalance_timeout: i32 [1..] = -1, ignorable;
        session_timeout: i32;
        subscription: Bytes;
        assignment: Bytes;
    }
}
