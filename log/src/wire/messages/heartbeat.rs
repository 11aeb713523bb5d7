//! Heartbeat: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Says that a member is alive.
    request HeartbeatRequest(Heartbeat) {
        group_id: Str;
        generation_id: i32;
        member_id: Str;
        group_instance_id: Option<Str> [3..] = None;
    }

    /// The answer to a [`HeartbeatRequest`]; its error says when to rejoin.
    response HeartbeatResponse(Heartbeat) {
        throttle_time_ms: i32 [1..], ignorable;
        error_code: i16;
    }
}
