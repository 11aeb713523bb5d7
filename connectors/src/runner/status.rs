//! What a running connector says about itself: never "running" while nothing flows and
//! nobody knows why.

use serde::Serialize;

use crate::SourceProgress;

/// Where a connector is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorState {
    /// Finding its position.
    #[default]
    Starting,
    /// Moving records.
    Running,
    /// At the end of what there is, waiting for more.
    Idle,
    /// Failed for a passing reason, waiting to try again.
    Restarting,
    /// Read to its end.
    Finished,
    /// Stopped by a fault that someone has to mend.
    Failed,
    /// Stopped as it was told.
    Stopped,
}

impl ConnectorState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Stopped)
    }
}

/// A look at a connector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConnectorStatus {
    /// Where it is in its life.
    pub state: ConnectorState,
    /// Records moved since it was started.
    pub records: u64,
    /// Malformed records passed over since it was started.
    pub skipped: u64,
    /// Bytes of a source that were read.
    pub bytes: u64,
    /// Bytes of a source in all, where it has an end.
    pub total_bytes: Option<u64>,
    /// How often it was restarted.
    pub restarts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl ConnectorStatus {
    pub(super) fn set_progress(&mut self, progress: SourceProgress) {
        self.bytes = progress.done;
        self.total_bytes = progress.total;
    }
}
