use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::client::fake::{FakeCluster, Faults, client};
use crate::record::Compression;
use crate::wire::{ApiKey, ErrorCode};

fn small_batches() -> ProducerConfig {
    ProducerConfig {
        batch_size: 200,
        linger_ms: Duration::from_millis(1),
        ..ProducerConfig::default()
    }
}

/// Sends `count` records to three partitions and looks at the logs: each record once, in
/// order, whatever went wrong on the way.
async fn survives(seed: u64, faults: Faults, config: ProducerConfig) {
    survives_within(seed, faults, config, usize::MAX).await;
}

/// The same where brokers take batches of so many bytes only.
async fn survives_within(seed: u64, faults: Faults, config: ProducerConfig, limit: usize) {
    const COUNT: usize = 600;
    let cluster = FakeCluster::new(seed, faults, &[("t", 3)]);
    cluster.set_max_message_bytes(limit);
    let producer = client(&cluster).producer(config).unwrap();
    let mut deliveries = Vec::new();
    for n in 0..COUNT {
        let partition = i32::try_from(n % 3).unwrap();
        let record = ProducerRecord::new("t")
            .partition(partition)
            .value(n.to_string());
        deliveries.push(producer.send(record).await.unwrap());
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    producer.flush().await.unwrap();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        let metadata = delivery.now_or_never().unwrap().unwrap();
        assert_eq!(
            metadata.offset,
            i64::try_from(n / 3).unwrap(),
            "seed {seed}"
        );
    }
    for partition in 0..3 {
        let expected: Vec<String> = (0..COUNT)
            .filter(|n| n % 3 == partition)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(cluster.values("t", partition), expected, "seed {seed}");
    }
    assert_eq!(producer.buffered_bytes(), 0);
    producer.close().await.unwrap();
}

#[tokio::test]
async fn without_faults_everything_arrives_once() {
    survives(1, Faults::default(), small_batches()).await;
    survives(1, Faults::default(), ProducerConfig::default()).await;
}

#[tokio::test]
async fn lost_requests_and_answers_neither_lose_double_nor_reorder() {
    for seed in 0..40 {
        let faults = Faults {
            lose_request: 60,
            lose_answer: 60,
            refuse: 60,
            forget_producer: 0,
        };
        survives(seed, faults, small_batches()).await;
    }
}

#[tokio::test]
async fn one_request_at_a_time_keeps_order_without_idempotence() {
    for seed in 0..5 {
        let faults = Faults {
            lose_request: 100,
            refuse: 100,
            ..Faults::default()
        };
        let config = ProducerConfig {
            enable_idempotence: Some(false),
            max_in_flight_requests_per_connection: 1,
            ..small_batches()
        };
        survives(seed, faults, config).await;
    }
}

#[tokio::test]
async fn a_forgotten_producer_goes_on_under_a_new_epoch() {
    for seed in 0..20 {
        let faults = Faults {
            refuse: 30,
            forget_producer: 30,
            ..Faults::default()
        };
        survives(seed, faults, small_batches()).await;
    }
}

#[tokio::test]
async fn batches_that_are_too_large_are_split_whatever_is_lost_on_the_way() {
    for seed in 0..30 {
        let faults = Faults {
            lose_request: 40,
            lose_answer: 40,
            refuse: 40,
            forget_producer: 0,
        };
        let config = ProducerConfig {
            batch_size: 2000,
            compression_type: [Compression::None, Compression::Lz4][(seed % 3 % 2) as usize],
            retries: 2_000_000,
            ..small_batches()
        };
        survives_within(seed, faults, config, 150).await;
    }
    let config = ProducerConfig {
        enable_idempotence: Some(false),
        max_in_flight_requests_per_connection: 1,
        // A split is not a retry.
        retries: 0,
        ..ProducerConfig::default()
    };
    survives_within(1, Faults::default(), config, 100).await;
}

