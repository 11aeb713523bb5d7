//! FindCoordinator: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks who coordinates groups (`key_type` 0) or transactions (1).
    request FindCoordinatorRequest(FindCoordinator) {
        key: Str [..=3];
        key_type: i8 [1..];
        coordinator_keys: Vec<Str> [4..];
    }

    /// The answer to a [`FindCoordinatorRequest`]; from version 4 on in `coordinators`.
    response FindCoordinatorResponse(FindCoordinator) {
        throttle_time_ms: i32 [1..], ignorable;
        error_code: i16 [..=3];
        error_message: Option<Str> [1..=3], ignorable;
        node_id: i32 [..=3];
        host: Str [..=3];
        port: i32 [..=3];
        coordinators: Vec<Coordinator> [4..];
    }

    /// The coordinator of one key.
    struct Coordinator {
        key: Str;
        node_id: i32;
        host: Str;
        port: i32;
        error_code: i16;
        error_message: Option<Str>;
    }
}
