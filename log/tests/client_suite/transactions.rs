//! Transactions: all or nothing, once, whatever happens on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_log::client::{
    Client, ClientError, ConsumerConfig, IsolationLevel, NewTopic, OffsetAndMetadata, Producer,
    ProducerConfig, ProducerRecord, RecordRef, TopicPartition,
};
use thalweg_log::wire::ErrorCode;

use super::support::{Cluster, LONG, alone, fill, quick_group, read, text, tp};

fn transactional(id: &str) -> ProducerConfig {
    ProducerConfig {
        transactional_id: Some(id.to_owned()),
        linger_ms: Duration::ZERO,
        max_block_ms: LONG,
        ..ProducerConfig::default()
    }
}

fn version1(id: &str) -> ProducerConfig {
    ProducerConfig {
        transaction_version: Some(1),
        ..transactional(id)
    }
}

async fn ready(client: &Client, config: ProducerConfig) -> Producer {
    let producer = client.producer(config).unwrap();
    producer.init_transactions().await.unwrap();
    producer
}

async fn put(producer: &Producer, topic: &str, partition: i32, value: &str) {
    let record = ProducerRecord::new(topic)
        .partition(partition)
        .value(value.to_owned());
    drop(producer.send(record).await.unwrap());
}

/// Everything in a topic's partitions up to their ends, by partition.
async fn contents(
    client: &Client,
    topic: &str,
    partitions: i32,
    isolation_level: IsolationLevel,
) -> Vec<Vec<String>> {
    let mut consumer = client
        .consumer(ConsumerConfig {
            isolation_level,
            ..alone()
        })
        .unwrap();
    let all: Vec<TopicPartition> = (0..partitions).map(|p| tp(topic, p)).collect();
    let ends = consumer.end_offsets(&all).await.unwrap();
    consumer.assign(all.clone()).unwrap();
    let mut values = vec![Vec::new(); all.len()];
    let until = Instant::now() + LONG;
    loop {
        let mut behind = false;
        for partition in &all {
            behind |= consumer.position(partition).await.unwrap() < ends[partition];
        }
        if !behind {
            return values;
        }
        assert!(Instant::now() < until, "ends {ends:?}, got {values:?}");
        for records in consumer
            .poll_records(Duration::from_millis(50))
            .await
            .unwrap()
        {
            let place = usize::try_from(records.topic_partition.partition).unwrap();
            values[place].extend(records.into_iter().map(|r| text(&r.unwrap())));
        }
    }
}

async fn committed(client: &Client, topic: &str, partitions: i32) -> Vec<Vec<String>> {
    contents(client, topic, partitions, IsolationLevel::ReadCommitted).await
}

pub(crate) async fn committed_is_seen_and_aborted_is_not(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    for (n, config) in [transactional("two"), version1("one")]
        .into_iter()
        .enumerate()
    {
        let producer = ready(&client, config).await;
        let value = |name: &str| format!("{name}{n}");
        producer.begin_transaction().unwrap();
        put(&producer, "t", 0, &value("a")).await;
        put(&producer, "t", 1, &value("b")).await;
        producer.commit_transaction().await.unwrap();
        producer.begin_transaction().unwrap();
        put(&producer, "t", 0, &value("lost")).await;
        producer.flush().await.unwrap();
        put(&producer, "t", 1, &value("lost")).await;
        producer.abort_transaction().await.unwrap();
        // Without anything in it.
        producer.begin_transaction().unwrap();
        producer.commit_transaction().await.unwrap();
        producer.begin_transaction().unwrap();
        producer.abort_transaction().await.unwrap();
        producer.begin_transaction().unwrap();
        put(&producer, "t", 0, &value("c")).await;
        producer.commit_transaction().await.unwrap();
        producer.close().await.unwrap();
    }
    assert_eq!(
        committed(&client, "t", 2).await,
        [vec!["a0", "c0", "a1", "c1"], vec!["b0", "b1"]]
    );
    let all = contents(&client, "t", 2, IsolationLevel::ReadUncommitted).await;
    assert_eq!(all[0], ["a0", "lost0", "c0", "a1", "lost1", "c1"]);
}

