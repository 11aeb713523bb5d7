//! Keys and values of the records in `__transaction_state`, written with their version in front, and the value
//! of the control record that ends a transaction in a partition.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// The key of a transactional id's state.
    record TransactionLogKey(0..=0) {
        transactional_id: Str;
    }

    /// The state of a transactional id.
    record TransactionLogValue(0..=1, flexible 1) {
        producer_id: i64;
        previous_producer_id: i64 [1.., tag 0] = -1;
        next_producer_id: i64 [1.., tag 1] = -1;
        producer_epoch: i16;
        next_producer_epoch: i16 [1.., tag 3] = -1;
        transaction_timeout_ms: i32;
        transaction_status: i8;
        transaction_partitions: Option<Vec<TransactionLogPartitions>>;
        transaction_last_update_timestamp_ms: i64;
        transaction_start_timestamp_ms: i64;
        client_transaction_version: i16 [1.., tag 2];
    }

    /// The partitions of one topic in the transaction.
    struct TransactionLogPartitions {
        topic: Str;
        partition_ids: Vec<i32>;
    }

    /// The value of the control record that commits or aborts a transaction.
    record EndTxnMarker(0..=0) {
        coordinator_epoch: i32;
    }
}
