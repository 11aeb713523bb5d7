//! Producer ids, handed out from blocks that the controller allocates.
//!
//! Invariant: an id is handed out once in the life of the cluster: a block is in the metadata log
//! before its first id is used, and what is left of it at a crash is never used.

use std::ops::Range;

use tokio::sync::Mutex;

use super::core::{Core, ProposeError};
use crate::controller::{Command, Outcome, QuorumError};

/// Ids in a block.
const BLOCK: i32 = 1000;

/// This broker's current block.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// A new producer id, if that takes no wait.
    pub(crate) fn try_next(&self) -> Option<i64> {
        self.block.try_lock().ok()?.next()
    }

    /// A new producer id.
    pub(crate) async fn next(&self, core: &Core) -> Result<i64, ProposeError> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let ask = Command::AllocateProducerIds {
            broker: core.node_id(),
            count: BLOCK,
        };
        match core.propose(ask).await? {
            Outcome::ProducerIds { first, count } => {
                *block = first.saturating_add(1)..first.saturating_add(i64::from(count));
                Ok(first)
            }
            other => Err(QuorumError::Stopped(format!(
                "a block of producer ids was answered with {other:?}"
            ))
            .into()),
        }
    }
}