pub(crate) async fn an_open_transaction_holds_committed_readers_back(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let producer = ready(&client, transactional("x")).await;
    producer.begin_transaction().unwrap();
    put(&producer, "t", 0, "a").await;
    producer.flush().await.unwrap();
    fill(&client, "t", 0, 0..2).await;
    let mut reader = client
        .consumer(ConsumerConfig {
            isolation_level: IsolationLevel::ReadCommitted,
            ..alone()
        })
        .unwrap();
    reader.assign(vec![tp("t", 0)]).unwrap();
    let early = reader
        .poll_records(Duration::from_millis(200))
        .await
        .unwrap();
    assert!(early.is_empty(), "{early:?}");
    assert_eq!(
        reader.end_offsets(&[tp("t", 0)]).await.unwrap()[&tp("t", 0)],
        0
    );
    assert!(contents(&client, "t", 1, IsolationLevel::ReadUncommitted).await[0].len() == 3);
    producer.commit_transaction().await.unwrap();
    let values: Vec<String> = read(&mut reader, 3)
        .await
        .iter()
        .map(|(_, r)| text(r))
        .collect();
    assert_eq!(values, ["a", "0", "1"]);
    // Past the marker too.
    while reader.position(&tp("t", 0)).await.unwrap() < 4 {
        reader
            .poll_records(Duration::from_millis(50))
            .await
            .unwrap();
    }
}

pub(crate) async fn a_second_producer_fences_the_first(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    for (n, config) in [transactional("x"), version1("y")].into_iter().enumerate() {
        let first = ready(&client, config.clone()).await;
        first.begin_transaction().unwrap();
        put(&first, "t", 0, "first").await;
        first.flush().await.unwrap();
        let second = ready(&client, config).await;
        second.begin_transaction().unwrap();
        put(&second, "t", 0, "second").await;
        let fenced = first.commit_transaction().await.unwrap_err();
        assert!(fenced.is_fenced(), "{fenced}");
        assert!(fenced.is_fatal());
        for again in [
            first.begin_transaction(),
            first.abort_transaction().await,
            first.init_transactions().await,
            first.try_send(&ProducerRecord::new("t")).map(drop),
        ] {
            assert!(again.unwrap_err().is_fenced());
        }
        second.commit_transaction().await.unwrap();
        first.close().await.unwrap();
        second.close().await.unwrap();
        assert_eq!(committed(&client, "t", 1).await[0].len(), n + 1);
    }
    // One that finds out while it writes: it must abort, and that says why.
    let first = ready(&client, transactional("z")).await;
    let second = ready(&client, transactional("z")).await;
    first.begin_transaction().unwrap();
    put(&first, "t", 0, "late").await;
    let error = first.commit_transaction().await.unwrap_err();
    assert!(error.is_abortable() || error.is_fenced(), "{error}");
    if error.is_abortable() {
        let error = first.abort_transaction().await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
    }
    second.begin_transaction().unwrap();
    put(&second, "t", 0, "ok").await;
    second.commit_transaction().await.unwrap();
    assert_eq!(
        committed(&client, "t", 1).await[0],
        ["second", "second", "ok"]
    );
}

