//! DeleteGroups: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Deletes groups that have no members.
    request DeleteGroupsRequest(DeleteGroups) {
        groups_names: Vec<Str>;
    }

    /// The answer to a [`DeleteGroupsRequest`].
    response DeleteGroupsResponse(DeleteGroups) {
        throttle_time_ms: i32;
        results: Vec<DeletableGroupResult>;
    }

    /// The answer for one group.
    struct DeletableGroupResult {
        group_id: Str;
        error_code: i16;
    }
}
