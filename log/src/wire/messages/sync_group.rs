//! SyncGroup: request and response.

use bytes::Bytes;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the member's assignment; the leader's brings everyone's.
    request SyncGroupRequest(SyncGroup) {
        group_id: Str;
        generation_id: i32;
        member_id: Str;
        group_instance_id: Option<Str> [3..] = None;
        protocol_type: Option<Str> [5..] = None, ignorable;
        protocol_name: Option<Str> [5..] = None, ignorable;
        assignments: Vec<SyncGroupRequestAssignment>;
    }

    /// The assignment of one member.
    struct SyncGroupRequestAssignment {
        member_id: Str;
        assignment: Bytes;
    }

    /// The answer to a [`SyncGroupRequest`].
    response SyncGroupResponse(SyncGroup) {
        throttle_time_ms: i32 [1..], ignorable;
        error_code: i16;
        protocol_type: Option<Str> [5..] = None, ignorable;
        protocol_name: Option<Str> [5..] = None, ignorable;
        assignment: Bytes;
    }
}
