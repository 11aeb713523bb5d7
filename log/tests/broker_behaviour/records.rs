//! Producing, fetching, looking up and deleting records.

use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Str};

use crate::bench::*;

#[tokio::test]
async fn a_long_poll_ends_with_the_append_it_waits_for() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let transport = bench.broker.transport();
    let wait = |min_bytes: i32| {
        let request = fetch("t", 0, min_bytes, 60_000).into_request();
        let call = Call::new(Destination::Any, request, Duration::from_secs(90));
        transport.call(call.at_most(12))
    };
    let (any, many) = (wait(1), wait(100_000));
    let started = Instant::now();
    assert_eq!(
        code(bench.produce("t", 1, batch(&["a"])).await.error_code),
        ErrorCode::None
    );
    let answered = FetchRequest::response_of(any.await.unwrap().response).unwrap();
    assert_eq!(values(&answered.responses[0].partitions[0]), ["a"]);
    let big = "x".repeat(60_000);
    bench.produce("t", 1, batch(&[&big])).await;
    bench.produce("t", 1, batch(&[&big])).await;
    let answered = FetchRequest::response_of(many.await.unwrap().response).unwrap();
    assert_eq!(values(&answered.responses[0].partitions[0]).len(), 3);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "nobody waited the time out"
    );
}

#[tokio::test]
async fn a_fetch_that_gets_nothing_ends_in_time_with_no_records() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let data = bench.fetch("t", 0, 1, 20).await;
    assert_eq!((data.error_code, data.high_watermark), (0, 0));
    assert_eq!(data.records, Some(Bytes::new()));
    let data = bench.fetch("t", 5, 1, 60_000).await;
    assert_eq!(code(data.error_code), ErrorCode::OffsetOutOfRange);
    let data = bench.fetch("nope", 0, 1, 60_000).await;
    assert_eq!(code(data.error_code), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn deleting_a_topic_ends_the_fetches_that_wait_for_it() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let request = fetch("t", 0, 1, 60_000).into_request();
    let call = Call::new(Destination::Any, request, Duration::from_secs(90)).at_most(12);
    let waiting = bench.broker.transport().call(call);
    let delete = DeleteTopicsRequest {
        topic_names: vec![Str::from("t")],
        ..Default::default()
    };
    let deleted = bench.ask_at(delete, 5).await;
    assert_eq!(deleted.responses[0].error_code, 0);
    let answered = FetchRequest::response_of(waiting.await.unwrap().response).unwrap();
    let found = code(answered.responses[0].partitions[0].error_code);
    assert!(found.is_error(), "{found}");
    assert_eq!(bench.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn every_acknowledgement_level_appends() {
    for settings in [&[][..], &[("log.flush.interval.messages", "1")]] {
        let bench = Bench::start(settings).await;
        bench.create("t", 1, &[]).await;
        for acks in [0, 1, -1] {
            let answer = bench.produce("t", acks, batch(&["v"])).await;
            assert_eq!(code(answer.error_code), ErrorCode::None);
        }
        let answer = bench.produce("t", 2, batch(&["v"])).await;
        assert_eq!(code(answer.error_code), ErrorCode::InvalidRequiredAcks);
        let data = bench.fetch("t", 0, 1, 10_000).await;
        assert!(values(&data).len() >= 2, "{settings:?}");
        // Whatever was acknowledged is below the high watermark.
        assert_eq!(data.high_watermark, 3);
    }
}

#[tokio::test]
async fn bad_batches_are_refused_and_cost_nothing() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[("max.message.bytes", "500")]).await;
    let mut flipped = batch(&["v"]).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let answer = bench.produce("t", 1, Bytes::from(flipped)).await;
    assert_eq!(code(answer.error_code), ErrorCode::CorruptMessage);
    let answer = bench.produce("t", 1, batch(&[&"x".repeat(600)])).await;
    assert_eq!(code(answer.error_code), ErrorCode::MessageTooLarge);
    assert!(answer.error_message.is_some());
    assert_eq!(bench.fetch("t", 0, 0, 0).await.high_watermark, 0);
}

