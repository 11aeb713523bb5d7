//! DescribeGroups: request and response.

use bytes::Bytes;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for groups and their members.
    request DescribeGroupsRequest(DescribeGroups) {
        groups: Vec<Str>;
        include_authorized_operations: bool [3..];
    }

    /// The answer to a [`DescribeGroupsRequest`].
    response DescribeGroupsResponse(DescribeGroups) {
        throttle_time_ms: i32 [1..], ignorable;
        groups: Vec<DescribedGroup>;
    }

    /// One group.
    struct DescribedGroup {
        error_code: i16;
        error_message: Option<Str> [6..] = None, ignorable;
        group_id: Str;
        group_state: Str;
        protocol_type: Str;
        protocol_data: Str;
        members: Vec<DescribedGroupMember>;
        authorized_operations: i32 [3..] = i32::MIN;
    }

    /// One member of a group.
    struct DescribedGroupMember {
        member_id: Str;
        group_instance_id: Option<Str> [4..] = None, ignorable;
        client_id: Str;
        client_host: Str;
        member_metadata: Bytes;
        member_assignment: Bytes;
    }
}
