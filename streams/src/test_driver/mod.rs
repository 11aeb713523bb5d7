//! Runs a topology in memory, in one thread and with a clock of the test's own.
//!
//! A [`TopologyTestDriver`] drives the very [`Task`](crate::task::Task) that the runtime
//! drives: the order of inputs, watermarks, repartition topics, commits and restores are
//! not imitated but are the real ones. Only the log is a list and time stands still
//! until the test moves it. Typed and columnar topologies run alike.
//!
//! By default everything is processed and committed after each record that is piped in.
//! [Buffered](TopologyTestDriver::auto_commit) input shows how tasks choose between
//! inputs, and a [seed](TestDriverOptions::seed) lets partitions and tasks progress
//! unevenly, reproducibly.
//!
//! ```
//! use thalweg_streams::serdes::{I64Serde, StringSerde};
//! use thalweg_streams::{Consumed, Grouped, Materialized, Produced, StreamsBuilder, TopologyTestDriver};
//!
//! let builder = StreamsBuilder::new();
//! builder
//!     .stream::<String, String>("words", Consumed::of_types())
//!     .group_by(|_, word| word.clone(), Grouped::of_types())
//!     .count(Materialized::as_("counts"))
//!     .updates()
//!     .to("counts", Produced::new());
//!
//! let driver = TopologyTestDriver::new(builder.build()?)?;
//! let words = driver.input_topic("words", StringSerde, StringSerde);
//! for word in ["ebb", "flow", "ebb"] {
//!     words.pipe(&"key".to_owned(), &word.to_owned(), 0)?;
//! }
//! let counts = driver.output_topic("counts", StringSerde, I64Serde);
//! let expected = [("ebb", 1), ("flow", 1), ("ebb", 2)].map(|(word, n)| (word.to_owned(), n));
//! assert_eq!(counts.read_key_values()?, expected);
//! # Ok::<(), thalweg_streams::StreamsError>(())
//! ```

mod cluster;
mod log;
mod random;
mod topics;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::StreamsError;
use crate::serdes::{Deserializer, Serde, SerdeError};
use crate::task::TaskId;
use crate::topology::Topology;
use crate::typed::split_timestamped;

use cluster::Cluster;
pub use log::RawRecord;
pub use topics::{TestInputTopic, TestOutputTopic, TestRecord};

/// How a test driver is set up.
#[derive(Debug, Clone)]
pub struct TestDriverOptions {
    application_id: String,
    partitions: BTreeMap<String, i32>,
    default_partitions: i32,
    seed: Option<u64>,
    wall_clock: i64,
    ephemeral: bool,
}

impl Default for TestDriverOptions {
    fn default() -> Self {
        Self {
            application_id: "test".to_owned(),
            partitions: BTreeMap::new(),
            default_partitions: 1,
            seed: None,
            wall_clock: 0,
            ephemeral: false,
        }
    }
}

impl TestDriverOptions {
    /// One partition a topic, no interleaving, the clock at 1970.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The application id, which begins the names of internal topics; by default `test`.
    #[must_use]
    pub fn application_id(mut self, id: impl Into<String>) -> Self {
        self.application_id = id.into();
        self
    }

    /// The number of partitions of one topic.
    #[must_use]
    pub fn partitions(mut self, topic: impl Into<String>, partitions: i32) -> Self {
        self.partitions.insert(topic.into(), partitions);
        self
    }

    /// The number of partitions of every other topic; by default one.
    #[must_use]
    pub fn default_partitions(mut self, partitions: i32) -> Self {
        self.default_partitions = partitions;
        self
    }

    /// Lets partitions be fetched and tasks be run and committed in an order drawn from
    /// `seed`. Commits then come by the draw and at the end of each
    /// [`run`](TopologyTestDriver::run).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where the wall clock begins, in milliseconds since 1970.
    #[must_use]
    pub fn wall_clock(mut self, millis: i64) -> Self {
        self.wall_clock = millis;
        self
    }
}

impl TestDriverOptions {
    /// Keeps nothing of what has been processed, neither input nor changelogs, so that a
    /// topology can run in memory for as long as its process. It cannot restart.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }
}

/// A topology running in memory. See the [module documentation](crate::test_driver).
#[derive(Debug, Clone)]
pub struct TopologyTestDriver {
    cluster: Rc<RefCell<Cluster>>,
}

impl TopologyTestDriver {
    /// Runs `topology` with one partition a topic.
    pub fn new(topology: Topology) -> Result<Self, StreamsError> {
        Self::with_options(topology, TestDriverOptions::default())
    }

    /// Runs `topology` as `options` say.
    pub fn with_options(
        topology: Topology,
        options: TestDriverOptions,
    ) -> Result<Self, StreamsError> {
        Ok(Self {
            cluster: Rc::new(RefCell::new(Cluster::start(&topology, options)?)),
        })
    }

    fn with<R>(
        &self,
        f: impl FnOnce(&mut Cluster) -> Result<R, StreamsError>,
    ) -> Result<R, StreamsError> {
        f(&mut self.cluster.borrow_mut())
    }

