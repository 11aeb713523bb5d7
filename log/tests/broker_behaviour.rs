//! What the broker answers, request by request, in process.

use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Str};

struct Bench {
    broker: Broker,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Self::open(dir.path(), settings).await;
        Self { broker, dir }
    }

    async fn open(dir: &std::path::Path, settings: &[(&str, &str)]) -> Broker {
        let config = settings
            .iter()
            .fold(BrokerConfig::new(dir), |c, (k, v)| c.set(*k, *v));
        Broker::start(config).await.unwrap()
    }

    async fn restart(&mut self, settings: &[(&str, &str)]) {
        self.broker.shutdown().await;
        self.broker = Self::open(self.dir.path(), settings).await;
    }

    async fn ask<Q: ApiRequest>(&self, request: Q) -> Q::Response {
        self.ask_at(request, i16::MAX).await
    }

    async fn ask_at<Q: ApiRequest>(&self, request: Q, version: i16) -> Q::Response {
        let call = Call::new(
            Destination::Any,
            request.into_request(),
            Duration::from_secs(30),
        );
        let reply = self
            .broker
            .transport()
            .call(call.at_most(version))
            .await
            .unwrap();
        Q::response_of(reply.response).unwrap()
    }

    async fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let request = CreateTopicsRequest {
            topics: vec![topic(name, partitions, configs)],
            ..Default::default()
        };
        self.ask(request).await.topics.remove(0)
    }

    async fn produce(&self, topic: &str, acks: i16, batch: Bytes) -> PartitionProduceResponse {
        let request = produce(topic, acks, batch);
        // Version 12 still goes by name.
        self.ask_at(request, 12).await.responses[0].partition_responses[0].clone()
    }

    async fn fetch(
        &self,
        topic: &str,
        offset: i64,
        min_bytes: i32,
        max_wait_ms: i32,
    ) -> PartitionData {
        let request = fetch(topic, offset, min_bytes, max_wait_ms);
        self.ask_at(request, 12).await.responses[0].partitions[0].clone()
    }

    async fn names(&self) -> Vec<String> {
        let all = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        let topics = self.ask(all).await.topics;
        topics
            .into_iter()
            .map(|t| t.name.unwrap().to_string())
            .collect()
    }
}

fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs
            .iter()
            .map(|(k, v)| CreatableTopicConfig {
                name: Str::from(*k),
                value: Some(Str::from(*v)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn batch(values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    for value in values {
        batch
            .append(1_700_000_000_000, Some(b"k"), Some(value.as_bytes()), &[])
            .unwrap();
    }
    batch.build().unwrap()
}

fn produce(topic: &str, acks: i16, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: Str::from(topic),
            partition_data: vec![PartitionProduceData {
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch(topic: &str, fetch_offset: i64, min_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        min_bytes,
        max_wait_ms,
        topics: vec![FetchTopic {
            topic: Str::from(topic),
            partitions: vec![FetchPartition {
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn values(data: &PartitionData) -> Vec<String> {
    batches(data.records.clone().unwrap())
        .flat_map(|b| b.unwrap().records().unwrap().collect::<Vec<_>>())
        .map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

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
async fn a_topic_created_again_is_another_topic() {
    let mut bench = Bench::start(&[]).await;
    let first = bench.create("t", 1, &[]).await.topic_id;
    bench.produce("t", 1, batch(&["old"])).await;
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            topic_id: first,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(bench.ask(delete).await.responses[0].error_code, 0);
    let second = bench.create("t", 1, &[]).await.topic_id;
    assert_ne!(first, second);
    for _ in 0..2 {
        assert_eq!(bench.fetch("t", 0, 0, 0).await.high_watermark, 0);
        let mut old = fetch("", 0, 0, 0);
        old.topics[0].topic_id = first;
        let data = bench.ask(old).await.responses[0].partitions[0].clone();
        assert_eq!(code(data.error_code), ErrorCode::UnknownTopicId);
        bench.restart(&[]).await;
    }
}

#[tokio::test]
async fn topics_are_refused_for_good_reasons() {
    let bench = Bench::start(&[("num.partitions", "4")]).await;
    assert_eq!(
        bench
            .create("t", -1, &[("retention.ms", "5")])
            .await
            .num_partitions,
        4
    );
    for (name, partitions, configs, expected) in [
        ("t", 1, vec![], ErrorCode::TopicAlreadyExists),
        ("a b", 1, vec![], ErrorCode::InvalidTopicException),
        (
            "__consumer_offsets",
            1,
            vec![],
            ErrorCode::InvalidTopicException,
        ),
        ("u", 0, vec![], ErrorCode::InvalidPartitions),
        ("u", 1, vec![("retention.m", "1")], ErrorCode::InvalidConfig),
        (
            "u",
            1,
            vec![("retention.ms", "soon")],
            ErrorCode::InvalidConfig,
        ),
    ] {
        let result = bench.create(name, partitions, &configs).await;
        assert_eq!(
            code(result.error_code),
            expected,
            "{name} {partitions} {configs:?}"
        );
        assert!(result.error_message.is_some());
    }
    let twice = CreateTopicsRequest {
        topics: vec![topic("w", 1, &[]), topic("w", 1, &[])],
        ..Default::default()
    };
    let codes: Vec<_> = bench
        .ask(twice)
        .await
        .topics
        .iter()
        .map(|t| code(t.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest; 2]);
    let dry = CreateTopicsRequest {
        topics: vec![topic("dry", 1, &[])],
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(bench.ask(dry).await.topics[0].error_code, 0);
    let mut wide = topic("wide", 1, &[]);
    wide.replication_factor = 3;
    let wide = CreateTopicsRequest {
        topics: vec![wide],
        ..Default::default()
    };
    let result = bench.ask(wide).await.topics.remove(0);
    assert_eq!(code(result.error_code), ErrorCode::InvalidReplicationFactor);
    assert_eq!(bench.names().await, ["t"]);
}

#[tokio::test]
async fn metadata_outlive_snapshots_and_restarts() {
    let settings = [("metadata.log.snapshot.records", "5")];
    let mut bench = Bench::start(&settings).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for i in 0..12 {
            let name = format!("t-{round}-{i:02}");
            assert_eq!(
                bench
                    .create(&name, 1, &[("retention.ms", "77")])
                    .await
                    .error_code,
                0
            );
            expected.push(name);
        }
        bench.restart(&settings).await;
        assert_eq!(bench.names().await, expected);
    }
    let folder = bench.dir.path().join("__cluster_metadata-0");
    let snapshots = std::fs::read_dir(folder)
        .unwrap()
        .filter(|f| {
            f.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".checkpoint")
        })
        .count();
    assert_eq!(snapshots, 1, "one snapshot is kept");
    let described = describe(&bench, "t-0-00", "retention.ms").await;
    assert_eq!(
        (described.value.as_deref(), described.config_source),
        (Some("77"), 1)
    );
}

async fn describe(bench: &Bench, topic: &str, key: &str) -> DescribeConfigsResourceResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: Str::from(topic),
            configuration_keys: Some(vec![Str::from(key)]),
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    bench.ask(request).await.results.remove(0).configs.remove(0)
}

#[tokio::test]
async fn topic_settings_change_at_run_time() {
    let mut bench = Bench::start(&[("log.retention.ms", "1000")]).await;
    bench.create("t", 1, &[]).await;
    let before = describe(&bench, "t", "retention.ms").await;
    assert_eq!(
        (before.value.as_deref(), before.config_source),
        (Some("1000"), 4)
    );
    assert!(before.documentation.is_some_and(|d| !d.is_empty()));
    let alter = |operation: i8, key: &str, value: Option<&str>| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: Str::from("t"),
            configs: vec![AlterableConfig {
                name: Str::from(key),
                config_operation: operation,
                value: value.map(Str::from),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        bench
            .ask(alter(0, "retention.ms", Some("9")))
            .await
            .responses[0]
            .error_code,
        0
    );
    assert_eq!(
        bench
            .ask(alter(2, "cleanup.policy", Some("compact")))
            .await
            .responses[0]
            .error_code,
        0
    );
    bench.restart(&[("log.retention.ms", "1000")]).await;
    let after = describe(&bench, "t", "retention.ms").await;
    assert_eq!(
        (
            after.value.as_deref(),
            after.config_source,
            after.synonyms.len()
        ),
        (Some("9"), 1, 3)
    );
    let policy = describe(&bench, "t", "cleanup.policy").await;
    assert_eq!(policy.value.as_deref(), Some("delete,compact"));
    assert_eq!(
        bench.ask(alter(1, "retention.ms", None)).await.responses[0].error_code,
        0
    );
    assert_eq!(
        describe(&bench, "t", "retention.ms").await.value.as_deref(),
        Some("1000")
    );
    let wrong = bench
        .ask(alter(0, "retention.mss", Some("9")))
        .await
        .responses
        .remove(0);
    assert_eq!(code(wrong.error_code), ErrorCode::InvalidConfig);
    assert!(
        wrong.error_message.unwrap().contains("retention.ms"),
        "names the nearest key"
    );
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
    let delete = |offset: i64| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: Str::from("t"),
            partitions: vec![DeleteRecordsPartition {
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
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
            (ErrorCode::OffsetOutOfRange, 2)
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

#[tokio::test]
async fn partitions_are_added_and_topics_are_paged() {
    let bench = Bench::start(&[]).await;
    bench.create("a", 2, &[]).await;
    bench.create("b", 2, &[]).await;
    let add = |count: i32| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: Str::from("a"),
            count,
            assignments: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(bench.ask(add(5)).await.results[0].error_code, 0);
    assert_eq!(
        code(bench.ask(add(3)).await.results[0].error_code),
        ErrorCode::InvalidPartitions
    );
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 3,
            cursor,
            ..Default::default()
        };
        let page = bench.ask(request).await;
        for topic in &page.topics {
            let name = topic.name.clone().unwrap();
            seen.extend(
                topic
                    .partitions
                    .iter()
                    .map(|p| (name.to_string(), p.partition_index)),
            );
        }
        cursor = page.next_cursor.map(|c| RequestCursor {
            topic_name: c.topic_name,
            partition_index: c.partition_index,
            ..Default::default()
        });
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..5)
        .map(|p| ("a".to_owned(), p))
        .chain((0..2).map(|p| ("b".to_owned(), p)))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn topics_are_created_by_asking_where_that_is_allowed() {
    let bench = Bench::start(&[]).await;
    let ask = |allow: bool| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(Str::from("t")),
            ..Default::default()
        }]),
        allow_auto_topic_creation: allow,
        ..Default::default()
    };
    let missing = bench.ask(ask(false)).await.topics.remove(0);
    assert_eq!(code(missing.error_code), ErrorCode::UnknownTopicOrPartition);
    let made = bench.ask(ask(true)).await.topics.remove(0);
    assert_eq!((made.error_code, made.partitions.len()), (0, 1));
    let bench = Bench::start(&[("auto.create.topics.enable", "false")]).await;
    let missing = bench.ask(ask(true)).await.topics.remove(0);
    assert_eq!(code(missing.error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_broker_is_started_used_and_dropped_from_any_runtime_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let broker = runtime
        .block_on(Broker::start(BrokerConfig::new(dir.path())))
        .unwrap();
    let transport = broker.transport();
    drop(runtime);
    // Outside of any runtime the answer still comes.
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    }
    .into_request();
    let call = Call::new(Destination::Any, request, Duration::from_secs(10));
    futures::executor::block_on(transport.call(call.clone())).unwrap();
    broker.close();
    assert!(futures::executor::block_on(transport.call(call)).is_err());
    drop(broker);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(Broker::start(BrokerConfig::new(dir.path())).await.unwrap());
    });
}

#[tokio::test]
async fn the_log_of_offsets_stays_short() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.retention.check.interval.ms", "20"),
    ];
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 1, &[]).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![Str::from("g")],
        ..Default::default()
    };
    assert_eq!(bench.ask(find).await.coordinators[0].error_code, 0);
    // Each commit writes a few kilobytes, though only the last one counts.
    let note = Str::from("x".repeat(4096));
    let commit = |offset: i64| OffsetCommitRequest {
        group_id: Str::from("g"),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("t"),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some(note.clone()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let earliest = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: Str::from("__consumer_offsets"),
            partitions: vec![ListOffsetsPartition {
                timestamp: -2,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut offset = 0;
    while bench.ask(earliest.clone()).await.topics[0].partitions[0].offset == 0 {
        for _ in 0..200 {
            offset += 1;
            let answer = bench.ask_at(commit(offset), 9).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
        assert!(Instant::now() < deadline, "the log was never shortened");
    }
    assert!(offset > 3_000, "not before it is worth it");
    let fetch = OffsetFetchRequest {
        group_id: Str::from("g"),
        topics: None,
        ..Default::default()
    };
    for _ in 0..2 {
        let found = bench.ask_at(fetch.clone(), 7).await;
        let partition = &found.topics[0].partitions[0];
        assert_eq!(
            (partition.committed_offset, partition.metadata.as_ref()),
            (offset, Some(&note))
        );
        bench.restart(&settings).await;
    }
}

#[tokio::test]
async fn groups_work_where_every_commit_waits_for_the_disk() {
    let settings = [
        ("log.flush.interval.messages", "1"),
        ("offsets.topic.num.partitions", "1"),
    ];
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 1, &[]).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![Str::from("g")],
        ..Default::default()
    };
    bench.ask(find).await;
    let transport = bench.broker.transport();
    let commits: Vec<_> = (1..=50)
        .map(|offset| {
            let request = OffsetCommitRequest {
                group_id: Str::from("g"),
                topics: vec![OffsetCommitRequestTopic {
                    name: Str::from("t"),
                    partitions: vec![OffsetCommitRequestPartition {
                        committed_offset: offset,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let call = Call::new(
                Destination::Any,
                request.into_request(),
                Duration::from_secs(30),
            );
            transport.call(call.at_most(9))
        })
        .collect();
    for commit in commits {
        let answer = OffsetCommitRequest::response_of(commit.await.unwrap().response).unwrap();
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    let fetch = OffsetFetchRequest {
        group_id: Str::from("g"),
        topics: None,
        ..Default::default()
    };
    for _ in 0..2 {
        let found = bench.ask_at(fetch.clone(), 7).await;
        assert_eq!(
            found.topics[0].partitions[0].committed_offset, 50,
            "the last one counts"
        );
        bench.restart(&settings).await;
    }
}
