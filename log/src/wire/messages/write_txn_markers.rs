//! WriteTxnMarkers: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Has a broker write the markers that end transactions into its partitions.
    request WriteTxnMarkersRequest(WriteTxnMarkers) {
        markers: Vec<WritableTxnMarker>;
    }

    /// The end of one transaction.
    struct WritableTxnMarker {
        producer_id: i64;
        producer_epoch: i16;
        transaction_result: bool;
        topics: Vec<WritableTxnMarkerTopic>;
        coordinator_epoch: i32;
        transaction_version: i8 [2..], ignorable;
    }

    /// The partitions of one topic that get the marker.
    struct WritableTxnMarkerTopic {
        name: Str;
        partition_indexes: Vec<i32>;
    }

    /// The answer to a [`WriteTxnMarkersRequest`].
    response WriteTxnMarkersResponse(WriteTxnMarkers) {
        markers: Vec<WritableTxnMarkerResult>;
    }

    /// The answer for one transaction.
    struct WritableTxnMarkerResult {
        producer_id: i64;
        topics: Vec<WritableTxnMarkerTopicResult>;
    }

    /// The answer for one topic.
    struct WritableTxnMarkerTopicResult {
        name: Str;
        partitions: Vec<WritableTxnMarkerPartitionResult>;
    }

    /// The answer for one partition.
    struct WritableTxnMarkerPartitionResult {
        partition_index: i32;
        error_code: i16;
    }
}
