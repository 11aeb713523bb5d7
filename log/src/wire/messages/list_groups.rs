//! ListGroups: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the groups that a broker coordinates.
    request ListGroupsRequest(ListGroups) {
        states_filter: Vec<Str> [4..];
        types_filter: Vec<Str> [5..];
    }

    /// The answer to a [`ListGroupsRequest`].
    response ListGroupsResponse(ListGroups) {
        throttle_time_ms: i32 [1..], ignorable;
        error_code: i16;
        groups: Vec<ListedGroup>;
    }

    /// One group.
    struct ListedGroup {
        group_id: Str;
        protocol_type: Str;
        group_state: Str [4..], ignorable;
        group_type: Str [5..], ignorable;
    }
}