#[tokio::test]
async fn idempotent_retries_get_their_first_offset_also_after_a_restart() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let ask = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    let id = bench.ask(ask.clone()).await.producer_id;
    let numbered = |sequence: i32| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.producer(id, 0, sequence);
        batch.append(1, None, Some(b"v"), &[]).unwrap();
        batch.build().unwrap()
    };
    assert_eq!(bench.produce("t", -1, numbered(0)).await.base_offset, 0);
    assert_eq!(bench.produce("t", -1, numbered(1)).await.base_offset, 1);
    assert_eq!(bench.produce("t", -1, numbered(0)).await.base_offset, 0);
    let gap = bench.produce("t", -1, numbered(5)).await;
    assert_eq!(code(gap.error_code), ErrorCode::OutOfOrderSequenceNumber);
    bench.restart(&[]).await;
    assert_eq!(bench.produce("t", -1, numbered(1)).await.base_offset, 1);
    assert_ne!(
        bench.ask(ask).await.producer_id,
        id,
        "ids are never handed out again"
    );
}

#[tokio::test]
async fn records_are_deleted_up_to_the_high_watermark() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        bench.produce("t", 1, batch(&[value])).await;
    }
    let delete_of = |topic: &str, offset: i64| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: Str::from(topic),
            partitions: vec![DeleteRecordsPartition {
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let delete = |offset| delete_of("t", offset);
    // A topic that is only compacted keeps the newest record of each key.
    for (policy, expected) in [
        ("compact", ErrorCode::PolicyViolation),
        ("compact,delete", ErrorCode::None),
        ("", ErrorCode::None),
    ] {
        let name = format!("policy-{}", policy.len());
        let configs = [("cleanup.policy", policy)];
        assert_eq!(bench.create(&name, 1, &configs).await.error_code, 0);
        bench.produce(&name, 1, batch(&["a"])).await;
        let answer = bench.ask(delete_of(&name, -1)).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(code(partition.error_code), expected, "{policy}");
    }
    let too_far = bench.ask(delete(4)).await.topics[0].partitions[0].clone();
    assert_eq!(code(too_far.error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(
        bench.ask(delete(2)).await.topics[0].partitions[0].low_watermark,
        2
    );
    for _ in 0..2 {
        let data = bench.fetch("t", 1, 1, 0).await;
        assert_eq!(
            (code(data.error_code), data.log_start_offset),
            (ErrorCode::OffsetOutOfRange, -1)
        );
        assert_eq!(values(&bench.fetch("t", 2, 1, 0).await), ["c"]);
        bench.restart(&[]).await;
    }
    assert_eq!(
        bench.ask(delete(-1)).await.topics[0].partitions[0].low_watermark,
        3
    );
}

#[tokio::test]
async fn offsets_are_looked_up() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    for (timestamp, value) in [(100, "a"), (300, "b"), (200, "c")] {
        let mut batch = BatchBuilder::new(Compression::None);
        batch
            .append(timestamp, None, Some(value.as_bytes()), &[])
            .unwrap();
        bench.produce("t", 1, batch.build().unwrap()).await;
    }
    for (timestamp, expected) in [
        (-2, (0, -1)),
        (-1, (3, -1)),
        (0, (0, 100)),
        (150, (1, 300)),
        (301, (-1, -1)),
        (-3, (1, 300)),
    ] {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: Str::from("t"),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let found = bench.ask(request).await.topics[0].partitions[0].clone();
        assert_eq!(
            (found.error_code, (found.offset, found.timestamp)),
            (0, expected),
            "{timestamp}"
        );
    }
}

#[tokio::test]
async fn stale_leader_epochs_are_fenced_and_grow_with_each_start() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let epoch = async |bench: &Bench| {
        let all = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        bench.ask(all).await.topics[0].partitions[0].leader_epoch
    };
    let before = epoch(&bench).await;
    bench.restart(&[]).await;
    assert_eq!(epoch(&bench).await, before + 1);
    for (known, expected) in [
        (before, ErrorCode::FencedLeaderEpoch),
        (before + 1, ErrorCode::None),
        (before + 2, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut request = fetch("t", 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = known;
        let data = bench.ask_at(request, 12).await.responses[0].partitions[0].clone();
        assert_eq!(code(data.error_code), expected);
    }
}
