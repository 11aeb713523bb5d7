//! Running SQL from the command line.

pub mod embedded;
pub mod events;
pub mod printer;
pub mod remote;
pub mod shell;
