//! Settings that change at run time: of all brokers, of this one, of groups; what is refused; and
//! that they are kept.

use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

use crate::bench::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

async fn alter(
    bench: &Bench,
    resource: (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
) -> (ErrorCode, String) {
    alter_or_validate(bench, resource, changes, false).await
}

async fn alter_or_validate(
    bench: &Bench,
    (resource_type, name): (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
    validate_only: bool,
) -> (ErrorCode, String) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type,
            resource_name: Str::from(name),
            configs: changes
                .iter()
                .map(|(operation, key, value)| AlterableConfig {
                    name: Str::from(*key),
                    config_operation: *operation,
                    value: value.map(Str::from),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        validate_only,
        ..Default::default()
    };
    let answer = bench.ask(request).await.responses.remove(0);
    let message = answer.error_message.unwrap_or_default().to_string();
    (code(answer.error_code), message)
}

async fn describe(bench: &Bench, resource_type: i8, name: &str) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type,
            resource_name: Str::from(name),
            configuration_keys: None,
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    bench.ask(request).await.results.remove(0)
}

async fn produce_value(bench: &Bench, topic: &str, value: &[u8]) -> ErrorCode {
    let value = std::str::from_utf8(value).unwrap();
    code(bench.produce(topic, -1, batch(&[value])).await.error_code)
}

/// Value, source, and the sources of all synonyms.
async fn shown(bench: &Bench, resource: (i8, &str), key: &str) -> (Option<String>, i8, Vec<i8>) {
    let result = describe(bench, resource.0, resource.1).await;
    let config = result.configs.into_iter().find(|c| c.name == key).unwrap();
    (
        config.value.map(|v| v.to_string()),
        config.config_source,
        config.synonyms.iter().map(|s| s.source).collect(),
    )
}

#[tokio::test]
async fn broker_settings_reach_topics_at_once_and_stay() {
    let mut bench = Bench::start(&[("message.max.bytes", "5000")]).await;
    bench.create("t", 1, &[]).await;
    bench
        .create("own", 1, &[("max.message.bytes", "4000")])
        .await;
    let (defaults, one) = ((BROKER, ""), (BROKER, "1"));
    for (resource, value) in [(defaults, "3000"), (one, "2000")] {
        let set = [(SET, "message.max.bytes", Some(value))];
        assert_eq!(alter(&bench, resource, &set).await.0, ErrorCode::None);
    }
    let check = async |bench: &Bench| {
        let t = shown(bench, (TOPIC, "t"), "max.message.bytes").await;
        assert_eq!(t, (Some("2000".to_owned()), 2, vec![2, 3, 4, 5]));
        let own = shown(bench, (TOPIC, "own"), "max.message.bytes").await;
        assert_eq!(own, (Some("4000".to_owned()), 1, vec![1, 2, 3, 4, 5]));
        let cluster = describe(bench, BROKER, "").await.configs;
        assert_eq!(cluster.len(), 1);
        assert_eq!(
            (cluster[0].value.as_deref(), cluster[0].config_source),
            (Some("3000"), 3)
        );
        let broker = shown(bench, one, "message.max.bytes").await;
        assert_eq!((broker.0.as_deref(), broker.1), (Some("2000"), 2));
    };
    check(&bench).await;
    // The log itself holds to it, and not only what is described.
    let large = produce_value(&bench, "t", &[b'x'; 2500]).await;
    assert_eq!(large, ErrorCode::MessageTooLarge);
    assert_eq!(
        produce_value(&bench, "own", &[b'x'; 2500]).await,
        ErrorCode::None
    );
    bench.restart(&[("message.max.bytes", "5000")]).await;
    check(&bench).await;
    assert_eq!(
        produce_value(&bench, "t", &[b'x'; 2500]).await,
        ErrorCode::MessageTooLarge
    );
    for resource in [one, defaults] {
        let back = [(DELETE, "message.max.bytes", None)];
        assert_eq!(alter(&bench, resource, &back).await.0, ErrorCode::None);
    }
    assert_eq!(
        produce_value(&bench, "t", &[b'x'; 2500]).await,
        ErrorCode::None
    );
    let t = shown(&bench, (TOPIC, "t"), "max.message.bytes").await;
    assert_eq!(t, (Some("5000".to_owned()), 4, vec![4, 5]));
}

#[tokio::test]
async fn changes_are_refused_as_kafka_refuses_them() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let set = |key: &'static str, value: &'static str| vec![(SET, key, Some(value))];
    for (resource, changes, expected, says) in [
        (
            (BROKER, "1"),
            set("node.id", "3"),
            ErrorCode::InvalidRequest,
            "Cannot update these configs dynamically",
        ),
        (
            (BROKER, "1"),
            set("log.retention.ms", "x"),
            ErrorCode::InvalidRequest,
            "log.retention.ms",
        ),
        (
            (BROKER, "1"),
            set("log.retention.mss", "1"),
            ErrorCode::InvalidRequest,
            "log.retention.ms",
        ),
        (
            (BROKER, ""),
            set("cordoned.log.dirs", "a"),
            ErrorCode::InvalidRequest,
            "broker id must be specified",
        ),
        (
            (BROKER, "7"),
            set("log.retention.ms", "1"),
            ErrorCode::InvalidRequest,
            "expected 1, but received 7",
        ),
        (
            (BROKER, "x"),
            set("log.retention.ms", "1"),
            ErrorCode::InvalidRequest,
            "must be an integer",
        ),
        (
            (TOPIC, "t"),
            set("retention.ms", "-2"),
            ErrorCode::InvalidConfig,
            "retention.ms",
        ),
        (
            (TOPIC, "t"),
            vec![(APPEND, "retention.ms", Some("1"))],
            ErrorCode::InvalidConfig,
            "not LIST",
        ),
        (
            (TOPIC, "t"),
            vec![(SET, "retention.ms", None)],
            ErrorCode::InvalidRequest,
            "Null value",
        ),
        (
            (TOPIC, "t"),
            vec![(9, "retention.ms", Some("1"))],
            ErrorCode::InvalidRequest,
            "9",
        ),
        (
            (TOPIC, "t"),
            [set("retention.ms", "1"), set("retention.ms", "2")].concat(),
            ErrorCode::InvalidRequest,
            "duplicate",
        ),
        (
            (TOPIC, "t"),
            [
                set("min.compaction.lag.ms", "9"),
                set("max.compaction.lag.ms", "8"),
            ]
            .concat(),
            ErrorCode::InvalidConfig,
            "conflict",
        ),
        (
            (TOPIC, "t"),
            set("remote.storage.enable", "true"),
            ErrorCode::InvalidConfig,
            "Tiered",
        ),
        (
            (TOPIC, "no"),
            set("retention.ms", "1"),
            ErrorCode::UnknownTopicOrPartition,
            "does not exist",
        ),
        (
            (TOPIC, ""),
            set("retention.ms", "1"),
            ErrorCode::InvalidRequest,
            "Default topic",
        ),
        (
            (GROUP, ""),
            set("consumer.session.timeout.ms", "50000"),
            ErrorCode::InvalidRequest,
            "Default group",
        ),
        (
            (GROUP, "g"),
            set("consumer.session.timeout.ms", "1"),
            ErrorCode::InvalidConfig,
            "45000",
        ),
        (
            (GROUP, "g"),
            set("consumer.session.timeout", "50000"),
            ErrorCode::InvalidConfig,
            "consumer.session.timeout.ms",
        ),
        (
            (CLIENT_METRICS, "m"),
            set("interval.ms", "1"),
            ErrorCode::InvalidRequest,
            "16",
        ),
    ] {
        let (error, message) = alter(&bench, resource, &changes).await;
        assert_eq!(error, expected, "{resource:?} {changes:?}: {message}");
        assert!(
            message.contains(says),
            "{resource:?} {changes:?}: {message}"
        );
    }
    // Nothing of it was kept, not even of what came with it.
    let half = [
        (SET, "retention.ms", Some("5")),
        (SET, "segment.ms", Some("0")),
    ];
    assert_eq!(
        alter(&bench, (TOPIC, "t"), &half).await.0,
        ErrorCode::InvalidConfig
    );
    assert_eq!(shown(&bench, (TOPIC, "t"), "retention.ms").await.1, 5);
    // As in Kafka, what is not set can be deleted.
    let absent = [(DELETE, "no.such.key", None)];
    assert_eq!(
        alter(&bench, (TOPIC, "t"), &absent).await.0,
        ErrorCode::None
    );
    let only_asked = [(SET, "retention.ms", Some("5"))];
    let answer = alter_or_validate(&bench, (TOPIC, "t"), &only_asked, true).await;
    assert_eq!(answer.0, ErrorCode::None);
    assert_eq!(shown(&bench, (TOPIC, "t"), "retention.ms").await.1, 5);
}

