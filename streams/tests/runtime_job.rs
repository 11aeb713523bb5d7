//! Jobs over a broker in this process: groups, tasks, restore, restarts, queries.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    Client, ClientConfig, ConsumerConfig, IsolationLevel, NewTopic, OffsetSpec, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use thalweg_log::storage::{LogManager, LogManagerConfig};
use thalweg_streams::runtime::{
    CommitObserver, CommitStep, JobState, ProcessingGuarantee, StreamThreads, Streams,
    StreamsConfig,
};
use thalweg_streams::topology::{OffsetReset, Topology};
use thalweg_streams::{Consumed, Grouped, Materialized, Produced, StreamsBuilder, StreamsError};

/// A session that nobody has the time to wait for.
const SESSION: Duration = Duration::from_secs(30);

struct Cluster {
    broker: Broker,
    client: Client,
}

impl Cluster {
    async fn start(dir: &Path) -> Self {
        let config =
            BrokerConfig::new(dir.join("log")).set("group.initial.rebalance.delay.ms", "0");
        let broker = Broker::start(config).await.unwrap();
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        Self { broker, client }
    }

    async fn topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name).partitions(partitions);
        self.client.admin().create_topic(topic).await.unwrap();
    }

    async fn send(&self, topic: &str, records: impl IntoIterator<Item = (String, String, i64)>) {
        let producer = self.client.producer(ProducerConfig::default()).unwrap();
        for (key, value, timestamp) in records {
            let record = ProducerRecord::new(topic)
                .key(key)
                .value(value)
                .timestamp(timestamp);
            drop(producer.send(record).await.unwrap());
        }
        producer.close().await.unwrap();
    }
}

fn config(dir: &Path, threads: usize) -> StreamsConfig {
    StreamsConfig {
        state_dir: dir.join("state"),
        num_stream_threads: threads,
        session_timeout: SESSION,
        ..StreamsConfig::new("words")
    }
}

/// Counts words: the word is the value, so the records move to other partitions first.
fn counting() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .group_by(|_, word| word.clone(), Grouped::of_types())
        .count(Materialized::as_("counts"))
        .to_stream()
        .to("out", Produced::new());
    builder.build().unwrap()
}

fn words(count: usize, from: usize) -> Vec<(String, String, i64)> {
    (from..from + count)
        .map(|n| (format!("line-{n}"), format!("word-{}", n % 7), n as i64))
        .collect()
}

async fn caught_up(streams: &Streams) {
    let ends = streams.input_end_offsets().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(30), streams.wait_caught_up(&ends));
    waited.await.expect("the job catches up").unwrap();
}

/// The count of each word, as the store has it.
fn counts(streams: &Streams) -> Vec<u64> {
    let store = streams.store("counts").unwrap();
    let entries = store.scan(thalweg_state::KeyRange::all());
    let mut counts: Vec<_> = entries.map(|e| e.unwrap()).collect();
    counts.sort();
    counts
        .iter()
        .map(|(_, value)| u64::from(*value.last().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_counts_through_a_repartition_topic_and_goes_on_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 3).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(70, 0)).await;

    for (round, threads) in [(1u64, 2), (2, 1)] {
        let streams = Streams::start(
            config(dir.path(), threads),
            counting(),
            cluster.client.clone(),
        )
        .await
        .unwrap();
        caught_up(&streams).await;
        assert_eq!(counts(&streams), [10 * round; 7]);
        let lag = streams.lag().await.unwrap();
        // Watermarks may still be on their way through the repartition topic.
        let input = lag.iter().filter(|(p, _)| &*p.topic == "in");
        assert!(input.clone().all(|(_, lag)| *lag == 0), "{lag:?}");
        assert_eq!(input.count(), 3);
        streams.close().await.unwrap();
        assert_eq!(streams.state(), JobState::NotRunning);
        assert!(streams.store("counts").is_err());
        cluster.send("in", words(70, 70)).await;
    }
    let repartition: BTreeMap<_, _> = (0..3)
        .map(|p| TopicPartition::new("words-counts-repartition", p))
        .map(|p| (p, OffsetSpec::Earliest))
        .collect();
    let admin = cluster.client.admin();
    let starts = admin
        .list_offsets(repartition, IsolationLevel::ReadUncommitted)
        .await
        .unwrap();
    let purged: i64 = starts.values().map(|start| start.unwrap().offset).sum();
    assert!(purged >= 140, "what was processed is deleted: {starts:?}");
    let topics = admin.list_topics().await.unwrap();
    let names: Vec<_> = topics.iter().map(|t| t.name.as_str()).collect();
    assert!(names.contains(&"words-counts-changelog"), "{names:?}");
    cluster.broker.shutdown().await;
}