#[tokio::test]
async fn a_record_that_is_too_large_alone_fails_and_the_others_go_on() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    cluster.set_max_message_bytes(200);
    let producer = client(&cluster)
        .producer(ProducerConfig::default())
        .unwrap();
    let mut deliveries = Vec::new();
    for size in [1, 500, 2, 3, 600, 4] {
        let record = ProducerRecord::new("t").value(vec![b'x'; size]);
        deliveries.push((size, producer.send(record).await.unwrap()));
    }
    let error = producer.flush().await.unwrap_err();
    assert!(matches!(
        error,
        ClientError::DeliveriesFailed { failed: 2, .. }
    ));
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    for (size, delivery) in deliveries {
        match delivery.await {
            Ok(_) => assert!(size < 100),
            Err(error) => {
                assert!(size > 100, "{error}");
                assert!(
                    matches!(error, ClientError::RecordRefused { .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("max.message.bytes"), "{error}");
            }
        }
    }
    let sizes: Vec<usize> = cluster.values("t", 0).iter().map(String::len).collect();
    assert_eq!(sizes, [1, 2, 3, 4]);
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test]
async fn a_batch_that_may_have_been_written_is_not_doubled_by_its_pieces() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    let producer = client(&cluster)
        .producer(ProducerConfig::default())
        .unwrap();
    let record = ProducerRecord::new("t").value("once");
    producer.send(record.clone()).await.unwrap().await.unwrap();
    cluster.set_faults(Faults {
        lose_answer: 1000,
        ..Faults::default()
    });
    let deliveries: Vec<Delivery> = (0..8)
        .map(|_| producer.try_send(&record).unwrap())
        .collect();
    while cluster.values("t", 0).len() == 1 {
        tokio::task::yield_now().await;
    }
    // Now the limit is lowered, and the answer to the next attempt arrives.
    cluster.set_max_message_bytes(110);
    cluster.set_faults(Faults::default());
    assert!(producer.flush().await.is_err());
    for delivery in deliveries {
        let error = delivery.await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::OutOfOrderSequenceNumber));
    }
    producer.send(record).await.unwrap().await.unwrap();
    assert_eq!(cluster.values("t", 0).len(), 10);
}

#[tokio::test]
async fn what_is_given_up_doubles_nothing_behind_it() {
    for seed in 0..30 {
        let faults = Faults {
            lose_request: 100,
            lose_answer: 500,
            ..Faults::default()
        };
        let cluster = FakeCluster::new(seed, faults, &[("t", 1)]);
        let config = ProducerConfig {
            delivery_timeout_ms: Duration::from_millis(4),
            ..small_batches()
        };
        let producer = client(&cluster).producer(config).unwrap();
        producer.topic("t").await.ok();
        for n in 0..200 {
            let record = ProducerRecord::new("t").value(format!("{n:05}"));
            drop(producer.send(record).await);
            if n % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        producer.flush().await.ok();
        let values = cluster.values("t", 0);
        assert!(values.is_sorted_by(|a, b| a < b), "seed {seed}: {values:?}");
    }
}

#[tokio::test]
async fn topics_without_ids_are_named() {
    let mut cluster = FakeCluster::new(3, Faults::default(), &[("t", 1)]);
    Arc::get_mut(&mut cluster)
        .unwrap()
        .max_versions
        .extend([(ApiKey::Metadata.key(), 9), (ApiKey::Produce.key(), 13)]);
    let producer = client(&cluster).producer(small_batches()).unwrap();
    let delivery = producer
        .send(ProducerRecord::new("t").value("a"))
        .await
        .unwrap();
    assert_eq!(delivery.await.unwrap().offset, 0);
}

#[tokio::test]
async fn records_sent_before_the_topic_is_known_keep_their_order() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    let producer = client(&cluster).producer(small_batches()).unwrap();
    let deliveries: Vec<Delivery> = (0..50)
        .map(|n| {
            let record = ProducerRecord::new("t").value(n.to_string());
            producer.try_send(&record).unwrap()
        })
        .collect();
    for (n, delivery) in (0i64..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, n);
    }
}

