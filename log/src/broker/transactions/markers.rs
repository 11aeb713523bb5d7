//! Writes the markers that end transactions into the partitions of this broker.
//!
//! Invariant: a marker counts as written when it is below the high watermark; a group coordinator
//! hears of a marker in its partition after that, and before the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::codes;
use crate::broker::core::{Core, now};
use crate::broker::handlers::produce::published;
use crate::broker::partition::Partition;
use crate::broker::replicas::OFFSETS_TOPIC;
use crate::storage::{LogState, Marker, TxnOutcome};
use crate::transaction::{Markers, TopicPartition};
use crate::wire::{ErrorCode, Str};

/// Markers that are appended; some of them may still have to become durable.
#[derive(Debug)]
pub(super) struct Written {
    producer_id: i64,
    commit: bool,
    done: Vec<(TopicPartition, ErrorCode)>,
    waiting: Vec<(TopicPartition, Arc<Partition>, i64)>,
}

/// Appends the markers of one transaction to its partitions. A partition whose topic is no longer
/// in the metadata is `skip`ped, as there is nothing left to end: it counts as done.
pub(super) fn append(core: &Arc<Core>, markers: &Markers, skip: bool) -> Written {
    let registry = core.replicas.registry();
    let mut written = Written {
        producer_id: markers.producer_id,
        commit: markers.commit,
        done: Vec::with_capacity(markers.partitions.len()),
        waiting: Vec::new(),
    };
    let marker = Marker {
        producer_id: markers.producer_id,
        producer_epoch: markers.producer_epoch,
        coordinator_epoch: markers.coordinator_epoch,
        outcome: if markers.commit {
            TxnOutcome::Commit
        } else {
            TxnOutcome::Abort
        },
    };
    let now = now();
    for at in &markers.partitions {
        let partition = match registry.partition(&at.0, at.1) {
            Ok(partition) => partition,
            Err(_) if skip && is_gone(core, at) => {
                tracing::info!(topic = %at.0, partition = at.1, "a deleted partition needs no marker");
                written.done.push((at.clone(), ErrorCode::None));
                continue;
            }
            Err(code) => {
                written.done.push((at.clone(), code));
                continue;
            }
        };
        let epoch = partition.leader_epoch();
        let appended = partition
            .log
            .append_marker(marker, markers.version, epoch, now);
        match appended {
            Err(error) => {
                tracing::warn!(topic = %at.0, partition = at.1, %error, "a marker could not be written");
                written.done.push((at.clone(), codes::append(&error)));
            }
            Ok(info) => {
                published(core, &partition, &info);
                if partition.log.high_watermark() > info.last_offset {
                    written.arrived(core, at.clone());
                } else {
                    let last = info.last_offset;
                    written.waiting.push((at.clone(), partition, last));
                }
            }
        }
    }
    written
}

fn is_gone(core: &Core, at: &TopicPartition) -> bool {
    let image = core.image();
    let partitions = image.topic(&at.0).map_or(0, |topic| topic.partitions.len());
    usize::try_from(at.1).map_or(true, |index| index >= partitions)
}

impl Written {
    fn arrived(&mut self, core: &Arc<Core>, at: TopicPartition) {
        if at.0 == OFFSETS_TOPIC {
            core.groups
                .transaction_ended(core, at.1, self.producer_id, self.commit);
        }
        self.done.push((at, ErrorCode::None));
    }

    /// How it went, if there is nothing to wait for.
    pub(super) fn finished(self) -> Result<Vec<(TopicPartition, ErrorCode)>, Self> {
        if self.waiting.is_empty() {
            Ok(self.done)
        } else {
            Err(self)
        }
    }

    /// Waits until the markers are durable.
    pub(super) async fn finish(mut self, core: &Arc<Core>) -> Vec<(TopicPartition, ErrorCode)> {
        for (at, partition, last) in std::mem::take(&mut self.waiting) {
            let mut position = partition.log.watch();
            let reached = position
                .wait_for(|p| p.high_watermark > last || p.state != LogState::Online)
                .await
                .is_ok_and(|p| p.high_watermark > last);
            if reached {
                self.arrived(core, at);
            } else {
                self.done.push((at, ErrorCode::NotLeaderOrFollower));
            }
        }
        self.done
    }
}

/// Writes the markers that a coordinator elsewhere, or an administrator, asks for: the result for
/// each partition.
pub(crate) async fn write_markers(
    core: &Arc<Core>,
    markers: &Markers,
) -> BTreeMap<Str, Vec<(i32, ErrorCode)>> {
    let mut topics: BTreeMap<Str, Vec<(i32, ErrorCode)>> = BTreeMap::new();
    for ((topic, partition), code) in append(core, markers, false).finish(core).await {
        topics.entry(topic).or_default().push((partition, code));
    }
    topics
}
