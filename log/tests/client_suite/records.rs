//! Records: sent, read, found by time, deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use thalweg_log::client::{
    Acks, AutoOffsetReset, Call, Client, ClientConfig, ClientError, ConsumerConfig, EpochEndOffset,
    Lane, NewTopic, Node, ProducerConfig, ProducerRecord, RecordRef, Reply, Transport,
    partition_for_key,
};
use thalweg_log::record::{Compression, TimestampType};
use thalweg_log::wire::{ErrorCode, Request, Response};
use tokio::sync::watch;

use super::support::{Cluster, How, LONG, alone, by_partition, fill, read, text, tp};

pub(crate) async fn what_is_sent_is_read(cluster: &Cluster) {
    let client = cluster.with_topic("t", 3).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let mut expected: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut deliveries = Vec::new();
    for n in 0..500 {
        let key = format!("key-{}", n % 17);
        let partition = partition_for_key(key.as_bytes(), 3);
        expected.entry(partition).or_default().push(n.to_string());
        let record = ProducerRecord::new("t")
            .key(key)
            .value(n.to_string())
            .timestamp(1_000 + n)
            .header("h", Some(n.to_string()))
            .header("h", None::<String>);
        deliveries.push((partition, producer.send(record).await.unwrap()));
    }
    producer.flush().await.unwrap();
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, delivery) in deliveries {
        let metadata = delivery.await.unwrap();
        assert_eq!(metadata.topic_partition, tp("t", partition));
        let offset = next.entry(partition).or_default();
        assert_eq!(metadata.offset, *offset);
        *offset += 1;
    }
    let mut consumer = client.consumer(alone()).unwrap();
    consumer
        .assign(vec![tp("t", 0), tp("t", 1), tp("t", 2)])
        .unwrap();
    let got = read(&mut consumer, 500).await;
    assert_eq!(by_partition(&got), expected);
    let (_, first) = got.iter().find(|(_, r)| text(r) == "7").unwrap();
    assert_eq!(first.timestamp, 1_007);
    assert_eq!(first.timestamp_type, TimestampType::CreateTime);
    assert_eq!(first.key.as_deref(), Some(&b"key-7"[..]));
    assert_eq!(first.headers.len(), 2);
    assert_eq!(first.headers[0].value.as_deref(), Some(&b"7"[..]));
    assert_eq!(first.headers[1].value, None);
    producer.close().await.unwrap();
}

pub(crate) async fn every_codec_and_acknowledgement(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let mut count = 0;
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        for compression_type in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let config = ProducerConfig {
                acks,
                compression_type,
                ..ProducerConfig::default()
            };
            let producer = client.producer(config).unwrap();
            for n in count..count + 20 {
                let record = ProducerRecord::new("t").value(n.to_string());
                let delivery = producer.send(record).await.unwrap();
                if n == count + 19 {
                    let metadata = delivery.await.unwrap();
                    assert_eq!(metadata.offset == -1, acks == Acks::None);
                }
            }
            count += 20;
            producer.close().await.unwrap();
            // Without acknowledgements, the next producer could overtake this one.
            let mut consumer = client.consumer(alone()).unwrap();
            consumer.assign(vec![tp("t", 0)]).unwrap();
            let got = read(&mut consumer, count).await;
            for (n, (_, record)) in got.iter().enumerate() {
                assert_eq!(text(record), n.to_string());
            }
        }
    }
}

