//! The subcommands, one file each.

pub mod cluster;
pub mod config;
pub mod consume;
pub mod group;
pub mod log;
pub mod partition;
pub mod produce;
pub mod quota;
pub mod server;
pub mod sql;
pub mod topic;
pub mod transaction;