pub(crate) async fn calls_that_do_not_fit_are_refused(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let plain = client.producer(ProducerConfig::default()).unwrap();
    let error = plain.init_transactions().await.unwrap_err();
    assert!(error.to_string().contains("transactional.id"), "{error}");
    let producer = client.producer(transactional("x")).unwrap();
    let illegal = |result: Result<(), ClientError>, hint: &str| match result.unwrap_err() {
        ClientError::IllegalState(text) => assert!(text.contains(hint), "{text}"),
        other => panic!("{other}"),
    };
    illegal(producer.begin_transaction(), "init_transactions");
    producer.init_transactions().await.unwrap();
    illegal(producer.init_transactions().await, "already");
    illegal(producer.commit_transaction().await, "begin_transaction");
    illegal(producer.abort_transaction().await, "begin_transaction");
    let record = ProducerRecord::new("t").value("x");
    illegal(
        producer.send(record.clone()).await.map(drop),
        "begin_transaction",
    );
    illegal(producer.try_send(&record).map(drop), "begin_transaction");
    producer.begin_transaction().unwrap();
    illegal(producer.begin_transaction(), "is open");
    producer.abort_transaction().await.unwrap();
    let wrong = ProducerConfig {
        enable_idempotence: Some(false),
        ..transactional("x")
    };
    assert!(client.producer(wrong).is_err());
}

pub(crate) async fn a_failed_record_makes_the_transaction_abort(cluster: &Cluster) {
    let client = cluster.client().await;
    let small = NewTopic::new("t")
        .partitions(1)
        .config("max.message.bytes", "2000");
    client.admin().create_topic(small).await.unwrap();
    for (n, config) in [transactional("x"), version1("y")].into_iter().enumerate() {
        let producer = ready(&client, config).await;
        producer.begin_transaction().unwrap();
        put(&producer, "t", 0, "good").await;
        producer.flush().await.unwrap();
        let big = ProducerRecord::new("t").value(vec![b'x'; 5000]);
        let delivery = producer.send(big).await.unwrap();
        assert!(delivery.await.unwrap_err().is_abortable());
        let refused = producer.try_send(&ProducerRecord::new("t")).unwrap_err();
        assert!(refused.is_abortable(), "{refused}");
        let error = producer.commit_transaction().await.unwrap_err();
        assert!(error.is_abortable(), "{error}");
        assert!(error.to_string().contains("max.message.bytes"), "{error}");
        producer.abort_transaction().await.unwrap();
        // And goes on.
        for value in ["a", "b"] {
            producer.begin_transaction().unwrap();
            put(&producer, "t", 0, value).await;
            producer.commit_transaction().await.unwrap();
        }
        assert_eq!(committed(&client, "t", 1).await[0].len(), 2 * (n + 1));
    }
}

pub(crate) async fn many_batches_in_many_transactions(cluster: &Cluster) {
    let client = cluster.with_topic("t", 3).await;
    for config in [transactional("x"), version1("y")] {
        let config = ProducerConfig {
            batch_size: 300,
            ..config
        };
        let producer = ready(&client, config).await;
        let topic = producer.topic("t").await.unwrap();
        for transaction in 0..12 {
            producer.begin_transaction().unwrap();
            for n in 0..200 {
                let value = format!("{transaction}-{n}");
                let record = RecordRef {
                    partition: Some(n % 3),
                    timestamp: 0,
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[],
                };
                producer.enqueue(&topic, record).unwrap();
            }
            if transaction % 3 == 2 {
                producer.abort_transaction().await.unwrap();
            } else {
                producer.commit_transaction().await.unwrap();
            }
        }
        producer.close().await.unwrap();
    }
    let expected = |partition: i32| -> Vec<String> {
        let once: Vec<String> = (0..12)
            .filter(|t| t % 3 != 2)
            .flat_map(|t| {
                (0..200)
                    .filter(move |n| n % 3 == partition)
                    .map(move |n| format!("{t}-{n}"))
            })
            .collect();
        [once.clone(), once].concat()
    };
    let got = committed(&client, "t", 3).await;
    for (partition, values) in (0..3).zip(got) {
        assert_eq!(values, expected(partition));
    }
}