    /// A typed writer of `topic`.
    pub fn input_topic<K, V>(
        &self,
        topic: impl Into<String>,
        key: impl Serde<K> + 'static,
        value: impl Serde<V> + 'static,
    ) -> TestInputTopic<K, V> {
        TestInputTopic::new(self.clone(), topic.into(), Box::new(key), Box::new(value))
    }

    /// A typed reader of `topic`.
    pub fn output_topic<K, V>(
        &self,
        topic: impl Into<String>,
        key: impl Serde<K> + 'static,
        value: impl Serde<V> + 'static,
    ) -> TestOutputTopic<K, V> {
        TestOutputTopic::new(self.clone(), topic.into(), Box::new(key), Box::new(value))
    }

    /// Appends a record to `topic`, at `partition` or where its key belongs, and processes
    /// it unless input is [buffered](Self::auto_commit).
    pub fn pipe_raw(
        &self,
        topic: &str,
        partition: Option<i32>,
        record: RawRecord,
    ) -> Result<(), StreamsError> {
        self.with(|cluster| {
            cluster.append_input(topic, partition, record)?;
            cluster.after_input()
        })
    }

    /// The records of `topic` that have not been read yet, partition by partition.
    pub fn read_raw(&self, topic: &str) -> Vec<RawRecord> {
        self.cluster.borrow_mut().read(topic)
    }

    /// With `false`, input is only buffered until [`run`](Self::run) or
    /// [`commit`](Self::commit); by default it is processed and committed at once.
    pub fn auto_commit(&self, enabled: bool) {
        self.cluster.borrow_mut().auto_commit = enabled;
    }

    /// Processes everything that is buffered, without a commit unless a seed is given.
    pub fn run(&self) -> Result<(), StreamsError> {
        self.with(Cluster::run)
    }

    /// Processes everything and commits, until nothing is left to do.
    pub fn commit(&self) -> Result<(), StreamsError> {
        self.with(Cluster::settle)
    }

    /// Moves the wall clock, lets timers fire and inputs become idle, and commits.
    pub fn advance_wall_clock(&self, by: Duration) -> Result<(), StreamsError> {
        self.with(|cluster| cluster.advance_wall_clock(by))
    }

    /// Commits, drops every task, and builds all of them anew from committed offsets and
    /// changelogs, as a restart on another machine does.
    pub fn restart(&self) -> Result<(), StreamsError> {
        self.with(|cluster| {
            cluster.settle()?;
            cluster.rebuild()
        })
    }

    /// Drops every task with what it has not committed and builds all of them anew. What
    /// they had sent already stays sent, as without transactions.
    pub fn crash(&self) -> Result<(), StreamsError> {
        self.with(Cluster::rebuild)
    }

    /// How many records came too late for a window, over all tasks.
    pub fn late_records(&self) -> u64 {
        self.cluster.borrow().late_records()
    }

    /// How many records were skipped, over all tasks.
    pub fn skipped_records(&self) -> u64 {
        self.cluster.borrow().skipped_records()
    }

    /// The watermark of a task; `None` for a task that there is not.
    pub fn watermark(&self, task: TaskId) -> Option<i64> {
        self.cluster.borrow().watermark(task)
    }

    /// The entries of a store over all tasks, as bytes, in the order of their keys.
    pub fn store_entries(&self, store: &str) -> Result<Vec<(Bytes, Bytes)>, StreamsError> {
        self.with(|cluster| cluster.store_entries(store))
    }

    /// The rows of a table over all tasks, with the time of their last update, in the
    /// order of the keys' bytes.
    pub fn table_rows<K, V>(
        &self,
        store: &str,
        key: impl Deserializer<K>,
        value: impl Deserializer<V>,
    ) -> Result<Vec<(K, V, i64)>, StreamsError> {
        let mut rows = Vec::new();
        for (key_bytes, stored) in self.store_entries(store)? {
            let (at, value_bytes) = split_timestamped(store, &stored)?;
            rows.push((
                read(store, key.deserialize(&key_bytes))?,
                read(store, value.deserialize(&value_bytes))?,
                at,
            ));
        }
        Ok(rows)
    }

    /// The rows of a windowed table over all tasks: key, start of the window, value and
    /// time of the last update, by window and then by key.
    pub fn window_rows<K, V>(
        &self,
        store: &str,
        key: impl Deserializer<K>,
        value: impl Deserializer<V>,
    ) -> Result<Vec<(K, i64, V, i64)>, StreamsError> {
        let mut rows = Vec::new();
        for (stored_key, stored) in self.store_entries(store)? {
            let (at, value_bytes) = split_timestamped(store, &stored)?;
            let Some((start, key_bytes)) = thalweg_state::window::split_window_key(&stored_key)
            else {
                return Err(StreamsError::Format {
                    what: "a row of a store",
                    reason: format!("`{store}` is no window store"),
                });
            };
            rows.push((
                read(store, key.deserialize(&key_bytes))?,
                start,
                read(store, value.deserialize(&value_bytes))?,
                at,
            ));
        }
        Ok(rows)
    }
}

fn read<T>(store: &str, result: Result<T, SerdeError>) -> Result<T, StreamsError> {
    result.map_err(|error| StreamsError::Format {
        what: "a row of a store",
        reason: format!("`{store}`: {error}"),
    })
}
