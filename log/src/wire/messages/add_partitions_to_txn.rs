//! AddPartitionsToTxn: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Adds partitions to a transaction; from version 4 on to several, or verifies that they belong to them, which
    /// only brokers ask of each other.
    request AddPartitionsToTxnRequest(AddPartitionsToTxn) {
        transactions: Vec<AddPartitionsToTxnTransaction> [4..];
        v3_and_below_transactional_id: Str [..=3];
        v3_and_below_producer_id: i64 [..=3];
        v3_and_below_producer_epoch: i16 [..=3];
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [..=3];
    }

    /// The partitions to add to one transaction.
    struct AddPartitionsToTxnTransaction {
        transactional_id: Str;
        producer_id: i64;
        producer_epoch: i16;
        verify_only: bool;
        topics: Vec<AddPartitionsToTxnTopic>;
    }

    /// The partitions of one topic.
    struct AddPartitionsToTxnTopic {
        name: Str;
        partitions: Vec<i32>;
    }

    /// The answer to an [`AddPartitionsToTxnRequest`].
    response AddPartitionsToTxnResponse(AddPartitionsToTxn) {
        throttle_time_ms: i32;
        error_code: i16 [4..], ignorable;
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..];
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [..=3];
    }

    /// The answer for one transaction.
    struct AddPartitionsToTxnResult {
        transactional_id: Str;
        topic_results: Vec<AddPartitionsToTxnTopicResult>;
    }

    /// The answer for one topic.
    struct AddPartitionsToTxnTopicResult {
        name: Str;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>;
    }

    /// The answer for one partition.
    struct AddPartitionsToTxnPartitionResult {
        partition_index: i32;
        partition_error_code: i16;
    }
}