pub(crate) async fn threads_without_a_runtime_of_their_own(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let handle = tokio::runtime::Handle::current();
    let sender = client.clone();
    let writer = {
        let handle = handle.clone();
        std::thread::spawn(move || {
            let _context = handle.enter();
            let producer = sender.producer(ProducerConfig::default()).unwrap();
            let topic = handle.block_on(producer.topic("t")).unwrap();
            for n in 0..20_000_i64 {
                let value = n.to_be_bytes();
                let record = RecordRef {
                    partition: None,
                    timestamp: n,
                    key: Some(&value[4..]),
                    value: Some(&value),
                    headers: &[],
                };
                // As a stream thread does: no future a record, and wait only when full.
                while let Err(ClientError::BufferExhausted { .. }) =
                    producer.enqueue(&topic, record)
                {
                    handle.block_on(producer.room(100_000)).unwrap();
                }
            }
            handle.block_on(producer.close()).unwrap();
        })
    };
    let reader = std::thread::spawn(move || {
        let _context = handle.enter();
        let mut consumer = client.consumer(alone()).unwrap();
        consumer.assign(vec![tp("t", 0), tp("t", 1)]).unwrap();
        let end = Instant::now() + LONG;
        let mut seen = vec![0i64; 2];
        while seen.iter().sum::<i64>() < 20_000 {
            assert!(Instant::now() < end, "{seen:?}");
            let polled = handle.block_on(consumer.poll_records(Duration::from_millis(100)));
            for records in polled.unwrap() {
                let place = usize::try_from(records.topic_partition.partition).unwrap();
                let mut last = -1;
                for record in records {
                    let timestamp = record.unwrap().timestamp;
                    assert!(timestamp > last, "order within a partition");
                    last = timestamp;
                    seen[place] += 1;
                }
            }
        }
    });
    let joined = tokio::task::spawn_blocking(|| {
        writer.join().unwrap();
        reader.join().unwrap();
    });
    joined.await.unwrap();
}

pub(crate) async fn consumers_of_one_client_do_not_wait_for_each_other(cluster: &Cluster) {
    let client = cluster.with_topic("quiet", 1).await;
    let topic = thalweg_log::client::NewTopic::new("busy").partitions(1);
    client.admin().create_topic(topic).await.unwrap();
    let config = ConsumerConfig {
        fetch_max_wait_ms: Duration::from_secs(20),
        ..alone()
    };
    let mut waiting = client.consumer(config).unwrap();
    waiting.assign(vec![tp("quiet", 0)]).unwrap();
    // Its long poll is on its way now.
    assert!(
        waiting
            .poll_records(Duration::from_millis(20))
            .await
            .unwrap()
            .is_empty()
    );
    let begun = Instant::now();
    fill(&client, "busy", 0, 0..10).await;
    let mut other = client.consumer(alone()).unwrap();
    other.assign(vec![tp("busy", 0)]).unwrap();
    assert_eq!(read(&mut other, 10).await.len(), 10);
    assert!(begun.elapsed() < Duration::from_secs(10));
    fill(&client, "quiet", 0, 0..1).await;
    assert_eq!(read(&mut waiting, 1).await.len(), 1);
}

pub(crate) async fn offsets_of_times_and_ends(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for n in 0..100 {
        let record = ProducerRecord::new("t")
            .partition(0)
            .value("x")
            .timestamp(1_000 * n);
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
    let consumer = client.consumer(alone()).unwrap();
    let (p0, p1) = (tp("t", 0), tp("t", 1));
    let both = [p0.clone(), p1.clone()];
    let ends = consumer.end_offsets(&both).await.unwrap();
    assert_eq!((ends[&p0], ends[&p1]), (100, 0));
    let begins = consumer.beginning_offsets(&both).await.unwrap();
    assert_eq!((begins[&p0], begins[&p1]), (0, 0));
    let times = BTreeMap::from([(p0.clone(), 41_500), (p1.clone(), 0)]);
    let found = consumer.offsets_for_times(times).await.unwrap();
    let first = found[&p0].unwrap();
    assert_eq!((first.offset, first.timestamp), (42, 42_000));
    assert_eq!(found[&p1], None);
    let late = BTreeMap::from([(p0.clone(), 99_001)]);
    assert_eq!(consumer.offsets_for_times(late).await.unwrap()[&p0], None);
}

pub(crate) async fn deleted_records_are_skipped_or_told(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let p = tp("t", 0);
    fill(&client, "t", 0, 0..100).await;
    let deleted = client
        .admin()
        .delete_records(BTreeMap::from([(p.clone(), 60)]))
        .await
        .unwrap();
    assert_eq!(*deleted[&p].as_ref().unwrap(), 60);
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![p.clone()]).unwrap();
    consumer.seek(&p, 10).unwrap();
    let got = read(&mut consumer, 40).await;
    assert_eq!(got[0].1.offset, 60);
    let strict = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::None,
        ..alone()
    };
    let mut consumer = client.consumer(strict).unwrap();
    consumer.assign(vec![p.clone()]).unwrap();
    consumer.seek(&p, 10).unwrap();
    let error = consumer.poll(LONG).await.unwrap_err();
    assert!(
        matches!(error, ClientError::OffsetOutOfRange { offset: 10, .. }),
        "{error}"
    );
}

