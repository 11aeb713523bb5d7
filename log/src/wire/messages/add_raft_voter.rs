//! AddRaftVoter: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Makes a controller a voter of the quorum.
    request AddRaftVoterRequest(AddRaftVoter) {
        cluster_id: Option<Str>;
        timeout_ms: i32;
        voter_id: i32;
        voter_directory_id: Uuid;
        listeners: Vec<AddRaftVoterListener>;
        ack_when_committed: bool [1..] = true;
    }

    /// Where the new voter listens.
    struct AddRaftVoterListener {
        name: Str;
        host: Str;
        port: u16;
    }

    /// The answer to an [`AddRaftVoterRequest`].
    response AddRaftVoterResponse(AddRaftVoter) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>, ignorable;
    }
}
