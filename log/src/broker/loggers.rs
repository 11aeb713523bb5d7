//! The process's loggers, whose levels `kafka-configs --entity-type broker-loggers` shows and sets.
//!
//! The library only emits events; whoever subscribes to them may say how levels are changed
//! ([`install_loggers`]). As in Kafka, levels are not kept over a restart.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

/// The name of the logger all others stand under.
pub const ROOT_LOGGER: &str = "root";

/// Kafka's levels.
pub const LOG_LEVELS: &[&str] = &["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Shows and changes the levels of a process's loggers.
pub trait Loggers: Debug + Send + Sync {
    /// Every logger with its level, the root among them.
    fn levels(&self) -> BTreeMap<String, String>;

    /// Sets a logger's level, one of [`LOG_LEVELS`]; `None` goes back to that of its parent.
    ///
    /// # Errors
    /// Why it cannot be set.
    fn set(&self, logger: &str, level: Option<&str>) -> Result<(), String>;
}

static INSTALLED: OnceLock<Arc<dyn Loggers>> = OnceLock::new();

/// Has the brokers of this process show and change levels through `loggers`. The first call counts.
pub fn install_loggers(loggers: Arc<dyn Loggers>) {
    // A second subscriber of a process would not see events either.
    let _ = INSTALLED.set(loggers);
}

/// The process's loggers, if they can be changed.
pub(super) fn installed() -> Option<&'static Arc<dyn Loggers>> {
    INSTALLED.get()
}
