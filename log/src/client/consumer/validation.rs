//! Whether a position still lies in the log of a new leader (KIP-320).
//!
//! After a change of the leader, the log may have been truncated below what was read. The
//! leader is asked where the epoch of the last record read ends in its log; a position
//! beyond that was read from records that are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use super::partitions::Position;
use crate::client::core::Core;
use crate::client::transport::{Call, Destination};
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::{ErrorCode, Str};

/// A position to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) partition: TopicPartition,
    pub(super) position: Position,
    /// The epoch of the last record read.
    pub(super) read_epoch: i32,
    pub(super) leader: i32,
    /// The leader's epoch.
    pub(super) leader_epoch: i32,
}

/// What the leader's log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The position lies in it.
    Valid,
    /// It was truncated here; `None` if the leader cannot tell where.
    Diverges(Option<i64>),
}

/// Positions that were in doubt, with what the leaders say.
pub(super) type Verdicts = Vec<(Doubt, Result<Verdict, ClientError>)>;

/// Asks the leaders. One that cannot be asked now leaves the doubt.
pub(super) async fn validate(core: Arc<Core>, doubts: Vec<Doubt>) -> Verdicts {
    let mut by_leader: BTreeMap<i32, Vec<Doubt>> = BTreeMap::new();
    for doubt in doubts {
        by_leader.entry(doubt.leader).or_default().push(doubt);
    }
    let core = &core;
    let asked = by_leader
        .into_iter()
        .map(|(leader, doubts)| async move { ask(core, leader, doubts).await });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn ask(core: &Core, leader: i32, doubts: Vec<Doubt>) -> Verdicts {
    let topics = doubts
        .chunk_by(|a, b| a.partition.topic == b.partition.topic)
        .filter_map(|chunk| {
            Some(OffsetForLeaderTopic {
                topic: Str::from(&*chunk.first()?.partition.topic),
                partitions: chunk
                    .iter()
                    .map(|doubt| OffsetForLeaderPartition {
                        partition: doubt.partition.partition,
                        current_leader_epoch: doubt.leader_epoch,
                        leader_epoch: doubt.read_epoch,
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
    let response = match core.exchange::<OffsetForLeaderEpochRequest>(call).await {
        Ok(response) => response,
        // Nobody can tell: then what was read counts.
        Err(ClientError::Unsupported { .. }) => {
            return doubts
                .into_iter()
                .map(|d| (d, Ok(Verdict::Valid)))
                .collect();
        }
        Err(error) => {
            return doubts
                .into_iter()
                .map(|doubt| (doubt, Err(error.clone())))
                .collect();
        }
    };
    doubts
        .into_iter()
        .map(|doubt| {
            let answer = response
                .topics
                .iter()
                .filter(|topic| topic.topic == *doubt.partition.topic)
                .flat_map(|topic| &topic.partitions)
                .find(|p| p.partition == doubt.partition.partition);
            let verdict = match answer {
                None => Err(ClientError::Protocol {
                    what: "OffsetForLeaderEpoch".to_owned(),
                    reason: format!("it says nothing of {}", doubt.partition),
                }),
                Some(answer) => match ErrorCode::from(answer.error_code) {
                    ErrorCode::None => Ok(verdict(
                        doubt.position.offset,
                        answer.leader_epoch,
                        answer.end_offset,
                    )),
                    code => Err(ClientError::broker(
                        code,
                        format!("validate the position of {}", doubt.partition),
                    )),
                },
            };
            (doubt, verdict)
        })
        .collect()
}

/// `epoch` is the greatest that is not greater than that of the last record read, and
/// `end` is where it ends; both are -1 where the leader has none.
fn verdict(position: i64, epoch: i32, end: i64) -> Verdict {
    if epoch < 0 || end < 0 {
        Verdict::Diverges(None)
    } else if end < position {
        Verdict::Diverges(Some(end))
    } else {
        Verdict::Valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_beyond_the_end_of_its_epoch_diverges() {
        assert_eq!(verdict(10, 3, 10), Verdict::Valid);
        assert_eq!(verdict(10, 3, 12), Verdict::Valid);
        assert_eq!(verdict(10, 2, 7), Verdict::Diverges(Some(7)));
        assert_eq!(verdict(10, -1, -1), Verdict::Diverges(None));
    }
}
