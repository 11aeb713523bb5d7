//! Running connectors against the log.

mod handle;
mod life;
mod positions;
mod sink;
mod source;
mod status;

pub use handle::ConnectorHandle;
pub use positions::{POSITIONS_TOPIC, forget_source};
pub use sink::{SinkTask, run_sink};
pub use source::{SourceTask, run_source};
pub use status::{ConnectorState, ConnectorStatus};

use std::time::Duration;

/// The group of a sink and the transactional id of a source, as Kafka Connect names them.
fn id_of(connector: &str) -> String {
    format!("connect-{connector}")
}

/// How long to wait before the `attempt`-th restart: 0.2 s, doubled up to half a minute.
fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.min(8)).min(Duration::from_secs(30))
}