/// Fails the job at one step of one commit, as a crash there would end it.
#[derive(Debug)]
struct StopAt {
    step: CommitStep,
    /// How many such steps go well before.
    after: AtomicU32,
}

impl CommitObserver for StopAt {
    fn after(&self, step: CommitStep) -> Result<(), StreamsError> {
        if step != self.step {
            return Ok(());
        }
        match self.after.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(StreamsError::Config("stopped by the test".to_owned())),
            _ => Ok(()),
        }
    }
}

/// Keeps the greatest value of each key: what comes twice changes nothing.
fn greatest() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in", Consumed::of_types())
        .group_by(|_, value| format!("mod-{}", value % 5), Grouped::of_types())
        .aggregate(
            || 0i64,
            |_, value, greatest| *value.max(&greatest),
            Materialized::of_types().named("counts"),
        )
        .to_stream()
        .to("out", Produced::new());
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_a_crash_between_any_two_steps_of_a_commit_loses_nothing() {
    let steps = [
        CommitStep::Flushed,
        CommitStep::OutputsSent,
        CommitStep::Sent,
        CommitStep::OffsetsCommitted,
        CommitStep::Applied,
    ];
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    let mut sent = 0i64;
    let mut doubled = false;
    for (round, step) in steps.iter().cycle().take(10).enumerate() {
        let topology = match round < 5 {
            true => counting(),
            false => greatest(),
        };
        let name = match round < 5 {
            true => "sums",
            false => "greatest",
        };
        let crashing = StreamsConfig {
            application_id: name.to_owned(),
            processing_guarantee: ProcessingGuarantee::AtLeastOnce,
            commit_observer: Some(Arc::new(StopAt {
                step: *step,
                after: AtomicU32::new(1),
            })),
            ..config(dir.path(), 1)
        };
        let records = (sent..sent + 40).map(|n| (format!("k{n}"), n));
        let producer = cluster.client.producer(ProducerConfig::default()).unwrap();
        for (key, value) in records {
            let value = match name {
                "sums" => Bytes::from(format!("word-{}", value % 5)),
                _ => Bytes::copy_from_slice(&value.to_be_bytes()),
            };
            let topic = "in";
            let record = ProducerRecord::new(topic)
                .key(key)
                .value(value)
                .timestamp(1);
            drop(producer.send(record).await.unwrap());
        }
        producer.close().await.unwrap();
        sent += 40;

        let streams = Streams::start(crashing.clone(), topology.clone(), cluster.client.clone())
            .await
            .unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), streams.wait_ended()).await;
        let error = ended.expect("the commit is reached").unwrap_err();
        assert!(error.to_string().contains("stopped by the test"), "{error}");
        assert_eq!(streams.state(), JobState::Error);
        drop(streams);

        let whole = StreamsConfig {
            commit_observer: None,
            ..crashing
        };
        let began = Instant::now();
        let streams = Streams::start(whole, topology, cluster.client.clone())
            .await
            .unwrap();
        streams.wait_running().await.unwrap();
        assert!(
            began.elapsed() < SESSION / 3,
            "nobody waits for the dead member's session: {:?}",
            began.elapsed()
        );
        caught_up(&streams).await;
        let store = streams.store("counts").unwrap();
        let entries: Vec<_> = store
            .scan(thalweg_state::KeyRange::all())
            .map(|e| e.unwrap())
            .collect();
        assert_eq!(entries.len(), 5, "round {round}, {step:?}");
        let total: i64 = entries.iter().map(|(_, v)| value_of(v)).sum();
        if name == "sums" {
            assert!(total >= sent, "round {round}, {step:?}: {total} of {sent}");
            doubled |= total > sent;
        } else {
            let of_this_job: i64 = (sent - 5..sent).sum();
            assert_eq!(total, of_this_job, "round {round}, {step:?}");
        }
        streams.close().await.unwrap();
        if round == 4 {
            // The second job reads numbers, and from here on.
            sent = 0;
            cluster.client.admin().delete_topic("in").await.unwrap();
            cluster.topic("in", 2).await;
        }
    }
    assert!(doubled, "at-least-once shows, or the crash came nowhere");
    cluster.broker.shutdown().await;
}

