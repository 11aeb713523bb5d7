//! Exactly-once: whatever happens between two commits, stores and outputs are as if nothing
//! had.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    AutoOffsetReset, Call, Client, ClientConfig, ClientError, ConsumerConfig, IsolationLevel,
    NewTopic, OffsetSpec, ProducerConfig, ProducerRecord, Reply, TopicPartition, Transport,
};
use thalweg_log::wire::messages::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use thalweg_log::wire::{ErrorCode, Request, Response};
use thalweg_streams::runtime::{CommitObserver, CommitStep, JobState, Streams, StreamsConfig};
use thalweg_streams::topology::Topology;
use thalweg_streams::{Consumed, Grouped, Materialized, Produced, StreamsBuilder, StreamsError};

/// A session, and a transaction, that nobody has the time to wait for.
const FOR_EVER: Duration = Duration::from_secs(50);
const WORDS: i64 = 5;
const PARTITIONS: i32 = 3;

fn config(dir: &Path) -> StreamsConfig {
    StreamsConfig {
        state_dir: dir.join("state"),
        session_timeout: FOR_EVER,
        transaction_timeout: FOR_EVER,
        ..StreamsConfig::new("words")
    }
}

/// Counts words, through a repartition topic, and puts out every count.
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

async fn broker(dir: &Path) -> Broker {
    let config = BrokerConfig::new(dir.join("log")).set("group.initial.rebalance.delay.ms", "0");
    let broker = Broker::start(config).await.unwrap();
    let admin = client(&broker).admin();
    for (topic, partitions) in [("in", 2), ("out", PARTITIONS)] {
        let topic = NewTopic::new(topic).partitions(partitions);
        admin.create_topic(topic).await.unwrap();
    }
    broker
}

fn client(broker: &Broker) -> Client {
    Client::with_transport(broker.transport(), ClientConfig::default())
}

