//! DescribeTransactions: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the state of transactions by their ids.
    request DescribeTransactionsRequest(DescribeTransactions) {
        transactional_ids: Vec<Str>;
    }

    /// The answer to a [`DescribeTransactionsRequest`].
    response DescribeTransactionsResponse(DescribeTransactions) {
        throttle_time_ms: i32;
        transaction_states: Vec<DescribedTransaction>;
    }

    /// The state of one transaction.
    struct DescribedTransaction {
        error_code: i16;
        transactional_id: Str;
        transaction_state: Str;
        transaction_timeout_ms: i32;
        transaction_start_time_ms: i64;
        producer_id: i64;
        producer_epoch: i16;
        topics: Vec<DescribedTransactionTopic>;
    }

    /// Its partitions of one topic.
    struct DescribedTransactionTopic {
        topic: Str;
        partitions: Vec<i32>;
    }
}
