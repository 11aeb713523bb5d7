//! Offsets that partitions' leaders tell: the earliest, the latest, those of a timestamp, and
//! where leader epochs end.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use super::core::{Core, UNKNOWN_TOPIC_PATIENCE, millis};
use super::transport::{Call, Destination};
use super::{
    ClientError, EpochEndOffset, IsolationLevel, OffsetAndTimestamp, OffsetSpec, TopicPartition,
};
use crate::wire::messages::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::{ApiRequest, ErrorCode, Str};

/// What was found of one partition: `None` where no record has so late a timestamp.
type Found = Result<Option<OffsetAndTimestamp>, ClientError>;

/// A question about a partition, for its leader of this epoch.
type Asked<Q> = (TopicPartition, Q, i32);

/// Looks offsets up at the partitions' leaders, until `deadline` where that must be
/// repeated. Every partition gets an answer of its own.
pub(crate) async fn list_offsets(
    core: &Core,
    wanted: BTreeMap<TopicPartition, OffsetSpec>,
    isolation: IsolationLevel,
    deadline: Instant,
) -> BTreeMap<TopicPartition, Found> {
    at_leaders(core, wanted, deadline, |leader, asked| async move {
        let specs = asked.iter().map(|(_, spec, _)| spec.least_version());
        let mut least = specs.max().unwrap_or(1);
        if isolation == IsolationLevel::ReadCommitted {
            least = least.max(2);
        }
        let request = request(&asked, isolation, core);
        let call = Call::new(
            Destination::Broker(leader),
            request.into_request(),
            core.config.request_timeout_ms,
        );
        let response = core
            .exchange::<ListOffsetsRequest>(call.at_least(least))
            .await;
        answers(asked, response, answer_for)
    })
    .await
}

/// Looks up where the logs of these partitions' leaders leave an epoch: the greatest epoch
/// that is not greater than the one given, and the offset behind its last record. `None`
/// where the log has no such epoch.
pub(crate) async fn end_offsets_of_epochs(
    core: &Core,
    epochs: BTreeMap<TopicPartition, i32>,
    deadline: Instant,
) -> BTreeMap<TopicPartition, Result<Option<EpochEndOffset>, ClientError>> {
    at_leaders(core, epochs, deadline, |leader, asked| async move {
        ask_for_epochs(core, leader, asked).await
    })
    .await
}

/// Asks one leader once where epochs end in its log.
pub(crate) async fn ask_for_epochs(
    core: &Core,
    leader: i32,
    asked: Vec<Asked<i32>>,
) -> Vec<(TopicPartition, Result<Option<EpochEndOffset>, ClientError>)> {
    let topics = asked
        .chunk_by(|a, b| a.0.topic == b.0.topic)
        .filter_map(|chunk| {
            Some(OffsetForLeaderTopic {
                topic: Str::from(&*chunk.first()?.0.topic),
                partitions: chunk
                    .iter()
                    .map(|(partition, epoch, current)| OffsetForLeaderPartition {
                        partition: partition.partition,
                        current_leader_epoch: *current,
                        leader_epoch: *epoch,
                        ..OffsetForLeaderPartition::default()
                    })
                    .collect(),
                ..OffsetForLeaderTopic::default()
            })
        })
        .collect();
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics,
        ..OffsetForLeaderEpochRequest::default()
    };
    let timeout = core.config.request_timeout_ms;
    // Before version 3 only brokers may ask.
    let call = Call::new(Destination::Broker(leader), request, timeout).at_least(3);
    let response = core.exchange::<OffsetForLeaderEpochRequest>(call).await;
    answers(asked, response, |response, wanted| {
        let answer = response
            .topics
            .iter()
            .filter(|topic| topic.topic == *wanted.topic)
            .flat_map(|topic| &topic.partitions)
            .find(|p| p.partition == wanted.partition)
            .ok_or_else(|| silent("OffsetForLeaderEpoch", wanted))?;
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None if answer.leader_epoch < 0 || answer.end_offset < 0 => Ok(None),
            ErrorCode::None => Ok(Some(EpochEndOffset {
                leader_epoch: answer.leader_epoch,
                end_offset: answer.end_offset,
            })),
            code => Err(ClientError::broker(code, format!("epochs of {wanted}"))),
        }
    })
}

/// The answer for each partition that was asked for.
fn answers<Q, R, A>(
    asked: Vec<Asked<Q>>,
    response: Result<R, ClientError>,
    answer_for: impl Fn(&R, &TopicPartition) -> Result<A, ClientError>,
) -> Vec<(TopicPartition, Result<A, ClientError>)> {
    asked
        .into_iter()
        .map(|(partition, _, _)| {
            let answer = match &response {
                Ok(response) => answer_for(response, &partition),
                Err(error) => Err(error.clone()),
            };
            (partition, answer)
        })
        .collect()
}

/// Asks the partitions' leaders with `ask`, until `deadline` where that must be repeated.
async fn at_leaders<Q: Copy, A, F>(
    core: &Core,
    wanted: BTreeMap<TopicPartition, Q>,
    deadline: Instant,
    ask: impl Fn(i32, Vec<Asked<Q>>) -> F,
) -> BTreeMap<TopicPartition, Result<A, ClientError>>
where
    F: Future<Output = Vec<(TopicPartition, Result<A, ClientError>)>>,
{
    let mut results = BTreeMap::new();
    let mut left = wanted;
    let mut attempt = 0;
    let patience = Instant::now() + UNKNOWN_TOPIC_PATIENCE;
    loop {
        let (by_leader, mut found) = leaders(core, &left, deadline).await;
        let asked = by_leader
            .into_iter()
            .map(|(leader, asked)| ask(leader, asked));
        found.extend(join_all(asked).await.into_iter().flatten());
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

/// The questions by leader, and the errors of partitions that have none.
async fn leaders<Q: Copy, A>(
    core: &Core,
    wanted: &BTreeMap<TopicPartition, Q>,
    deadline: Instant,
) -> (
    BTreeMap<i32, Vec<Asked<Q>>>,
    Vec<(TopicPartition, Result<A, ClientError>)>,
) {
    let mut without = Vec::new();
    let mut by_leader: BTreeMap<i32, Vec<Asked<Q>>> = BTreeMap::new();
    for (partition, question) in wanted {
        if let Err(error) = core.topic(&partition.topic, false, deadline).await {
            without.push((partition.clone(), Err(error)));
            continue;
        }
        let cluster = core.metadata.snapshot();
        match cluster.leader(&partition.topic, partition.partition) {
            Some((leader, epoch)) => {
                let asked = (partition.clone(), *question, epoch);
                by_leader.entry(leader).or_default().push(asked);
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
                without.push((partition.clone(), Err(error)));
            }
        }
    }
    (by_leader, without)
}

/// An answer that leaves a partition out.
pub(crate) fn silent(what: &str, partition: &TopicPartition) -> ClientError {
    ClientError::Protocol {
        what: what.to_owned(),
        reason: format!("it says nothing of {partition}"),
    }
}

fn request(
    partitions: &[Asked<OffsetSpec>],
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
        .ok_or_else(|| silent("ListOffsets", wanted))?;
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