pub(crate) async fn a_producer_survives_a_restart_of_the_broker(cluster: &Cluster) {
    if cluster.how == How::InProcess {
        // The transport goes with its broker.
        return;
    }
    let client = cluster.with_topic("t", 1).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![tp("t", 0)]).unwrap();
    for round in 0..2 {
        for n in 0..50 {
            let value = (round * 50 + n).to_string();
            let record = ProducerRecord::new("t").value(value);
            drop(producer.send(record).await.unwrap());
        }
        producer.flush().await.unwrap();
        let got = read(&mut consumer, 50).await;
        assert_eq!(text(&got[0].1), (round * 50).to_string());
        cluster.restart().await;
    }
    let client = cluster
        .client_with(ClientConfig {
            client_id: "late".into(),
            ..ClientConfig::default()
        })
        .await;
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![tp("t", 0)]).unwrap();
    let got = read(&mut consumer, 100).await;
    let values: Vec<String> = got.iter().map(|(_, r)| text(r)).collect();
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(values, expected);
    producer.close().await.unwrap();
}

pub(crate) async fn a_broker_that_is_gone_for_good_is_told_at_once(cluster: &Cluster) {
    if cluster.how == How::Tcp {
        // A broker behind an address may come back.
        return;
    }
    let client = cluster.with_topic("t", 1).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let record = || ProducerRecord::new("t").value("x");
    producer.send(record()).await.unwrap().await.unwrap();
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![tp("t", 0)]).unwrap();
    assert_eq!(read(&mut consumer, 1).await.len(), 1);
    cluster.restart().await;
    let delivery = producer.send(record()).await.unwrap();
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)), "{error}");
    let error = loop {
        if let Err(error) = consumer.poll(LONG).await {
            break error;
        }
    };
    assert!(matches!(error, ClientError::Closed(_)), "{error}");
    let error = client.admin().list_topics().await.unwrap_err();
    assert_eq!(error.to_string(), "the broker in this process is closed");
    assert!(producer.close().await.is_err());
}

pub(crate) async fn batches_too_large_for_the_topic_are_split(cluster: &Cluster) {
    let client = cluster.client().await;
    let small = NewTopic::new("t")
        .partitions(2)
        .config("max.message.bytes", "600");
    client.admin().create_topic(small).await.unwrap();
    for (round, enable_idempotence) in [(0, Some(true)), (1, Some(false))] {
        let producer = client
            .producer(ProducerConfig {
                enable_idempotence,
                // All of a partition in one batch, and more behind it.
                linger_ms: LONG,
                batch_size: 8_000,
                max_in_flight_requests_per_connection: if round == 0 { 5 } else { 1 },
                ..ProducerConfig::default()
            })
            .unwrap();
        let mut deliveries = Vec::new();
        for n in 0..400_usize {
            let record = ProducerRecord::new("t")
                .partition(i32::try_from(n % 2).unwrap())
                .value(format!("{n:050}"));
            deliveries.push(producer.send(record).await.unwrap());
        }
        // One that no split helps.
        let large = ProducerRecord::new("t").partition(0).value(vec![b'x'; 900]);
        let large = producer.send(large).await.unwrap();
        let error = producer.flush().await.unwrap_err();
        assert!(
            matches!(error, ClientError::DeliveriesFailed { failed: 1, .. }),
            "{error}"
        );
        for (n, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.unwrap().offset, 200 * round + n / 2);
        }
        let error = large.await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
        assert!(
            matches!(error, ClientError::RecordRefused { .. }),
            "{error}"
        );
        producer.close().await.unwrap();
    }
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![tp("t", 0), tp("t", 1)]).unwrap();
    let got = by_partition(&read(&mut consumer, 800).await);
    for (partition, values) in got {
        let once = (0..400).filter(|n| n % 2 == partition);
        let once: Vec<String> = once.map(|n| format!("{n:050}")).collect();
        assert_eq!(values, [once.clone(), once].concat());
    }
}

