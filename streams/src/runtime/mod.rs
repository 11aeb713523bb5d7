//! The runtime: a job's tasks on stream threads, over the log.
//!
//! A job is its own consumer group and its own failure domain. Its tasks are spread over
//! the members of the group (one for each stream thread of each process); stores are
//! restored from their changelogs, inputs go on from their committed offsets, and all of
//! it commits together, in the order that [`CommitStep`] tells.
//!
//! ```no_run
//! use thalweg_log::client::{Client, ClientConfig};
//! use thalweg_streams::runtime::{Streams, StreamsConfig};
//! use thalweg_streams::topology::Topology;
//!
//! # async fn run(topology: Topology) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("localhost:9092", ClientConfig::default()).await?;
//! let streams = Streams::start(StreamsConfig::new("counts"), topology, client).await?;
//! streams.wait_running().await?;
//! // …
//! streams.close().await?;
//! # Ok(())
//! # }
//! ```

mod assignor;
mod caught_up;
mod commit;
mod config;
mod job;
mod outlet;
mod query;
mod restore;
mod setbacks;
mod state_dir;
mod streams;
mod threads;
mod topics;
mod worker;

pub use commit::{CommitObserver, CommitStep};
pub use config::{ProcessingGuarantee, StreamsConfig};
pub use job::JobState;
pub use query::ReadOnlyStore;
pub use streams::Streams;
pub use threads::StreamThreads;
