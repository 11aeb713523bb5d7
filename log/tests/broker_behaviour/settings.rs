//! Settings of brokers and topics, and metadata over restarts.

use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

use crate::bench::*;

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
