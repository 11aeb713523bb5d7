//! Segments, their indexes, the partition log, recovery and retention.

mod config;
mod error;
mod manager;
mod partition;
mod types;

pub use config::{ConfigKey, ConfigType, LogConfig, LogConfigError};
pub use error::{AppendError, StorageError, StorageResult};
pub use manager::{LogManager, LogManagerConfig};
pub use partition::PartitionLog;
pub use types::{
    AppendInfo, AppendOrigin, EpochEndOffset, FetchData, FetchIsolation, LogPosition, LogState,
    TimestampOffset,
};
