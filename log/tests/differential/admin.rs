//! Configuration, and what tells of the cluster.

use thalweg_log::wire::messages::*;

use crate::pair::Pair;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    }
}

fn alter(
    kind: i8,
    name: &str,
    key: &str,
    operation: i8,
    value: Option<&str>,
) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: vec![AlterableConfig {
                name: key.into(),
                config_operation: operation,
                value: value.map(Into::into),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) async fn configs(pair: &mut Pair) {
    pair.create("configured", 1, &[("retention.ms", "123456")])
        .await;
    let keys = [
        "retention.ms",
        "cleanup.policy",
        "max.message.bytes",
        "no.such.key",
    ];
    pair.all("some of a topic", |_, _| {
        describe(TOPIC, "configured", Some(&keys))
    })
    .await;
    pair.all("all of a topic", |_, _| describe(TOPIC, "configured", None))
        .await;
    pair.all("no such topic", |_, _| describe(TOPIC, "nowhere", None))
        .await;
    pair.all("a bad name", |_, _| describe(TOPIC, "a/b", None))
        .await;
    pair.all("no such kind", |_, _| describe(77, "x", None))
        .await;
    pair.all("no such broker", |_, _| describe(BROKER, "77", None))
        .await;
    pair.all("not a broker", |_, _| describe(BROKER, "one", None))
        .await;
    let some = ["num.partitions", "message.max.bytes", "log.retention.ms"];
    pair.all("of the broker", |_, _| describe(BROKER, "1", Some(&some)))
        .await;
    for version in 0..=1 {
        for (what, kind, name, key, operation, value) in [
            ("set", TOPIC, "configured", "segment.ms", 0, Some("60000")),
            ("delete", TOPIC, "configured", "retention.ms", 1, None),
            (
                "append",
                TOPIC,
                "configured",
                "cleanup.policy",
                2,
                Some("compact"),
            ),
            (
                "append again",
                TOPIC,
                "configured",
                "cleanup.policy",
                2,
                Some("compact"),
            ),
            (
                "subtract",
                TOPIC,
                "configured",
                "cleanup.policy",
                3,
                Some("delete"),
            ),
            (
                "append to a number",
                TOPIC,
                "configured",
                "retention.ms",
                2,
                Some("1"),
            ),
            (
                "a bad value",
                TOPIC,
                "configured",
                "retention.ms",
                0,
                Some("soon"),
            ),
            (
                "out of range",
                TOPIC,
                "configured",
                "min.cleanable.dirty.ratio",
                0,
                Some("3"),
            ),
            ("null", TOPIC, "configured", "retention.ms", 0, None),
            (
                "no such key",
                TOPIC,
                "configured",
                "no.such.key",
                0,
                Some("1"),
            ),
            (
                "no such operation",
                TOPIC,
                "configured",
                "retention.ms",
                9,
                Some("1"),
            ),
            (
                "no such topic",
                TOPIC,
                "nowhere",
                "retention.ms",
                0,
                Some("1"),
            ),
            (
                "no such broker",
                BROKER,
                "77",
                "log.retention.ms",
                0,
                Some("100000"),
            ),
            (
                "all brokers",
                BROKER,
                "",
                "log.retention.ms",
                0,
                Some("1000001"),
            ),
            ("read only", BROKER, "1", "node.id", 0, Some("5")),
        ] {
            pair.ask(what, version, |_| alter(kind, name, key, operation, value))
                .await;
        }
        pair.ask("the same twice", version, |_| {
            let mut request = alter(TOPIC, "configured", "retention.ms", 0, Some("1"));
            let again = request.resources[0].configs[0].clone();
            request.resources[0].configs.push(again);
            request
        })
        .await;
    }
    pair.ask("after the changes", 4, |_| {
        describe(TOPIC, "configured", Some(&keys))
    })
    .await;
    for version in 0..=2 {
        for (what, name, value) in [
            ("replace", "configured", "77000"),
            ("a bad value", "configured", "x"),
            ("no such topic", "nowhere", "1"),
        ] {
            pair.ask(what, version, |_| AlterConfigsRequest {
                resources: vec![AlterConfigsRequestResource {
                    resource_type: TOPIC,
                    resource_name: name.into(),
                    configs: vec![AlterConfigsRequestConfig {
                        name: "retention.ms".into(),
                        value: Some(value.into()),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .await;
        }
    }
    pair.ask("after all of them", 4, |_| {
        describe(TOPIC, "configured", Some(&keys))
    })
    .await;
}

/// Kafka does so by itself when it formats a folder with eligible leader replicas.
pub(crate) async fn least_isr(pair: &mut Pair) {
    pair.all("the least ISR", |_, _| {
        alter(BROKER, "", "min.insync.replicas", 0, Some("1"))
    })
    .await;
}

pub(crate) async fn cluster(pair: &mut Pair) {
    pair.all("versions", |_, _| ApiVersionsRequest {
        client_software_name: "thalweg".into(),
        client_software_version: "1".into(),
        ..Default::default()
    })
    .await;
    pair.ask("a bad name", 3, |_| ApiVersionsRequest {
        client_software_name: "a b!".into(),
        client_software_version: "1".into(),
        ..Default::default()
    })
    .await;
    pair.all("the cluster", |_, _| DescribeClusterRequest::default())
        .await;
    pair.all("reassignments", |_, _| ListPartitionReassignmentsRequest {
        topics: None,
        timeout_ms: 10_000,
        ..Default::default()
    })
    .await;
    pair.all("quotas", |_, _| DescribeClientQuotasRequest::default())
        .await;
    pair.create("elected", 1, &[]).await;
    for (what, partition) in [("not needed", 0), ("no such partition", 8)] {
        pair.all(what, |_, _| ElectLeadersRequest {
            topic_partitions: Some(vec![ElectLeadersTopicPartitions {
                topic: "elected".into(),
                partitions: vec![partition],
                ..Default::default()
            }]),
            timeout_ms: 10_000,
            ..Default::default()
        })
        .await;
    }
}