#[tokio::test]
async fn lists_are_added_to_and_taken_from() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let policy = async || {
        shown(&bench, (TOPIC, "t"), "cleanup.policy")
            .await
            .0
            .unwrap()
    };
    let add = [(APPEND, "cleanup.policy", Some("compact"))];
    assert_eq!(alter(&bench, (TOPIC, "t"), &add).await.0, ErrorCode::None);
    assert_eq!(policy().await, "delete,compact");
    let take = [(SUBTRACT, "cleanup.policy", Some("delete"))];
    assert_eq!(alter(&bench, (TOPIC, "t"), &take).await.0, ErrorCode::None);
    assert_eq!(policy().await, "compact");
    let add = [(APPEND, "log.cleanup.policy", Some("compact"))];
    assert_eq!(alter(&bench, (BROKER, ""), &add).await.0, ErrorCode::None);
    let broker = shown(&bench, (BROKER, "1"), "log.cleanup.policy").await;
    assert_eq!((broker.0.as_deref(), broker.1), (Some("delete,compact"), 3));
}

#[tokio::test]
async fn groups_have_settings_and_are_listed() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let set = [(SET, "consumer.session.timeout.ms", Some("50000"))];
    assert_eq!(alter(&bench, (GROUP, "g"), &set).await.0, ErrorCode::None);
    bench.restart(&[]).await;
    let own = shown(&bench, (GROUP, "g"), "consumer.session.timeout.ms").await;
    assert_eq!(own, (Some("50000".to_owned()), 8, vec![8, 5]));
    let other = shown(&bench, (GROUP, "other"), "consumer.heartbeat.interval.ms").await;
    assert_eq!(other, (Some("5000".to_owned()), 5, vec![5]));
    let list = async |types: &[i8]| {
        let request = ListConfigResourcesRequest {
            resource_types: types.to_vec(),
            ..Default::default()
        };
        let answer = bench.ask(request).await;
        assert_eq!(answer.error_code, 0);
        let resources = answer.config_resources.into_iter();
        resources
            .map(|r| (r.resource_type, r.resource_name.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[GROUP]).await, [(GROUP, "g".to_owned())]);
    let all = list(&[]).await;
    for resource in [(GROUP, "g"), (BROKER, "1"), (8, "1"), (TOPIC, "t")] {
        assert!(
            all.contains(&(resource.0, resource.1.to_owned())),
            "{all:?}"
        );
    }
}

