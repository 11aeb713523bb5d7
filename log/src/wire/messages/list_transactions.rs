//! ListTransactions: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks which transactions a coordinator has; empty filters match all.
    request ListTransactionsRequest(ListTransactions) {
        state_filters: Vec<Str>;
        producer_id_filters: Vec<i64>;
        duration_filter: i64 [1..] = -1;
        transactional_id_pattern: Option<Str> [2..] = None;
    }

    /// The answer to a [`ListTransactionsRequest`].
    response ListTransactionsResponse(ListTransactions) {
        throttle_time_ms: i32;
        error_code: i16;
        unknown_state_filters: Vec<Str>;
        transaction_states: Vec<ListedTransaction>;
    }

    /// One transaction.
    struct ListedTransaction {
        transactional_id: Str;
        producer_id: i64;
        transaction_state: Str;
    }
}
