//! The configuration of a job, under Kafka Streams' names.

use super::commit::CommitObserver;
use super::threads::StreamThreads;
use crate::StreamsError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::IsolationLevel;
use thalweg_log::record::Compression;
use thalweg_state::StateRuntime;

/// What a crash may do to a job's results; `processing.guarantee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessingGuarantee {
    /// `at_least_once`: results of records that were read since the last commit are written
    /// again after a crash.
    AtLeastOnce,
    /// `exactly_once_v2`: outputs, state and input offsets are committed in one transaction
    /// (KIP-447). Who reads the results with `read_committed` sees each of them once.
    #[default]
    ExactlyOnce,
}

/// How a job runs.
///
/// ```
/// use thalweg_streams::runtime::StreamsConfig;
/// let config = StreamsConfig::from_map([
///     ("application.id", "clicks"),
///     ("num.stream.threads", "2"),
/// ])?;
/// assert_eq!(config.num_stream_threads, 2);
///
/// let error = StreamsConfig::from_map([("aplication.id", "clicks")]).unwrap_err();
/// assert!(error.to_string().contains("did you mean `application.id`?"));
/// # Ok::<(), thalweg_streams::StreamsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StreamsConfig {
    /// `application.id`: names the job, its consumer group and its internal topics.
    pub application_id: String,
    /// `processing.guarantee`: exactly once, unless told otherwise.
    pub processing_guarantee: ProcessingGuarantee,
    /// `transaction.timeout.ms`: how long a transaction of a process that is gone for good
    /// holds back the readers of its topics. A process that comes back aborts it at once, so
    /// that only a lost machine is waited for; a commit may take that long.
    pub transaction_timeout: Duration,
    /// `num.stream.threads`: how many stream threads drive the job's tasks. Ignored
    /// if `threads` are given.
    pub num_stream_threads: usize,
    /// `state.dir`: where stores live, each job in a directory of its own.
    pub state_dir: PathBuf,
    /// `commit.interval.ms`: the longest time between two commits while input keeps
    /// coming. When it has drained, a commit follows at once.
    pub commit_interval: Duration,
    /// The shortest time between two commits of drained input.
    pub min_commit_interval: Duration,
    /// `max.task.idle.ms`: how long a task waits for an input without lag and without data.
    pub max_task_idle: Duration,
    /// `statestore.cache.max.bytes`: the uncommitted entries of one thread; beyond it
    /// a commit comes early.
    pub cache_max_bytes: usize,
    /// `buffered.bytes.per.partition`: how much input is fetched ahead for one partition.
    pub buffered_bytes_per_partition: usize,
    /// `replication.factor` of internal topics; −1 takes the broker's default.
    pub replication_factor: i16,
    /// `session.timeout.ms` of the group's members.
    pub session_timeout: Duration,
    /// `task.timeout.ms`: for how long a thread whose transactions are aborted again and again
    /// goes back to its last commit and tries again, with growing pauses, before its job
    /// fails with [`StreamsError::Stalled`]. 0 fails at once.
    pub task_timeout: Duration,
    /// `repartition.purge.interval.ms`: how often records that have been processed are
    /// deleted from repartition topics.
    pub repartition_purge_interval: Duration,
    /// `compression.type` of outputs, changelogs and repartition topics.
    pub compression: Compression,
    /// The threads of the process that this job shares with others.
    pub threads: Option<Arc<StreamThreads>>,
    /// The caches that this job's stores share with others; by default all jobs of the
    /// process share one.
    pub state: Option<StateRuntime>,
    /// Is told of every step of every commit.
    pub commit_observer: Option<Arc<dyn CommitObserver>>,
}

impl StreamsConfig {
    /// The defaults for the job `application_id`.
    pub fn new(application_id: impl Into<String>) -> Self {
        Self {
            application_id: application_id.into(),
            processing_guarantee: ProcessingGuarantee::default(),
            transaction_timeout: Duration::from_secs(60),
            num_stream_threads: 1,
            state_dir: std::env::temp_dir().join("thalweg-streams"),
            commit_interval: Duration::from_millis(100),
            min_commit_interval: Duration::from_millis(5),
            max_task_idle: Duration::ZERO,
            cache_max_bytes: 64 << 20,
            buffered_bytes_per_partition: 8 << 20,
            replication_factor: -1,
            session_timeout: Duration::from_secs(10),
            task_timeout: Duration::from_secs(300),
            repartition_purge_interval: Duration::from_secs(30),
            compression: Compression::None,
            threads: None,
            state: None,
            commit_observer: None,
        }
    }

    /// Reads Kafka Streams' keys. A key that is not known is an error that names the
    /// nearest one.
    pub fn from_map<K: AsRef<str>, V: AsRef<str>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, StreamsError> {
        let mut config = Self::new("");
        for (key, value) in entries {
            config.set(key.as_ref(), value.as_ref())?;
        }
        config.validate()?;
        Ok(config)
    }

