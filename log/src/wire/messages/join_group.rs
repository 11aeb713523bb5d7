//! JoinGroup: request and response.

use bytes::Bytes;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Joins a group, or joins it anew for a rebalance.
    request JoinGroupRequest(JoinGroup) {
        group_id: Str;
        session_timeout_ms: i32;
        rebalance_timeout_ms: i32 [1..] = -1, ignorable;
        member_id: Str;
        group_instance_id: Option<Str> [5..] = None;
        protocol_type: Str;
        protocols: Vec<JoinGroupRequestProtocol>;
        reason: Option<Str> [8..] = None, ignorable;
    }

    /// A protocol that the member can follow, with the member's metadata for it.
    struct JoinGroupRequestProtocol {
        name: Str;
        metadata: Bytes;
    }

    /// The answer to a [`JoinGroupRequest`], once the group has gathered; only the leader gets the members.
    response JoinGroupResponse(JoinGroup) {
        throttle_time_ms: i32 [2..], ignorable;
        error_code: i16;
        generation_id: i32 = -1;
        protocol_type: Option<Str> [7..] = None, ignorable;
        protocol_name: Option<Str> [.., nullable 7..];
        leader: Str;
        skip_assignment: bool [9..];
        member_id: Str;
        members: Vec<JoinGroupResponseMember>;
    }

    /// A member, for the leader to assign to.
    struct JoinGroupResponseMember {
        member_id: Str;
        group_instance_id: Option<Str> [5..] = None, ignorable;
        metadata: Bytes;
    }
}
