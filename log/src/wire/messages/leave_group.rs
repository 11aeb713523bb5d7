//! LeaveGroup: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Takes members out of a group.
    request LeaveGroupRequest(LeaveGroup) {
        group_id: Str;
        member_id: Str [..=2];
        members: Vec<MemberIdentity> [3..];
    }

    /// A member that leaves.
    struct MemberIdentity {
        member_id: Str;
        group_instance_id: Option<Str> = None;
        reason: Option<Str> [5..] = None, ignorable;
    }

    /// The answer to a [`LeaveGroupRequest`].
    response LeaveGroupResponse(LeaveGroup) {
        throttle_time_ms: i32 [1..], ignorable;
        error_code: i16;
        members: Vec<MemberResponse> [3..];
    }

    /// The answer for one member.
    struct MemberResponse {
        member_id: Str;
        group_instance_id: Option<Str>;
        error_code: i16;
    }
}
