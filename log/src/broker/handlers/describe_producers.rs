//! DescribeProducers: what partitions remember of their producers, by which a hanging transaction
//! is found.

use std::sync::Arc;

use crate::broker::core::Core;
use crate::broker::replicas::Registry;
use crate::broker::topics;
use crate::storage::ProducerSnapshot;
use crate::wire::Str;
use crate::wire::messages::{
    DescribeProducersPartition, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopic, ProducerState,
};

pub(crate) fn handle(
    core: &Arc<Core>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let registry = core.replicas.registry();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|index| describe(&registry, &topic.name, *index))
                .collect();
            DescribeProducersTopic {
                name: topic.name,
                partitions,
                ..DescribeProducersTopic::default()
            }
        })
        .collect();
    DescribeProducersResponse {
        topics,
        ..DescribeProducersResponse::default()
    }
}

fn describe(registry: &Registry, topic: &Str, index: i32) -> DescribeProducersPartition {
    let found = match topics::check_name(topic) {
        Ok(()) => registry
            .partition(topic, index)
            .map_err(|code| (code, None)),
        Err((code, message)) => Err((code, Some(Str::from(message)))),
    };
    let answer = DescribeProducersPartition {
        partition_index: index,
        ..DescribeProducersPartition::default()
    };
    match found {
        Ok(partition) => DescribeProducersPartition {
            active_producers: partition.log.producers().iter().map(state).collect(),
            ..answer
        },
        Err((code, error_message)) => DescribeProducersPartition {
            error_code: code.code(),
            error_message,
            ..answer
        },
    }
}

fn state(producer: &ProducerSnapshot) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.producer_epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.current_txn_first_offset.unwrap_or(-1),
        ..ProducerState::default()
    }
}