/// The end offsets of a topic's partitions, summed up.
async fn length(cluster: &Cluster, topic: &str, partitions: i32) -> i64 {
    let wanted = (0..partitions).map(|p| (TopicPartition::new(topic, p), OffsetSpec::Latest));
    let ends = cluster
        .client
        .admin()
        .list_offsets(wanted.collect(), IsolationLevel::ReadUncommitted)
        .await
        .unwrap();
    ends.values().map(|end| end.unwrap().offset).sum()
}

/// A node that finds in its state that it has said something already does not say it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_state_is_in_its_changelog_before_what_it_put_out_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 1).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(10, 0)).await;
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .group_by_key(Grouped::of_types())
        .count(Materialized::as_("counts"))
        .to_stream()
        .to("out", Produced::new());
    let crashing = StreamsConfig {
        processing_guarantee: ProcessingGuarantee::AtLeastOnce,
        commit_observer: Some(Arc::new(StopAt {
            step: CommitStep::OutputsSent,
            after: AtomicU32::new(0),
        })),
        ..config(dir.path(), 1)
    };
    let topology = builder.build().unwrap();
    let streams = Streams::start(crashing, topology, cluster.client.clone())
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), streams.wait_ended()).await;
    assert!(ended.expect("the commit is reached").is_err());
    assert_eq!(length(&cluster, "out", 1).await, 10);
    assert_eq!(length(&cluster, "words-counts-changelog", 1).await, 0);
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_input_has_been_deleted_behind_it_is_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 1).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(7, 0)).await;
    let streams = Streams::start(config(dir.path(), 1), counting(), cluster.client.clone())
        .await
        .unwrap();
    caught_up(&streams).await;
    assert_eq!(counts(&streams), [1; 7]);
    streams.close().await.unwrap();
    // What comes while the job is away has gone again before it is back.
    cluster.send("in", words(7, 0)).await;
    let input = TopicPartition::new("in", 0);
    let end = length(&cluster, "in", 1).await;
    let admin = cluster.client.admin();
    let deleted = admin.delete_records(BTreeMap::from([(input, end)])).await;
    assert!(deleted.unwrap().iter().all(|(_, answer)| answer.is_ok()));
    let streams = Streams::start(config(dir.path(), 1), counting(), cluster.client.clone())
        .await
        .unwrap();
    caught_up(&streams).await;
    assert_eq!(counts(&streams), [1; 7]);
    streams.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_begins_at_the_end_loses_nothing_that_comes_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 1).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(10, 0)).await;
    let builder = StreamsBuilder::new();
    let latest = Consumed::of_types().offset_reset(OffsetReset::Latest);
    builder
        .stream::<String, String>("in", latest)
        .group_by_key(Grouped::of_types())
        .count(Materialized::as_("counts"))
        .to_stream()
        .to("out", Produced::new());
    let topology = builder.build().unwrap();
    // The first commit keeps where the job begins, the second one fails.
    let crashing = StreamsConfig {
        commit_observer: Some(Arc::new(StopAt {
            step: CommitStep::Flushed,
            after: AtomicU32::new(1),
        })),
        ..config(dir.path(), 1)
    };
    let streams = Streams::start(crashing, topology.clone(), cluster.client.clone())
        .await
        .unwrap();
    streams.wait_running().await.unwrap();
    cluster.send("in", words(10, 10)).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), streams.wait_ended()).await;
    assert!(ended.expect("the second commit is reached").is_err());
    drop(streams);

    let streams = Streams::start(config(dir.path(), 1), topology, cluster.client.clone())
        .await
        .unwrap();
    caught_up(&streams).await;
    assert_eq!(counts(&streams), [1; 10]);
    streams.close().await.unwrap();
    cluster.broker.shutdown().await;
}

/// The number at the end of a stored value.
fn value_of(stored: &Bytes) -> i64 {
    i64::from_be_bytes(*stored.last_chunk::<8>().unwrap())
}

