//! RemoveRaftVoter: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Takes a voter out of the quorum.
    request RemoveRaftVoterRequest(RemoveRaftVoter) {
        cluster_id: Option<Str>;
        voter_id: i32;
        voter_directory_id: Uuid;
    }

    /// The answer to a [`RemoveRaftVoterRequest`].
    response RemoveRaftVoterResponse(RemoveRaftVoter) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>, ignorable;
    }
}