pub(crate) async fn offsets_commit_with_the_transaction(cluster: &Cluster) {
    let client = cluster.with_topic("in", 1).await;
    client
        .admin()
        .create_topic(NewTopic::new("out").partitions(1))
        .await
        .unwrap();
    fill(&client, "in", 0, 0..10).await;
    for (id, config) in [("x", transactional("x")), ("y", version1("y"))] {
        let group = format!("g-{id}");
        let mut consumer = client
            .consumer(ConsumerConfig {
                isolation_level: IsolationLevel::ReadCommitted,
                ..quick_group(&group)
            })
            .unwrap();
        consumer.subscribe(&["in"]).unwrap();
        read(&mut consumer, 10).await;
        let producer = ready(&client, config).await;
        let at = |offset| BTreeMap::from([(tp("in", 0), OffsetAndMetadata::new(offset))]);
        let member = consumer.group_metadata().unwrap();
        let offset = async || {
            // Waits for the markers, which follow the answer.
            let committed = consumer.committed(&[tp("in", 0)]).await.unwrap();
            committed.get(&tp("in", 0)).map(|o| o.offset)
        };
        producer.begin_transaction().unwrap();
        producer
            .send_offsets_to_transaction(at(3), &member)
            .await
            .unwrap();
        producer.abort_transaction().await.unwrap();
        assert_eq!(offset().await, None);
        producer.begin_transaction().unwrap();
        producer
            .send_offsets_to_transaction(at(4), &member)
            .await
            .unwrap();
        put(&producer, "out", 0, "x").await;
        producer.commit_transaction().await.unwrap();
        assert_eq!(offset().await, Some(4));
        // A member that the group does not know is refused, and the transaction aborts.
        let mut stranger = member.clone();
        stranger.generation_id += 7;
        producer.begin_transaction().unwrap();
        let error = producer
            .send_offsets_to_transaction(at(5), &stranger)
            .await
            .unwrap_err();
        assert!(error.is_abortable(), "{error}");
        assert!(
            producer
                .commit_transaction()
                .await
                .unwrap_err()
                .is_abortable()
        );
        producer.abort_transaction().await.unwrap();
        assert_eq!(offset().await, Some(4));
        producer.begin_transaction().unwrap();
        producer
            .send_offsets_to_transaction(at(6), &member)
            .await
            .unwrap();
        producer.commit_transaction().await.unwrap();
        assert_eq!(offset().await, Some(6));
        consumer.close().await.unwrap();
    }
}

/// Copies `in` to `out`, transaction by transaction, with a client that crashes at a place
/// that a seed chooses and begins anew; the copy equals the original, each record once.
pub(crate) async fn a_copy_is_exact_whatever_crashes(cluster: &Cluster) {
    const RECORDS: usize = 400;
    let client = cluster.with_topic("in", 2).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("out").partitions(2))
        .await
        .unwrap();
    // In small batches, so that there are many transactions.
    let producer = client
        .producer(ProducerConfig {
            batch_size: 150,
            ..ProducerConfig::default()
        })
        .unwrap();
    for n in 0..2 * RECORDS {
        let partition = i32::try_from(n % 2).unwrap();
        put(&producer, "in", partition, &(n / 2).to_string()).await;
    }
    producer.close().await.unwrap();
    let mut crashes = 0u64;
    let mut finished = false;
    while !finished {
        crashes += 1;
        assert!(crashes < 200, "no progress");
        let version = if crashes.is_multiple_of(2) {
            version1("copy")
        } else {
            transactional("copy")
        };
        let client = cluster.client().await;
        finished = copy_until_crash(&client, version, crashes, RECORDS).await;
    }
    assert!(crashes > 5, "only {crashes} crashes");
    let got = committed(&client, "out", 2).await;
    for values in got {
        let expected: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
        assert_eq!(values, expected);
    }
}