async fn start(dir: &Path, process: &str, cluster: &Cluster) -> Streams {
    let config = StreamsConfig {
        state_dir: dir.join(process),
        ..StreamsConfig::new("words")
    };
    let streams = Streams::start(config, counting(), cluster.client.clone()).await;
    streams.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_move_between_processes_with_their_state() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 4).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(70, 0)).await;

    let first = start(dir.path(), "first", &cluster).await;
    caught_up(&first).await;
    assert_eq!(first.store("counts").unwrap().tasks().count(), 4);

    let second = start(dir.path(), "second", &cluster).await;
    second.wait_running().await.unwrap();
    cluster.send("in", words(70, 70)).await;
    caught_up(&second).await;
    caught_up(&first).await;
    // Whatever is in one process is not in the other, and both together have it all.
    let mut both = counts(&first);
    both.extend(counts(&second));
    assert_eq!(both, [20; 7]);
    let shares = [&first, &second].map(|s| s.positions().len());
    assert_eq!(shares, [4, 4], "partitions of input and repartition topic");

    first.close().await.unwrap();
    caught_up(&second).await;
    assert_eq!(second.store("counts").unwrap().tasks().count(), 4);
    assert_eq!(counts(&second), [20; 7]);
    second.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_damaged_state_comes_back_from_the_changelog() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(70, 0)).await;
    let streams = start(dir.path(), "one", &cluster).await;
    caught_up(&streams).await;
    streams.close().await.unwrap();

    // One task's state is damaged, all of another's is gone.
    let state = dir.path().join("one/words");
    std::fs::write(state.join("1_0/rocksdb/CURRENT"), "MANIFEST-424242\n").unwrap();
    std::fs::remove_dir_all(state.join("1_1")).unwrap();
    let streams = start(dir.path(), "one", &cluster).await;
    caught_up(&streams).await;
    assert_eq!(counts(&streams), [10; 7]);
    cluster.send("in", words(7, 0)).await;
    caught_up(&streams).await;
    assert_eq!(counts(&streams), [11; 7]);
    streams.close().await.unwrap();
    cluster.broker.shutdown().await;
}

