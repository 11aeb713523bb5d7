//! Offsets by time: the earliest, the latest, and those of a timestamp.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use super::core::{Core, UNKNOWN_TOPIC_PATIENCE, millis};
use super::transport::{Call, Destination};
use super::{ClientError, IsolationLevel, OffsetAndTimestamp, OffsetSpec, TopicPartition};
use crate::wire::messages::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::wire::{ApiRequest, ErrorCode, Str};

/// What was found of one partition: `None` where no record has so late a timestamp.
type Found = Result<Option<OffsetAndTimestamp>, ClientError>;

/// Looks offsets up at the partitions' leaders, until `deadline` where that must be
/// repeated. Every partition gets an answer of its own.
pub(crate) async fn list_offsets(
    core: &Core,
    wanted: BTreeMap<TopicPartition, OffsetSpec>,
    isolation: IsolationLevel,
    deadline: Instant,
) -> BTreeMap<TopicPartition, Found> {
    let mut results = BTreeMap::new();
    let mut left = wanted;
    let mut attempt = 0;
    let patience = Instant::now() + UNKNOWN_TOPIC_PATIENCE;
    loop {
        let found = round(core, &left, isolation, deadline).await;
        let wait = core.backoff(attempt);
        let last = Instant::now() + wait >= deadline;
        let mut stale: Vec<Arc<str>> = Vec::new();
        for (partition, result) in found {
            match result {
                Err(error)
                    if error.is_retriable()
                        && !last
                        && (error.code() != Some(ErrorCode::UnknownTopicOrPartition)
                            || Instant::now() < patience) =>
                {
                    stale.push(partition.topic.clone());
                }
                result => {
                    left.remove(&partition);
                    results.insert(partition, result);
                }
            }
        }
        if left.is_empty() {
            return results;
        }
        tokio::time::sleep(wait).await;
        stale.dedup();
        if let Err(error) = core.refresh(&stale, false).await {
            tracing::debug!(%error, "metadata could not be refreshed");
        }
        attempt += 1;
    }
}

/// Asks every leader once.
async fn round(
    core: &Core,
    wanted: &BTreeMap<TopicPartition, OffsetSpec>,
    isolation: IsolationLevel,
    deadline: Instant,
) -> Vec<(TopicPartition, Found)> {
    let mut results = Vec::new();
    let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, OffsetSpec, i32)>> = BTreeMap::new();
    for (partition, spec) in wanted {
        if let Err(error) = core.topic(&partition.topic, false, deadline).await {
            results.push((partition.clone(), Err(error)));
            continue;
        }
        let cluster = core.metadata.snapshot();
        match cluster.leader(&partition.topic, partition.partition) {
            Some((leader, epoch)) => {
                by_leader
                    .entry(leader)
                    .or_default()
                    .push((partition, *spec, epoch));
            }
            None => {
                let count = cluster
                    .topic(&partition.topic)
                    .map_or(0, |t| t.partition_count());
                let error = if partition.partition >= count || partition.partition < 0 {
                    ClientError::NoSuchPartition {
                        partition: partition.clone(),
                        partitions: count,
                    }
                } else {
                    ClientError::broker(
                        ErrorCode::LeaderNotAvailable,
                        format!("offsets of {partition}"),
                    )
                };
                results.push((partition.clone(), Err(error)));
            }
        }
    }
    let asked = by_leader.iter().map(|(leader, partitions)| async move {
        let specs = partitions.iter().map(|(_, spec, _)| spec.least_version());
        let mut least = specs.max().unwrap_or(1);
        if isolation == IsolationLevel::ReadCommitted {
            least = least.max(2);
        }
        let request = request(partitions, isolation, core);
        let call = Call::new(
            Destination::Broker(*leader),
            request.into_request(),
            core.config.request_timeout_ms,
        );
        let response = core
            .exchange::<ListOffsetsRequest>(call.at_least(least))
            .await;
        partitions
            .iter()
            .map(|(partition, _, _)| {
                let found = match &response {
                    Ok(response) => answer_for(response, partition),
                    Err(error) => Err(error.clone()),
                };
                ((*partition).clone(), found)
            })
            .collect::<Vec<_>>()
    });
    results.extend(join_all(asked).await.into_iter().flatten());
    results
}

fn request(
    partitions: &[(&TopicPartition, OffsetSpec, i32)],
    isolation: IsolationLevel,
    core: &Core,
) -> ListOffsetsRequest {
    let topics = partitions
        .chunk_by(|a, b| a.0.topic == b.0.topic)
        .filter_map(|chunk| {
            let (first, _, _) = chunk.first()?;
            Some(ListOffsetsTopic {
                name: Str::from(&*first.topic),
                partitions: chunk
                    .iter()
                    .map(|(partition, spec, epoch)| ListOffsetsPartition {
                        partition_index: partition.partition,
                        current_leader_epoch: *epoch,
                        timestamp: spec.timestamp(),
                        ..ListOffsetsPartition::default()
                    })
                    .collect(),
                ..ListOffsetsTopic::default()
            })
        })
        .collect();
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.code(),
        topics,
        timeout_ms: millis(core.config.request_timeout_ms),
        ..ListOffsetsRequest::default()
    }
}

fn answer_for(response: &ListOffsetsResponse, wanted: &TopicPartition) -> Found {
    let partition = response
        .topics
        .iter()
        .filter(|t| t.name == *wanted.topic)
        .flat_map(|t| &t.partitions)
        .find(|p| p.partition_index == wanted.partition)
        .ok_or_else(|| ClientError::Protocol {
            what: "ListOffsets".to_owned(),
            reason: format!("it says nothing of {wanted}"),
        })?;
    match ErrorCode::from(partition.error_code) {
        ErrorCode::None if partition.offset < 0 => Ok(None),
        ErrorCode::None => Ok(Some(OffsetAndTimestamp {
            offset: partition.offset,
            timestamp: partition.timestamp,
            leader_epoch: Some(partition.leader_epoch).filter(|e| *e >= 0),
        })),
        code => Err(ClientError::broker(code, format!("offsets of {wanted}"))),
    }
}