#[tokio::test]
async fn the_legacy_way_replaces_everything() {
    let bench = Bench::start(&[]).await;
    bench
        .create("t", 1, &[("retention.ms", "5"), ("segment.ms", "6")])
        .await;
    let replace = |names: &[&str], configs: &[(&str, &str)]| AlterConfigsRequest {
        resources: names
            .iter()
            .map(|name| AlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: Str::from(*name),
                configs: configs
                    .iter()
                    .map(|(key, value)| AlterConfigsRequestConfig {
                        name: Str::from(*key),
                        value: Some(Str::from(*value)),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let answer = bench.ask(replace(&["t"], &[("segment.ms", "7")])).await;
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(shown(&bench, (TOPIC, "t"), "retention.ms").await.1, 5);
    assert_eq!(
        shown(&bench, (TOPIC, "t"), "segment.ms").await.0.as_deref(),
        Some("7")
    );
    let twice = bench.ask(replace(&["t", "t"], &[])).await;
    for response in twice.responses {
        assert_eq!(code(response.error_code), ErrorCode::InvalidRequest);
    }
    assert_eq!(
        shown(&bench, (TOPIC, "t"), "segment.ms").await.0.as_deref(),
        Some("7")
    );
}

#[tokio::test]
async fn every_setting_has_its_type_and_text() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    for (resource, name, at_least) in [(TOPIC, "t", 33), (BROKER, "1", 180), (GROUP, "g", 3)] {
        let result = describe(&bench, resource, name).await;
        assert!(result.configs.len() >= at_least, "{}", result.configs.len());
        for config in result.configs {
            assert!(config.config_type > 0, "{}", config.name);
            assert!(
                config.documentation.is_some_and(|d| !d.is_empty()),
                "{}",
                config.name
            );
        }
    }
    let unknown = describe(&bench, CLIENT_METRICS, "m").await;
    assert_eq!(code(unknown.error_code), ErrorCode::InvalidRequest);
}
