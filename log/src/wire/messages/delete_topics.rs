//! DeleteTopics: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Deletes topics; from version 6 on by name or by id, in `topics`.
    request DeleteTopicsRequest(DeleteTopics) {
        topics: Vec<DeleteTopicState> [6..];
        topic_names: Vec<Str> [..=5], ignorable;
        timeout_ms: i32;
    }

    /// A topic to delete.
    struct DeleteTopicState {
        name: Option<Str> = None;
        topic_id: Uuid;
    }

    /// The answer to a [`DeleteTopicsRequest`].
    response DeleteTopicsResponse(DeleteTopics) {
        throttle_time_ms: i32;
        responses: Vec<DeletableTopicResult>;
    }

    /// The answer for one topic.
    struct DeletableTopicResult {
        name: Option<Str> [.., nullable 6..];
        topic_id: Uuid [6..], ignorable;
        error_code: i16;
        error_message: Option<Str> [5..] = None, ignorable;
    }
}
