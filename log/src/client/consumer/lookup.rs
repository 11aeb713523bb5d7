//! Where reading begins in partitions that have no position yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{AutoOffsetReset, IsolationLevel};
use super::coordinator::GroupCoordinator;
use super::fetcher::reset_spec;
use super::partitions::{Position, Start};
use crate::client::core::Core;
use crate::client::offsets::list_offsets;
use crate::client::{ClientError, OffsetSpec, TopicPartition};

/// What was asked for a partition, and what was found.
pub(super) struct Found {
    pub(super) partition: TopicPartition,
    pub(super) start: Start,
    pub(super) result: Result<Position, ClientError>,
}

/// Looks for committed offsets where they count, and for offsets in the logs elsewhere.
pub(super) async fn look_up(
    core: Arc<Core>,
    coordinator: Option<Arc<GroupCoordinator>>,
    wanted: Vec<(TopicPartition, Start)>,
    reset: AutoOffsetReset,
    isolation: IsolationLevel,
) -> Vec<Found> {
    let deadline = core.deadline();
    let mut found = Vec::with_capacity(wanted.len());
    let mut starts: BTreeMap<TopicPartition, Start> = BTreeMap::new();
    let mut specs: BTreeMap<TopicPartition, OffsetSpec> = BTreeMap::new();
    let mut uncommitted = Vec::new();
    for (partition, start) in wanted {
        starts.insert(partition.clone(), start);
        match start {
            Start::Committed => uncommitted.push(partition),
            Start::Spec(spec) => {
                specs.insert(partition, spec);
            }
            Start::At(_) => {}
        }
    }
    if let Some(coordinator) = coordinator.filter(|_| !uncommitted.is_empty()) {
        let stable = isolation == IsolationLevel::ReadCommitted;
        let committed = coordinator
            .committed(Some(&uncommitted), stable, deadline)
            .await;
        let mut without = Vec::new();
        for partition in uncommitted {
            let result = match &committed {
                Ok(offsets) => match offsets.get(&partition) {
                    Some(offset) => Ok(Position {
                        offset: offset.offset,
                        epoch: offset.leader_epoch,
                    }),
                    None => {
                        without.push(partition);
                        continue;
                    }
                },
                Err(error) => Err(error.clone()),
            };
            found.push(Found {
                partition,
                start: Start::Committed,
                result,
            });
        }
        uncommitted = without;
    }
    for partition in uncommitted {
        match reset_spec(reset) {
            Some(spec) => {
                specs.insert(partition, spec);
            }
            None => found.push(Found {
                start: Start::Committed,
                result: Err(ClientError::NoOffset {
                    partition: partition.clone(),
                }),
                partition,
            }),
        }
    }
    if specs.is_empty() {
        return found;
    }
    for (partition, result) in list_offsets(&core, specs, isolation, deadline).await {
        let result = result.and_then(|offset| match offset {
            Some(offset) => Ok(Position {
                offset: offset.offset,
                epoch: None,
            }),
            None => Err(ClientError::Protocol {
                what: "ListOffsets".to_owned(),
                reason: format!("{partition} has neither beginning nor end"),
            }),
        });
        let start = starts.get(&partition).copied().unwrap_or(Start::Committed);
        found.push(Found {
            partition,
            start,
            result,
        });
    }
    found
}
