//! The subcommands, one file each.

pub mod config;
pub mod consume;
pub mod group;
pub mod produce;
pub mod server;
pub mod sql;
pub mod topic;
