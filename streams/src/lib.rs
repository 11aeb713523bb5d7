//! The stream-processing library of Thalweg: a typed DSL, columnar nodes, and the task
//! runtime that drives both.
//!
//! - [`dsl`] declares streams and tables; [`serdes`] turn their records into bytes and back.
//! - [`topology`] describes a program as plain data: sub-topologies, sources, sinks, stores.
//! - [`test_driver`] runs a topology in memory, for tests.
//! - [`runtime`] runs a topology over the log.
//! - [`task`] is the seam between the runtime and the nodes, and the engine of one task:
//!   sans-IO, driven alike by the runtime, the test driver and simulations.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod columnar;
pub mod dsl;
pub mod error;
pub mod runtime;
pub mod serdes;
pub mod task;
pub mod test_driver;
pub mod topology;
pub mod typed;

pub use dsl::{
    Branched, Consumed, EmitStrategy, Grouped, Joined, KGroupedStream, KGroupedTable, KStream,
    KTable, Materialized, Produced, Repartitioned, StreamsBuilder, TimeWindowedKStream,
};
pub use error::StreamsError;
pub use runtime::{ProcessingGuarantee, Streams, StreamsConfig};
pub use test_driver::{TestDriverOptions, TopologyTestDriver};
pub use typed::{
    AsKey, KeyValueStore, Meta, OnBadRecord, Processor, ProcessorContext, PunctuationType,
    ReadOnlyTable, Row, StoreAccess, StoreRef, TimeWindows, TimerId, Window, Windowed,
};

/// Everything that a program of the DSL needs, in one `use`.
pub mod prelude {
    pub use crate::dsl::*;
    pub use crate::serdes::{
        BincodeSerde, BoolSerde, BytesSerde, DefaultSerde, Deserializer, F32Serde, F64Serde,
        I16Serde, I32Serde, I64Serde, JsonSerde, Nullable, Serde, SerdeError, Serializer,
        StringSerde, U16Serde, U32Serde, U64Serde, UnitSerde, UuidSerde, WindowedSerde,
    };
    pub use crate::topology::{OffsetReset, Topology};
    pub use crate::typed::{
        KeyValueStore, Meta, OnBadRecord, Processor, ProcessorContext, PunctuationType,
        ReadOnlyTable, Row, StoreRef, TimeWindows, TimerId, Window, Windowed,
    };
    pub use crate::{Streams, StreamsConfig, StreamsError, TestDriverOptions, TopologyTestDriver};
}