/// Remembers which fetch sessions brokers gave, and which were ended.
struct Spy {
    inner: Arc<dyn Transport>,
    given: Arc<Mutex<BTreeSet<i32>>>,
    ended: watch::Sender<BTreeSet<i32>>,
}

impl Transport for Spy {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        if let Request::Fetch(fetch) = &call.request
            && fetch.session_epoch == -1
        {
            self.ended.send_modify(|ended| {
                ended.insert(fetch.session_id);
            });
        }
        let given = self.given.clone();
        self.inner
            .call(call)
            .map_ok(move |reply| {
                if let Response::Fetch(fetch) = &reply.response {
                    assert_eq!(fetch.error_code, 0);
                    if fetch.session_id != 0 {
                        given.lock().unwrap().insert(fetch.session_id);
                    }
                }
                reply
            })
            .boxed()
    }

    fn update_brokers(&self, brokers: &[Node]) {
        self.inner.update_brokers(brokers);
    }

    fn close_lane(&self, lane: Lane) {
        self.inner.close_lane(lane);
    }

    fn describe(&self) -> String {
        "watched".to_owned()
    }
}

pub(crate) async fn a_consumer_ends_its_fetch_sessions(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    fill(&client, "t", 0, 0..10).await;
    let config = ClientConfig::default();
    let (ended, mut watched) = watch::channel(BTreeSet::new());
    let given = Arc::new(Mutex::new(BTreeSet::new()));
    let spy = Spy {
        inner: cluster.transport(&config).await,
        given: given.clone(),
        ended,
    };
    let client = Client::with_transport(Arc::new(spy), config);
    for dropped in [false, true] {
        let mut consumer = client.consumer(alone()).unwrap();
        consumer.assign(vec![tp("t", 0)]).unwrap();
        read(&mut consumer, 10).await;
        let given = given.lock().unwrap().clone();
        assert_eq!(given.len(), 1 + usize::from(dropped));
        if dropped {
            drop(consumer);
        } else {
            consumer.close().await.unwrap();
        }
        assert_eq!(*watched.borrow_and_update(), given);
    }
}

pub(crate) async fn epochs_end_where_the_log_says(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    fill(&client, "t", 0, 0..10).await;
    let mut consumer = client.consumer(alone()).unwrap();
    consumer.assign(vec![tp("t", 0)]).unwrap();
    let (_, last) = read(&mut consumer, 10).await.pop().unwrap();
    let epoch = last.leader_epoch.unwrap();
    let end = async |epoch| {
        let asked = BTreeMap::from([(tp("t", 0), epoch)]);
        let ends = consumer.offsets_for_leader_epoch(asked).await.unwrap();
        ends[&tp("t", 0)]
    };
    let known = EpochEndOffset {
        leader_epoch: epoch,
        end_offset: 10,
    };
    assert_eq!(end(epoch).await, Some(known));
    assert_eq!(end(epoch + 7).await, None);
    let nowhere = BTreeMap::from([(tp("t", 5), 0)]);
    let error = consumer.offsets_for_leader_epoch(nowhere).await;
    assert!(matches!(
        error.unwrap_err(),
        ClientError::NoSuchPartition { .. }
    ));
}