    /// Sets one entry by its key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), StreamsError> {
        match key {
            "application.id" => self.application_id = value.to_owned(),
            "num.stream.threads" => self.num_stream_threads = number(key, value)?,
            "state.dir" => self.state_dir = PathBuf::from(value),
            "commit.interval.ms" => self.commit_interval = millis(key, value)?,
            "max.task.idle.ms" => self.max_task_idle = millis(key, value)?,
            "statestore.cache.max.bytes" => self.cache_max_bytes = number(key, value)?,
            "buffered.bytes.per.partition" => {
                self.buffered_bytes_per_partition = number(key, value)?;
            }
            "replication.factor" => self.replication_factor = number(key, value)?,
            "session.timeout.ms" => self.session_timeout = millis(key, value)?,
            "task.timeout.ms" => self.task_timeout = millis(key, value)?,
            "repartition.purge.interval.ms" => {
                self.repartition_purge_interval = millis(key, value)?;
            }
            "compression.type" => {
                self.compression = match value {
                    "none" => Compression::None,
                    "gzip" => Compression::Gzip,
                    "snappy" => Compression::Snappy,
                    "lz4" => Compression::Lz4,
                    "zstd" => Compression::Zstd,
                    _ => {
                        return Err(invalid(key, value, "none, gzip, snappy, lz4 or zstd"));
                    }
                }
            }
            "processing.guarantee" => {
                self.processing_guarantee = match value {
                    "at_least_once" => ProcessingGuarantee::AtLeastOnce,
                    "exactly_once_v2" => ProcessingGuarantee::ExactlyOnce,
                    _ => return Err(invalid(key, value, "exactly_once_v2 or at_least_once")),
                }
            }
            "transaction.timeout.ms" => self.transaction_timeout = millis(key, value)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    pub(crate) fn exactly_once(&self) -> bool {
        self.processing_guarantee == ProcessingGuarantee::ExactlyOnce
    }

    /// What the job's consumers read of transactions.
    pub(crate) fn isolation(&self) -> IsolationLevel {
        match self.processing_guarantee {
            ProcessingGuarantee::ExactlyOnce => IsolationLevel::ReadCommitted,
            ProcessingGuarantee::AtLeastOnce => IsolationLevel::ReadUncommitted,
        }
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), StreamsError> {
        let id = &self.application_id;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.starts_with('.') || !id.chars().all(legal) || id.len() > 150 {
            return Err(StreamsError::Config(format!(
                "`application.id` = `{id}`: give the job a name of letters, digits, `.`, `_` and `-`; it names its topics and its directory"
            )));
        }
        if self.num_stream_threads == 0 {
            return Err(invalid("num.stream.threads", "0", "at least 1"));
        }
        if self.exactly_once() && self.transaction_timeout < self.commit_interval {
            let value = self.transaction_timeout.as_millis().to_string();
            let expected = "at least `commit.interval.ms`: a transaction lasts that long";
            return Err(invalid("transaction.timeout.ms", &value, expected));
        }
        Ok(())
    }
}

const KEYS: [&str; 14] = [
    "application.id",
    "num.stream.threads",
    "state.dir",
    "commit.interval.ms",
    "max.task.idle.ms",
    "statestore.cache.max.bytes",
    "buffered.bytes.per.partition",
    "replication.factor",
    "session.timeout.ms",
    "task.timeout.ms",
    "repartition.purge.interval.ms",
    "compression.type",
    "processing.guarantee",
    "transaction.timeout.ms",
];

fn unknown(key: &str) -> StreamsError {
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3);
    let hint = nearest.map_or(String::new(), |(_, known)| {
        format!("; did you mean `{known}`?")
    });
    StreamsError::Config(format!("there is no key `{key}`{hint}"))
}

fn invalid(key: &str, value: &str, expected: &str) -> StreamsError {
    StreamsError::Config(format!("`{key}` = `{value}`: expected {expected}"))
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, StreamsError> {
    value
        .trim()
        .parse()
        .map_err(|_| invalid(key, value, "a number"))
}

fn millis(key: &str, value: &str) -> Result<Duration, StreamsError> {
    Ok(Duration::from_millis(number(key, value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set_and_no_other() {
        for key in KEYS {
            let mut config = StreamsConfig::new("app");
            let value = match key {
                "processing.guarantee" => "at_least_once",
                "compression.type" => "lz4",
                _ => "7",
            };
            config.set(key, value).unwrap();
        }
        let error = StreamsConfig::new("app").set("zzz", "1").unwrap_err();
        assert!(!error.to_string().contains("did you mean"));
    }

    #[test]
    fn an_id_that_cannot_name_a_topic_is_refused() {
        for id in ["", "..", "a/b", "a b", &"x".repeat(151)] {
            assert!(StreamsConfig::new(id).validate().is_err(), "{id}");
        }
        assert!(StreamsConfig::new("a.b-c_1").validate().is_ok());
    }
}