/// Sends `count` words, each as often as the others.
async fn send(client: &Client, from: i64, count: i64) {
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for n in from..from + count {
        let record = ProducerRecord::new("in")
            .key(format!("line-{n}"))
            .value(format!("word-{}", n % WORDS))
            .timestamp(n);
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

async fn caught_up(streams: &Streams) {
    let ends = streams.input_end_offsets().await.unwrap();
    let waited = tokio::time::timeout(FOR_EVER / 2, streams.wait_caught_up(&ends));
    waited.await.expect("the job catches up").unwrap();
}

/// Every count that a reader of committed records is shown, in order.
async fn put_out(client: &Client) -> BTreeMap<Bytes, Vec<i64>> {
    let mut consumer = client
        .consumer(ConsumerConfig {
            isolation_level: IsolationLevel::ReadCommitted,
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        })
        .unwrap();
    let places: Vec<_> = (0..PARTITIONS)
        .map(|p| TopicPartition::new("out", p))
        .collect();
    let wanted = places.iter().map(|p| (p.clone(), OffsetSpec::Latest));
    let ends = client
        .admin()
        .list_offsets(wanted.collect(), IsolationLevel::ReadUncommitted)
        .await
        .unwrap();
    consumer.assign(places.clone()).unwrap();
    let mut counts: BTreeMap<Bytes, Vec<i64>> = BTreeMap::new();
    for place in &places {
        let end = ends[place].unwrap().offset;
        while consumer.position(place).await.unwrap() < end {
            for records in consumer.poll_records(FOR_EVER / 10).await.unwrap() {
                for record in records {
                    let record = record.unwrap();
                    let value = record.value.unwrap();
                    let count = i64::from_be_bytes(value[value.len() - 8..].try_into().unwrap());
                    counts.entry(record.key.unwrap()).or_default().push(count);
                }
            }
        }
    }
    counts
}

/// The stores and the outputs say that each word was there so many times, no more, no less.
async fn assert_exact(streams: &Streams, client: &Client, sent: i64, at: &str) {
    caught_up(streams).await;
    let each = sent / WORDS;
    let store = streams.store("counts").unwrap();
    let stored: Vec<_> = store
        .scan(thalweg_state::KeyRange::all())
        .map(|entry| entry.unwrap().1)
        .map(|value| i64::from_be_bytes(value[value.len() - 8..].try_into().unwrap()))
        .collect();
    assert_eq!(stored, [each; WORDS as usize], "stored, {at}");
    let all = put_out(client).await;
    assert_eq!(all.len(), WORDS as usize, "{at}");
    for (word, counts) in all {
        assert_eq!(counts, (1..=each).collect::<Vec<_>>(), "{word:?}, {at}");
    }
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
        if step == self.step && self.after.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(StreamsError::Config("stopped by the test".to_owned()));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_any_two_steps_of_a_commit_loses_and_doubles_nothing() {
    let steps = [
        CommitStep::Flushed,
        CommitStep::Sent,
        CommitStep::OffsetsAdded,
        CommitStep::OffsetsCommitted,
        CommitStep::Applied,
    ];
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let client = client(&broker);
    let mut sent = 0;
    for after in [0, 1, 3] {
        for step in steps {
            let at = format!("{step:?} after {after}");
            send(&client, sent, 40).await;
            sent += 40;
            let crashing = StreamsConfig {
                commit_observer: Some(Arc::new(StopAt {
                    step,
                    after: AtomicU32::new(after),
                })),
                ..config(dir.path())
            };
            let streams = Streams::start(crashing, counting(), client.clone())
                .await
                .unwrap();
            // The third commit may need input of its own.
            let mut fed = 0;
            let ended = async {
                while streams.failure().is_none() {
                    if after > 1 && fed < 10 {
                        fed += 1;
                        send(&client, sent, 5).await;
                        sent += 5;
                    }
                    let soon = Duration::from_millis(50);
                    let _ = tokio::time::timeout(soon, streams.wait_ended()).await;
                }
                streams.wait_ended().await
            };
            let error = tokio::time::timeout(FOR_EVER / 2, ended).await;
            let error = error.expect("the commit is reached").unwrap_err();
            assert!(error.to_string().contains("stopped by the test"), "{error}");
            assert_eq!(streams.state(), JobState::Error);
            drop(streams);

            let began = Instant::now();
            let streams = Streams::start(config(dir.path()), counting(), client.clone())
                .await
                .unwrap();
            streams.wait_running().await.unwrap();
            assert!(
                began.elapsed() < FOR_EVER / 2,
                "nobody waits for a dead session or transaction, {at}"
            );
            assert_exact(&streams, &client, sent, &at).await;
            streams.close().await.unwrap();
        }
    }
    broker.shutdown().await;
}

/// What becomes of one request of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It does not arrive.
    Lost,
    /// It is carried out, and nobody hears of it.
    Unanswered,
}

/// Whether a request is of the kind.
type IsIt = fn(&Request) -> bool;

/// A way to the broker that is bad for some requests.
struct Bad {
    inner: Arc<dyn Transport>,
    is_it: IsIt,
    fate: Fate,
    /// Every so many-th of them.
    every: u64,
    seen: AtomicU64,
}

impl Transport for Bad {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let hit = (self.is_it)(&call.request)
            && self.seen.fetch_add(1, Ordering::Relaxed) % self.every == self.every - 1;
        if !hit {
            return self.inner.call(call);
        }
        let gone = ClientError::Connection {
            to: "the test".to_owned(),
            reason: format!("{:?}", self.fate),
        };
        let carried_out = match self.fate {
            Fate::Lost => None,
            Fate::Unanswered => Some(self.inner.call(call)),
        };
        async move {
            if let Some(carried_out) = carried_out {
                let _ = carried_out.await;
            }
            Err(gone)
        }
        .boxed()
    }

    fn describe(&self) -> String {
        "a bad way".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_answers_that_are_lost_change_no_result() {
    let kinds: [(&str, IsIt); 4] = [
        ("EndTxn", |r| matches!(r, Request::EndTxn(_))),
        ("TxnOffsetCommit", |r| {
            matches!(r, Request::TxnOffsetCommit(_))
        }),
        ("Produce", |r| matches!(r, Request::Produce(_))),
        ("AddOffsetsToTxn", |r| {
            matches!(r, Request::AddOffsetsToTxn(_))
        }),
    ];
    for (name, is_it) in kinds {
        for fate in [Fate::Lost, Fate::Unanswered] {
            let dir = tempfile::tempdir().unwrap();
            let broker = broker(dir.path()).await;
            let good = client(&broker);
            let bad = Bad {
                inner: broker.transport(),
                is_it,
                fate,
                every: 3,
                seen: AtomicU64::new(0),
            };
            let bad = Client::with_transport(Arc::new(bad), ClientConfig::default());
            let streams = Streams::start(config(dir.path()), counting(), bad)
                .await
                .unwrap();
            streams.wait_running().await.unwrap();
            let mut sent = 0;
            for _ in 0..6 {
                send(&good, sent, 25).await;
                sent += 25;
                caught_up(&streams).await;
            }
            assert_exact(&streams, &good, sent, &format!("{name} {fate:?}")).await;
            streams.close().await.unwrap();
            broker.shutdown().await;
        }
    }
}

/// Another producer under the worker's transactional id shuts it out in the middle of its
/// work: it goes back to the last commit and does what was open again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_fenced_goes_back_to_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let client = client(&broker);
    let streams = Streams::start(config(dir.path()), counting(), client.clone())
        .await
        .unwrap();
    streams.wait_running().await.unwrap();
    let process = std::fs::read_to_string(dir.path().join("state/words/process.id")).unwrap();
    let mut sent = 0;
    for round in 0..5 {
        send(&client, sent, 50).await;
        sent += 50;
        let usurper = client
            .producer(ProducerConfig {
                transactional_id: Some(format!("words-{}-0", process.trim())),
                ..ProducerConfig::default()
            })
            .unwrap();
        usurper.init_transactions().await.unwrap();
        send(&client, sent, 50).await;
        sent += 50;
        assert_exact(&streams, &client, sent, &format!("round {round}")).await;
    }
    assert_eq!(streams.state(), JobState::Running);
    streams.close().await.unwrap();
    broker.shutdown().await;
}

/// Refuses the offsets of every transaction, so that each is aborted.
struct Refusing(Arc<dyn Transport>);

impl Transport for Refusing {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let Request::TxnOffsetCommit(request) = &call.request else {
            return self.0.call(call);
        };
        let partition = |partition_index| TxnOffsetCommitResponsePartition {
            partition_index,
            error_code: ErrorCode::TransactionAbortable.code(),
            ..TxnOffsetCommitResponsePartition::default()
        };
        let topics = request
            .topics
            .iter()
            .map(|topic| TxnOffsetCommitResponseTopic {
                name: topic.name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|p| partition(p.partition_index))
                    .collect(),
                ..TxnOffsetCommitResponseTopic::default()
            })
            .collect();
        let response = Response::TxnOffsetCommit(TxnOffsetCommitResponse {
            topics,
            ..TxnOffsetCommitResponse::default()
        });
        let version = 5;
        async move { Ok(Reply { response, version }) }.boxed()
    }

    fn describe(&self) -> String {
        "one that refuses".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_commits_fails_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let good = client(&broker);
    send(&good, 0, 50).await;
    for (timeout, least) in [(Duration::ZERO, 1), (Duration::from_millis(300), 2)] {
        let refusing = Arc::new(Refusing(broker.transport()));
        let client = Client::with_transport(refusing, ClientConfig::default());
        let config = StreamsConfig {
            task_timeout: timeout,
            ..config(dir.path())
        };
        let streams = Streams::start(config, counting(), client).await.unwrap();
        let ended = tokio::time::timeout(FOR_EVER / 2, streams.wait_ended()).await;
        ended.expect("the job fails").unwrap_err();
        assert_eq!(streams.state(), JobState::Error);
        let failure = streams.failure().unwrap();
        let StreamsError::Stalled {
            attempts, lasted, ..
        } = *failure
        else {
            panic!("{failure}")
        };
        assert!(attempts >= least && lasted >= timeout, "{failure}");
        let text = failure.to_string();
        assert!(text.contains("task.timeout.ms"), "{text}");
        assert!(text.contains("TransactionAbortable"), "{text}");
    }
    // Nothing was lost or doubled by it.
    let streams = Streams::start(config(dir.path()), counting(), good.clone())
        .await
        .unwrap();
    assert_exact(&streams, &good, 50, "after all").await;
    streams.close().await.unwrap();
    broker.shutdown().await;
}
