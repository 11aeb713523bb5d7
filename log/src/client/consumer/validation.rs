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
use crate::client::offsets::ask_for_epochs;
use crate::client::{ClientError, EpochEndOffset, TopicPartition};

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
    let asked = doubts
        .iter()
        .map(|doubt| {
            (
                doubt.partition.clone(),
                doubt.read_epoch,
                doubt.leader_epoch,
            )
        })
        .collect();
    let answers = ask_for_epochs(core, leader, asked).await;
    doubts
        .into_iter()
        .zip(answers)
        .map(|(doubt, (_, answer))| {
            let verdict = match answer {
                Ok(end) => Ok(verdict(doubt.position.offset, end)),
                // Nobody can tell: then what was read counts.
                Err(ClientError::Unsupported { .. }) => Ok(Verdict::Valid),
                Err(error) => Err(error),
            };
            (doubt, verdict)
        })
        .collect()
}

/// `end` is where the epoch of the last record read ends in the leader's log.
fn verdict(position: i64, end: Option<EpochEndOffset>) -> Verdict {
    match end {
        None => Verdict::Diverges(None),
        Some(end) if end.end_offset < position => Verdict::Diverges(Some(end.end_offset)),
        Some(_) => Verdict::Valid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_beyond_the_end_of_its_epoch_diverges() {
        let end = |leader_epoch, end_offset| {
            let end = EpochEndOffset {
                leader_epoch,
                end_offset,
            };
            verdict(10, Some(end))
        };
        assert_eq!(end(3, 10), Verdict::Valid);
        assert_eq!(end(3, 12), Verdict::Valid);
        assert_eq!(end(2, 7), Verdict::Diverges(Some(7)));
        assert_eq!(verdict(10, None), Verdict::Diverges(None));
    }
}