#[tokio::test]
async fn a_full_buffer_refuses_at_once_and_lets_wait() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    let config = ProducerConfig {
        buffer_memory: 500,
        // Only a full buffer or a flush sends.
        linger_ms: Duration::from_secs(3600),
        batch_size: 100_000,
        ..ProducerConfig::default()
    };
    let producer = client(&cluster).producer(config).unwrap();
    let topic = producer.topic("t").await.unwrap();
    let record = RecordRef {
        partition: None,
        timestamp: 0,
        key: None,
        value: Some(&[b'x'; 100]),
        headers: &[],
    };
    let mut taken = 0;
    while producer.enqueue(&topic, record).is_ok() {
        taken += 1;
    }
    assert!((2..5).contains(&taken), "{taken}");
    let refused = producer.enqueue(&topic, record).unwrap_err();
    assert!(matches!(refused, ClientError::BufferExhausted { .. }));
    // Waiting for room is a reason to send.
    producer.room(400).await.unwrap();
    producer.enqueue(&topic, record).unwrap();
    producer.flush().await.unwrap();
    assert_eq!(cluster.values("t", 0).len(), taken + 1);
}

#[tokio::test]
async fn errors_say_what_where_and_what_to_do() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 2)]);
    let config = ProducerConfig {
        max_block_ms: Duration::from_millis(20),
        max_request_size: 1000,
        ..small_batches()
    };
    let producer = client(&cluster).producer(config).unwrap();
    let error = producer
        .send(ProducerRecord::new("nope"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    assert!(error.to_string().contains("topic nope"), "{error}");
    let error = producer
        .send(ProducerRecord::new("t").partition(7))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "topic t has no partition 7; it has 2");
    let error = producer
        .send(ProducerRecord::new("t").value(vec![0; 2000]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("max.request.size"), "{error}");
    producer.close().await.unwrap();
    let error = producer.try_send(&ProducerRecord::new("t")).unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)));
}

#[tokio::test]
async fn what_cannot_be_delivered_in_time_fails_and_flush_tells() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    let config = ProducerConfig {
        delivery_timeout_ms: Duration::from_millis(30),
        ..small_batches()
    };
    let producer = client(&cluster).producer(config).unwrap();
    let topic = producer.topic("t").await.unwrap();
    cluster.set_faults(Faults {
        refuse: 1000,
        ..Faults::default()
    });
    let record = ProducerRecord::new("t").value("a");
    producer.enqueue(&topic, record.as_ref()).unwrap();
    let delivery = producer.try_send(&record).unwrap();
    let error = producer.flush().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::DeliveriesFailed { failed: 2, first } if matches!(**first, ClientError::DeliveryTimeout { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("NotLeaderOrFollower"), "{error}");
    assert!(delivery.await.is_err());
    // Told once; and the producer works on.
    cluster.set_faults(Faults::default());
    producer.flush().await.unwrap();
    producer.send(record).await.unwrap().await.unwrap();
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn a_dropped_producer_still_delivers() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 1)]);
    let config = ProducerConfig {
        linger_ms: Duration::from_secs(3600),
        ..ProducerConfig::default()
    };
    let producer = client(&cluster).producer(config).unwrap();
    let delivery = producer
        .send(ProducerRecord::new("t").value("a"))
        .await
        .unwrap();
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, 0);
}

#[tokio::test]
async fn keys_go_where_kafka_puts_them_and_the_rest_fills_batches() {
    let cluster = FakeCluster::new(5, Faults::default(), &[("t", 6)]);
    let producer = client(&cluster).producer(small_batches()).unwrap();
    for key in ["21", "foobar", "a"] {
        let record = ProducerRecord::new("t").key(key).value(key);
        let metadata = producer.send(record).await.unwrap().await.unwrap();
        let expected = (murmur2(key.as_bytes()) & 0x7fff_ffff) % 6;
        assert_eq!(metadata.topic_partition.partition, expected);
    }
    let before = cluster.count("Produce");
    let topic = producer.topic("t").await.unwrap();
    let record = ProducerRecord::new("t").value("0123456789");
    for _ in 0..100 {
        producer.enqueue(&topic, record.as_ref()).unwrap();
    }
    producer.flush().await.unwrap();
    let requests = cluster.count("Produce") - before;
    assert!(requests < 40, "{requests} requests for 100 small records");
}