/// One life of the copier. True if everything is copied.
async fn copy_until_crash(
    client: &Client,
    config: ProducerConfig,
    seed: u64,
    records: usize,
) -> bool {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut crashes = move |of_hundred: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % 100 < of_hundred
    };
    let producer = Arc::new(ready(client, config).await);
    let mut consumer = client
        .consumer(ConsumerConfig {
            max_partition_fetch_bytes: 400,
            isolation_level: IsolationLevel::ReadCommitted,
            ..quick_group("copy")
        })
        .unwrap();
    let partitions = [tp("in", 0), tp("in", 1)];
    consumer.assign(partitions.to_vec()).unwrap();
    let end = i64::try_from(records).unwrap();
    loop {
        let mut done = true;
        for partition in &partitions {
            done &= consumer.position(partition).await.unwrap() >= end;
        }
        if done {
            return true;
        }
        let polled = consumer
            .poll_records(Duration::from_millis(50))
            .await
            .unwrap();
        if polled.is_empty() {
            continue;
        }
        producer.begin_transaction().unwrap();
        let mut offsets = BTreeMap::new();
        for of_partition in polled {
            let next = OffsetAndMetadata::new(of_partition.next_offset);
            offsets.insert(of_partition.topic_partition.clone(), next);
            for record in of_partition.iter() {
                let record = record.unwrap();
                let partition = of_partition.topic_partition.partition;
                put(&producer, "out", partition, &text(&record)).await;
            }
            if crashes(5) {
                return false;
            }
        }
        let group = consumer.group_metadata().unwrap();
        producer
            .send_offsets_to_transaction(offsets.clone(), &group)
            .await
            .unwrap();
        if crashes(5) {
            return false;
        }
        if crashes(10) {
            // Nothing of it happened: the same records come again.
            producer.abort_transaction().await.unwrap();
            for partition in offsets.keys() {
                let back = consumer
                    .committed(std::slice::from_ref(partition))
                    .await
                    .unwrap();
                let back = back.get(partition).map_or(0, |o| o.offset);
                consumer.seek(partition, back).unwrap();
            }
            continue;
        }
        if crashes(30) {
            // The process ends while the commit is on its way.
            let commit = producer.commit_transaction();
            let _ = tokio::time::timeout(Duration::from_micros(seed * 37 % 3000), commit).await;
            return false;
        }
        // A call that was cut short is made again.
        let first = tokio::time::timeout(
            Duration::from_micros(seed * 53 % 4000),
            producer.commit_transaction(),
        )
        .await;
        match first {
            Ok(result) => result.unwrap(),
            Err(_) => match producer.commit_transaction().await {
                // It was done already: that was not told.
                Err(ClientError::IllegalState(_)) => {}
                other => other.unwrap(),
            },
        }
    }
}

pub(crate) async fn a_batch_of_a_transaction_is_split(cluster: &Cluster) {
    let client = cluster.client().await;
    let small = NewTopic::new("t")
        .partitions(1)
        .config("max.message.bytes", "600");
    client.admin().create_topic(small).await.unwrap();
    for (round, config) in [(0, transactional("two")), (1, version1("one"))] {
        let producer = ready(
            &client,
            ProducerConfig {
                linger_ms: LONG,
                ..config
            },
        )
        .await;
        for commit in [true, false, true] {
            producer.begin_transaction().unwrap();
            for n in 0..60 {
                put(&producer, "t", 0, &format!("{round}{commit}{n:040}")).await;
            }
            if commit {
                producer.commit_transaction().await.unwrap();
            } else {
                producer.flush().await.unwrap();
                producer.abort_transaction().await.unwrap();
            }
        }
        // A record that is too large alone makes the transaction abort; the next one goes on.
        producer.begin_transaction().unwrap();
        put(&producer, "t", 0, "lost").await;
        put(&producer, "t", 0, &"x".repeat(900)).await;
        let error = producer.commit_transaction().await.unwrap_err();
        assert!(error.is_abortable(), "{error}");
        assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
        producer.abort_transaction().await.unwrap();
        producer.close().await.unwrap();
    }
    let expected = |round| {
        let once: Vec<String> = (0..60).map(|n| format!("{round}true{n:040}")).collect();
        [once.clone(), once].concat()
    };
    let got = committed(&client, "t", 1).await;
    assert_eq!(got[0], [expected(0), expected(1)].concat());
}
