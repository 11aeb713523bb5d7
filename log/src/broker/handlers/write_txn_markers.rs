//! WriteTxnMarkers: ends transactions in the partitions of this broker, as their coordinator says,
//! or an administrator who aborts one that hangs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::core::Core;
use crate::broker::transactions::write_markers;
use crate::transaction::Markers;
use crate::wire::messages::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use crate::wire::{ErrorCode, Str};

pub(crate) async fn handle(
    core: &Arc<Core>,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let mut by_producer: BTreeMap<i64, BTreeMap<Str, Vec<(i32, ErrorCode)>>> = BTreeMap::new();
    for marker in request.markers {
        let partitions = marker.topics.iter().flat_map(|topic| {
            let name = topic.name.detach();
            let at = move |partition: &i32| (name.clone(), *partition);
            topic.partition_indexes.iter().map(at)
        });
        let markers = Markers {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            coordinator_epoch: marker.coordinator_epoch,
            commit: marker.transaction_result,
            version: i16::from(marker.transaction_version),
            partitions: partitions.collect(),
        };
        let written = write_markers(core, &markers).await;
        let topics = by_producer.entry(marker.producer_id).or_default();
        for (topic, partitions) in written {
            topics.entry(topic).or_default().extend(partitions);
        }
    }
    WriteTxnMarkersResponse {
        markers: by_producer
            .into_iter()
            .map(|(producer_id, topics)| WritableTxnMarkerResult {
                producer_id,
                topics: topics.into_iter().map(topic).collect(),
                ..WritableTxnMarkerResult::default()
            })
            .collect(),
        ..WriteTxnMarkersResponse::default()
    }
}

fn topic((name, partitions): (Str, Vec<(i32, ErrorCode)>)) -> WritableTxnMarkerTopicResult {
    let partition = |(partition_index, code): (i32, ErrorCode)| WritableTxnMarkerPartitionResult {
        partition_index,
        error_code: code.code(),
        ..WritableTxnMarkerPartitionResult::default()
    };
    WritableTxnMarkerTopicResult {
        name,
        partitions: partitions.into_iter().map(partition).collect(),
        ..WritableTxnMarkerTopicResult::default()
    }
}
