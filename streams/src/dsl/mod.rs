//! The DSL: streams and tables, declared in the terms of Kafka Streams.
//!
//! A [`StreamsBuilder`] hands out [`KStream`]s and [`KTable`]s; their operators declare
//! nodes and hand out the next ones. Nothing runs here: [`StreamsBuilder::build`] checks
//! the whole and makes a [`Topology`](crate::topology::Topology), plain data that the
//! runtime and the [`TopologyTestDriver`](crate::TopologyTestDriver) execute alike.
//!
//! Names and numbers of processors, stores, changelogs and repartition topics follow
//! Kafka Streams, so that its users find their way.
//!
//! ```
//! use std::time::Duration;
//! use thalweg_streams::{Consumed, Grouped, Materialized, Produced, StreamsBuilder, TimeWindows};
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Click { user: String, item: u32 }
//!
//! let builder = StreamsBuilder::new();
//! builder
//!     .stream::<String, Click>("clicks", Consumed::json())
//!     .filter(|_, click| click.item > 0)
//!     .group_by(|_, click| click.user.clone(), Grouped::json())
//!     .windowed_by(TimeWindows::of_size(Duration::from_secs(60)))
//!     .count(Materialized::as_("clicks-per-minute"))
//!     .updates()
//!     .to("clicks-per-minute", Produced::new());
//! let topology = builder.build()?;
//! println!("{topology}");
//! # Ok::<(), thalweg_streams::StreamsError>(())
//! ```

mod builder;
mod draft;
mod grouped;
mod grouped_table;
mod kstream;
mod ktable;
mod lower;
mod options;
mod windowed;

pub use builder::StreamsBuilder;
pub use grouped::KGroupedStream;
pub use grouped_table::KGroupedTable;
pub use kstream::{Branched, KStream};
pub use ktable::KTable;
pub use options::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned};
pub use windowed::{EmitStrategy, TimeWindowedKStream};

/// The guide's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/dsl.md")]
struct Guide;