/// Everything in the partitions of a topic.
async fn contents(client: &Client, topic: &str, partitions: i32) -> Vec<(i32, Bytes, Bytes)> {
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    let places: Vec<_> = (0..partitions)
        .map(|p| TopicPartition::new(topic, p))
        .collect();
    let ends = consumer.end_offsets(&places).await.unwrap();
    consumer.assign(places.clone()).unwrap();
    consumer.seek_to_beginning(&places).unwrap();
    let mut all = Vec::new();
    for place in &places {
        while consumer.position(place).await.unwrap() < ends[place] {
            for records in consumer.poll_records(SESSION).await.unwrap() {
                let partition = records.topic_partition.partition;
                for record in records {
                    let record = record.unwrap();
                    all.push((partition, record.key.unwrap(), record.value.unwrap()));
                }
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_ahead_of_a_truncated_changelog_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(70, 0)).await;
    let streams = start(dir.path(), "one", &cluster).await;
    caught_up(&streams).await;
    streams.close().await.unwrap();
    let changelog = "words-counts-changelog";
    let held = contents(&cluster.client, changelog, 2).await;
    cluster.broker.shutdown().await;

    // The log is cut, as it may be when a leader takes over that was not in sync.
    let manager = LogManager::open(LogManagerConfig::new(dir.path().join("log"), 1), 0).unwrap();
    for partition in 0..2 {
        let log = manager.get(changelog, partition).unwrap();
        log.truncate_to(0).unwrap();
    }
    manager.close().unwrap();
    // By the time the job comes back it has grown past where the stores stand.
    let cluster = Cluster::start(dir.path()).await;
    let producer = cluster.client.producer(ProducerConfig::default()).unwrap();
    for _ in 0..20 {
        for (partition, key, value) in &held {
            let mut value = value.to_vec();
            *value.last_mut().unwrap() = 90;
            let record = ProducerRecord::new(changelog)
                .partition(*partition)
                .key(key.clone())
                .value(value);
            drop(producer.send(record).await.unwrap());
        }
    }
    producer.close().await.unwrap();
    for _ in 0..2 {
        let streams = start(dir.path(), "one", &cluster).await;
        caught_up(&streams).await;
        assert_eq!(counts(&streams), [90; 7]);
        streams.close().await.unwrap();
    }
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_node_fails_its_job_with_the_reason_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    let threads = Arc::new(StreamThreads::start(1).unwrap());
    let run = |id: &str, topology| {
        let config = StreamsConfig {
            application_id: id.to_owned(),
            threads: Some(Arc::clone(&threads)),
            ..config(dir.path(), 1)
        };
        Streams::start(config, topology, cluster.client.clone())
    };
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .map_values(|word| match word.as_str() {
            "word-3" => panic!("word-3 is too much"),
            _ => word.clone(),
        })
        .to("out", Produced::of_types());
    let bad = run("bad", builder.build().unwrap()).await.unwrap();
    let good = run("good", counting()).await.unwrap();
    cluster.send("in", words(70, 0)).await;
    let error = bad.wait_ended().await.unwrap_err().to_string();
    assert!(error.contains("word-3 is too much"), "{error}");
    assert_eq!(bad.state(), JobState::Error);
    assert!(bad.close().await.is_err());
    caught_up(&good).await;
    assert_eq!(counts(&good), [10; 7]);
    good.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    let try_start = || Streams::start(config(dir.path(), 1), counting(), cluster.client.clone());
    let error = try_start().await.unwrap_err().to_string();
    assert!(
        error.contains("`in` does not exist: create it first"),
        "{error}"
    );
    cluster.topic("in", 1).await;
    cluster.topic("out", 1).await;
    let running = try_start().await.unwrap();
    let error = try_start().await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    running.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_job_resumes_over_a_restarted_broker_without_waiting_for_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    cluster.send("in", words(70, 0)).await;
    let crashing = StreamsConfig {
        commit_observer: Some(Arc::new(StopAt {
            step: CommitStep::OffsetsCommitted,
            after: AtomicU32::new(1),
        })),
        ..config(dir.path(), 2)
    };
    let streams = Streams::start(crashing.clone(), counting(), cluster.client.clone())
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), streams.wait_ended()).await;
    assert!(ended.expect("the commit is reached").is_err());
    drop(streams);
    cluster.broker.shutdown().await;

    let cluster = Cluster::start(dir.path()).await;
    let began = Instant::now();
    let whole = StreamsConfig {
        commit_observer: None,
        ..crashing
    };
    let streams = Streams::start(whole, counting(), cluster.client.clone())
        .await
        .unwrap();
    caught_up(&streams).await;
    let taken = began.elapsed();
    assert!(taken < SESSION / 3, "{taken:?}");
    assert!(counts(&streams).iter().all(|count| *count >= 10));
    streams.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[test]
fn a_job_over_tcp_outlives_a_blocked_runtime_and_closes_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (cluster, streams) = runtime.block_on(async {
        let cluster = Cluster::start(dir.path()).await;
        cluster.topic("in", 2).await;
        cluster.topic("out", 1).await;
        cluster.send("in", words(70, 0)).await;
        let address = cluster
            .broker
            .listen("127.0.0.1:0")
            .await
            .unwrap()
            .to_string();
        let client = Client::connect(&address, ClientConfig::default()).await;
        let streams = Streams::start(config(dir.path(), 2), counting(), client.unwrap());
        let streams = streams.await.unwrap();
        caught_up(&streams).await;
        (cluster, streams)
    });
    assert_eq!(counts(&streams), [10; 7]);
    streams.close_blocking().unwrap();
    assert_eq!(streams.state(), JobState::NotRunning);
    // Closing blockingly inside of a runtime is safe too, and so is dropping.
    runtime.block_on(async {
        let streams = Streams::start(config(dir.path(), 1), counting(), cluster.client.clone());
        let streams = streams.await.unwrap();
        caught_up(&streams).await;
        streams.close_blocking().unwrap();
        drop(streams);
        drop(cluster);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_thrown_out_of_its_group_comes_back_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path()).await;
    cluster.topic("in", 2).await;
    cluster.topic("out", 1).await;
    let streams = start(dir.path(), "one", &cluster).await;
    streams.wait_running().await.unwrap();
    let admin = cluster.client.admin();
    let mut sent = 0;
    for _ in 0..3 {
        cluster.send("in", words(70, sent)).await;
        sent += 70;
        let group = admin.describe_group("words").await.unwrap();
        let members: Vec<_> = group
            .members
            .into_iter()
            .filter_map(|member| member.group_instance_id)
            .collect();
        admin.remove_members("words", &members).await.unwrap();
        caught_up(&streams).await;
        // What had been sent and not committed may come twice.
        let counts = counts(&streams);
        assert_eq!(counts.len(), 7);
        let least = sent as u64 / 7;
        assert!(counts.iter().all(|count| *count >= least), "{counts:?}");
    }
    assert_eq!(streams.state(), JobState::Running);
    streams.close().await.unwrap();
    cluster.broker.shutdown().await;
}
