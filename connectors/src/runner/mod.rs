//! Running connectors against the log.

mod handle;
mod life;
mod sink;
mod source;
mod status;

pub use handle::ConnectorHandle;
pub use sink::{SinkTask, run_sink};
pub use source::{SEQUENCE_HEADER, SourceTask, run_source};
pub use status::{ConnectorState, ConnectorStatus};

use std::time::Duration;

/// The group whose offsets are a connector's positions, as in Kafka Connect.
fn group_of(connector: &str) -> String {
    format!("connect-{connector}")
}

/// How long to wait before the `attempt`-th restart: 0.2 s, doubled up to half a minute.
fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.min(8)).min(Duration::from_secs(30))
}
