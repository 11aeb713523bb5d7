//! Client quotas: set, described by every kind of filter, kept over restarts, refused when they make no sense.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Buf;
use thalweg_log::net::{ClientConnection, ConnectionOptions, request_frame};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, ErrorCode, RequestHeader, Str};

use crate::bench::*;

type Part<'a> = (&'a str, Option<&'a str>);

fn alter(entity: &[Part<'_>], ops: &[(&str, Option<f64>)]) -> AlterClientQuotasRequest {
    AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasEntry {
            entity: entity
                .iter()
                .map(|(kind, name)| AlterClientQuotasEntity {
                    entity_type: Str::from(*kind),
                    entity_name: name.map(Str::from),
                    ..Default::default()
                })
                .collect(),
            ops: ops
                .iter()
                .map(|(key, value)| AlterClientQuotasOp {
                    key: Str::from(*key),
                    value: value.unwrap_or_default(),
                    remove: value.is_none(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn altered(bench: &Bench, request: AlterClientQuotasRequest) -> ErrorCode {
    let answer = bench.ask(request).await;
    let entry = &answer.entries[0];
    assert_eq!(entry.error_message.is_some(), entry.error_code != 0);
    ErrorCode::from(entry.error_code)
}

fn filter(components: &[(&str, i8, Option<&str>)], strict: bool) -> DescribeClientQuotasRequest {
    DescribeClientQuotasRequest {
        components: components
            .iter()
            .map(|(kind, match_type, name)| DescribeClientQuotasComponent {
                entity_type: Str::from(*kind),
                match_type: *match_type,
                match_name: name.map(Str::from),
                ..Default::default()
            })
            .collect(),
        strict,
        ..Default::default()
    }
}

async fn described(
    bench: &Bench,
    components: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> Vec<String> {
    let answer = bench.ask(filter(components, strict)).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let print = |entry: DescribeClientQuotasEntry| {
        let entity: Vec<_> = entry
            .entity
            .iter()
            .map(|e| {
                format!(
                    "{}={}",
                    e.entity_type,
                    e.entity_name.as_deref().unwrap_or("*")
                )
            })
            .collect();
        let values: Vec<_> = entry
            .values
            .iter()
            .map(|v| format!("{}={}", v.key, v.value))
            .collect();
        format!("{}: {}", entity.join(","), values.join(","))
    };
    answer.entries.unwrap().into_iter().map(print).collect()
}

#[tokio::test]
async fn quotas_are_set_described_kept_and_removed() {
    let mut bench = Bench::start(&[]).await;
    let alice = [("user", Some("alice"))];
    let default = [("user", None)];
    let both = [("user", Some("alice")), ("client-id", Some("c"))];
    let rate = |value| [("producer_byte_rate", Some(value))];
    assert_eq!(
        altered(&bench, alter(&alice, &rate(1000.0))).await,
        ErrorCode::None
    );
    assert_eq!(
        altered(&bench, alter(&default, &rate(2000.0))).await,
        ErrorCode::None
    );
    let two = [
        ("consumer_byte_rate", Some(5.0)),
        ("request_percentage", Some(12.5)),
    ];
    assert_eq!(altered(&bench, alter(&both, &two)).await, ErrorCode::None);
    let ip = [("ip", Some("127.0.0.1"))];
    let connections = [("connection_creation_rate", Some(9.0))];
    assert_eq!(
        altered(&bench, alter(&ip, &connections)).await,
        ErrorCode::None
    );
    bench.restart(&[]).await;

    let alices = "user=alice: producer_byte_rate=1000";
    let defaults = "user=*: producer_byte_rate=2000";
    let pair = "client-id=c,user=alice: consumer_byte_rate=5,request_percentage=12.5";
    let ips = "ip=127.0.0.1: connection_creation_rate=9";
    assert_eq!(
        described(&bench, &[], false).await,
        [pair, ips, defaults, alices]
    );
    assert!(described(&bench, &[], true).await.is_empty());
    let named = [("user", 0, Some("alice"))];
    assert_eq!(described(&bench, &named, false).await, [pair, alices]);
    assert_eq!(described(&bench, &named, true).await, [alices]);
    assert_eq!(
        described(&bench, &[("user", 1, None)], false).await,
        [defaults]
    );
    let any = [("user", 2, None)];
    assert_eq!(described(&bench, &any, true).await, [defaults, alices]);
    let any_pair = [("user", 2, None), ("client-id", 2, None)];
    assert_eq!(described(&bench, &any_pair, true).await, [pair]);
    for answer in bench.ask_in_all(filter(&named, true)).await {
        assert_eq!(answer.entries.unwrap().len(), 1);
    }

    let mut validated = alter(&alice, &[("producer_byte_rate", None)]);
    validated.validate_only = true;
    assert_eq!(altered(&bench, validated).await, ErrorCode::None);
    assert_eq!(described(&bench, &named, true).await, [alices]);
    let removal = alter(&alice, &[("producer_byte_rate", None)]);
    for answer in bench.ask_in_all(removal).await {
        assert_eq!(answer.entries[0].error_code, 0);
        assert_eq!(
            answer.entries[0].entity[0].entity_name.as_deref(),
            Some("alice")
        );
    }
    assert!(described(&bench, &named, true).await.is_empty());
}

#[tokio::test]
async fn quotas_that_make_no_sense_are_refused() {
    let bench = Bench::start(&[]).await;
    let user = [("user", Some("u"))];
    let rate = [("producer_byte_rate", Some(1.0))];
    for request in [
        alter(&[], &rate),
        alter(&[("user", Some(""))], &rate),
        alter(&[("group", Some("g"))], &rate),
        alter(&[("user", Some("u")), ("user", Some("v"))], &rate),
        alter(&[("ip", Some("127.0.0.1")), ("user", Some("u"))], &rate),
        alter(&[("ip", Some("127.0.0.1"))], &rate),
        alter(&user, &[("no_such_rate", Some(1.0))]),
        alter(&user, &[("connection_creation_rate", Some(1.0))]),
        alter(&user, &[("producer_byte_rate", Some(0.0))]),
        alter(&user, &[("producer_byte_rate", Some(-1.0))]),
        alter(&user, &[("producer_byte_rate", Some(f64::NAN))]),
        alter(&user, &[("producer_byte_rate", Some(1.5))]),
        alter(&user, &[("producer_byte_rate", Some(1e300))]),
        alter(
            &user,
            &[
                ("producer_byte_rate", Some(1.0)),
                ("producer_byte_rate", None),
            ],
        ),
    ] {
        let print = format!("{request:?}");
        assert_eq!(
            altered(&bench, request).await,
            ErrorCode::InvalidRequest,
            "{print}"
        );
    }
    assert!(described(&bench, &[], false).await.is_empty());
    for (components, expected) in [
        (&[("", 0, Some("u"))][..], ErrorCode::InvalidRequest),
        (&[("group", 0, Some("u"))], ErrorCode::UnsupportedVersion),
        (&[("user", 0, None)], ErrorCode::InvalidRequest),
        (&[("user", 1, Some("u"))], ErrorCode::InvalidRequest),
        (&[("user", 2, Some("u"))], ErrorCode::InvalidRequest),
        (&[("user", 3, None)], ErrorCode::InvalidRequest),
        (
            &[("user", 2, None), ("user", 1, None)],
            ErrorCode::InvalidRequest,
        ),
        (
            &[("user", 2, None), ("ip", 1, None)],
            ErrorCode::InvalidRequest,
        ),
    ] {
        let answer = bench.ask(filter(components, false)).await;
        assert_eq!(
            ErrorCode::from(answer.error_code),
            expected,
            "{components:?}"
        );
        assert_eq!(answer.entries, None);
    }
}

/// Kafka's tool asks for credentials with the quotas of a user.
#[tokio::test]
async fn no_user_has_scram_credentials() {
    let bench = Bench::start(&[]).await;
    for users in [None, Some(vec![])] {
        let request = DescribeUserScramCredentialsRequest {
            users,
            ..Default::default()
        };
        for answer in bench.ask_in_all(request).await {
            assert_eq!((answer.error_code, answer.results), (0, vec![]));
        }
    }
    let user = |name: &str| UserName {
        name: name.into(),
        ..Default::default()
    };
    let request = DescribeUserScramCredentialsRequest {
        users: Some(vec![user("a"), user("b"), user("a")]),
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let found: Vec<_> = answer
        .results
        .iter()
        .map(|r| (&*r.user, ErrorCode::from(r.error_code)))
        .collect();
    assert_eq!(
        found,
        [
            ("a", ErrorCode::DuplicateResource),
            ("b", ErrorCode::ResourceNotFound)
        ]
    );
}

const LONG: Duration = Duration::from_secs(30);

async fn connect(address: SocketAddr, client_id: &str) -> ClientConnection {
    let options = ConnectionOptions {
        client_id: Some(client_id.into()),
        ..Default::default()
    };
    let address = address.to_string();
    ClientConnection::connect(&address, options).await.unwrap()
}

/// Who goes beyond his rate is told how long to pause; in process nobody is.
#[tokio::test]
async fn byte_rates_are_enforced_on_connections() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    let slow = [("client-id", Some("slow"))];
    let rates = [
        ("producer_byte_rate", Some(1.0)),
        ("consumer_byte_rate", Some(1.0)),
    ];
    assert_eq!(altered(&bench, alter(&slow, &rates)).await, ErrorCode::None);
    let records = batch(&["some bytes"]);
    for (client_id, limited) in [("slow", true), ("other", false)] {
        let connection = connect(address, client_id).await;
        let request = produce("t", -1, records.clone());
        let header = RequestHeader::new(ApiKey::Produce, 12, 0, Some(client_id.into()));
        let frame = request_frame(&header, &request.clone().into()).unwrap();
        let size = frame.remaining() as i32 - 4;
        let answer = connection.call(request, 12, LONG).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        // At one byte a second, ten of which are free.
        let pause = answer.throttle_time_ms;
        assert_eq!(pause, if limited { (size - 10) * 1000 } else { 0 });
        // The connection pauses now: another one has the fetch.
        let connection = connect(address, client_id).await;
        let request = fetch("t", 0, 1, 1000);
        let answer = connection.call(request, 12, LONG).await.unwrap();
        assert_eq!(answer.throttle_time_ms > 0, limited);
        assert_eq!(answer.responses.is_empty(), limited);
        assert_eq!(answer.error_code, 0);
    }
    let mut request = produce("t", -1, records);
    request.timeout_ms = 1000;
    assert_eq!(bench.ask_at(request, 12).await.throttle_time_ms, 0);
}

/// What a client may read at once is no more than its quota lets through at once.
#[tokio::test]
async fn a_fetch_is_cut_to_what_the_quota_lets_through() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let records = batch(&["some bytes"]);
    let size = records.len();
    for _ in 0..10 {
        bench.produce("t", -1, records.clone()).await;
    }
    let reader = [("client-id", Some("reader"))];
    // Five batches, and what stands around them, in ten seconds.
    let rate = [("consumer_byte_rate", Some((size / 2 + 8) as f64))];
    assert_eq!(
        altered(&bench, alter(&reader, &rate)).await,
        ErrorCode::None
    );
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    let connection = connect(address, "reader").await;
    // No more can come than what comes at once.
    let request = fetch("t", 0, 1 << 20, 60_000);
    let answer = connection.call(request, 12, LONG).await.unwrap();
    assert_eq!(answer.throttle_time_ms, 0);
    assert_eq!(values(&answer.responses[0].partitions[0]).len(), 5);
}

#[tokio::test]
async fn the_time_of_threads_is_limited() {
    let bench = Bench::start(&[]).await;
    let busy = [("client-id", Some("busy"))];
    let share = [("request_percentage", Some(1e-9))];
    assert_eq!(altered(&bench, alter(&busy, &share)).await, ErrorCode::None);
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    for (client_id, pause) in [("busy", 1000), ("other", 0)] {
        let connection = connect(address, client_id).await;
        let request = MetadataRequest::default();
        let answer = connection.call(request, 12, LONG).await.unwrap();
        assert_eq!(answer.throttle_time_ms, pause);
    }
}

/// KIP-599: versions that know the refusal are refused, older ones are made to pause.
#[tokio::test]
async fn changes_of_partitions_are_limited() {
    let bench = Bench::start(&[]).await;
    let admin = [("client-id", Some("admin"))];
    let rate = [("controller_mutation_rate", Some(0.001))];
    assert_eq!(altered(&bench, alter(&admin, &rate)).await, ErrorCode::None);
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    let create = |name: &str| CreateTopicsRequest {
        topics: vec![topic(name, 1, &[])],
        ..Default::default()
    };
    let connection = connect(address, "admin").await;
    let first = connection.call(create("a"), 7, LONG).await.unwrap();
    assert_eq!((first.topics[0].error_code, first.throttle_time_ms), (0, 0));
    let second = connection.call(create("b"), 7, LONG).await.unwrap();
    let refused = ErrorCode::ThrottlingQuotaExceeded;
    assert_eq!(code(second.topics[0].error_code), refused);
    // What is overdrawn comes back at one partition in a thousand seconds.
    let pause = |ms: i32| (980_000..=989_000).contains(&ms);
    assert!(pause(second.throttle_time_ms), "{second:?}");
    let connection = connect(address, "admin").await;
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "a".into(),
            count: 2,
            assignments: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let more = connection.call(request, 3, LONG).await.unwrap();
    assert_eq!(code(more.results[0].error_code), refused);
    assert!(pause(more.throttle_time_ms), "{more:?}");
    let connection = connect(address, "admin").await;
    let by_name = || DeleteTopicState {
        name: Some("a".into()),
        ..Default::default()
    };
    let request = DeleteTopicsRequest {
        topics: vec![by_name()],
        ..Default::default()
    };
    let deleted = connection.call(request, 6, LONG).await.unwrap();
    assert_eq!(code(deleted.responses[0].error_code), refused);
    assert!(pause(deleted.throttle_time_ms), "{deleted:?}");
    // Nor is a topic made by asking for it.
    let connection = connect(address, "admin").await;
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("c".into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    let asked = connection.call(request, 12, LONG).await.unwrap();
    let missing = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(code(asked.topics[0].error_code), missing);
    assert_eq!(bench.names().await, ["a"]);
    let lenient = connection.call(create("b"), 5, LONG).await.unwrap();
    assert_eq!(lenient.topics[0].error_code, 0);
    assert!(lenient.throttle_time_ms > 1_900_000, "{lenient:?}");
    assert_eq!(bench.names().await, ["a", "b"]);
}

#[tokio::test]
async fn connections_of_an_address_are_limited() {
    let settings = [("max.connections.per.ip", "2")];
    let bench = Bench::start(&settings).await;
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    let ask = async |connection: &ClientConnection| {
        let request = MetadataRequest::default();
        connection.call(request, 12, LONG).await.map(drop)
    };
    let (first, second) = (connect(address, "a").await, connect(address, "b").await);
    ask(&first).await.unwrap();
    ask(&second).await.unwrap();
    let third = connect(address, "c").await;
    assert!(ask(&third).await.unwrap_err().is_disconnect());
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 4,
            configs: vec![AlterableConfig {
                name: "max.connections.per.ip.overrides".into(),
                value: Some("127.0.0.1:3".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let changed = bench.ask(request).await;
    assert_eq!(changed.responses[0].error_code, 0, "{changed:?}");
    let third = connect(address, "c").await;
    ask(&third).await.unwrap();
    let fourth = connect(address, "d").await;
    assert!(ask(&fourth).await.unwrap_err().is_disconnect());
    ask(&first).await.unwrap();
}

/// Ten connections are free at one a second; the next one is closed after a while.
#[tokio::test]
async fn an_address_connects_no_faster_than_it_may() {
    let bench = Bench::start(&[]).await;
    let ip = [("ip", None)];
    let rate = [("connection_creation_rate", Some(1.0))];
    assert_eq!(altered(&bench, alter(&ip, &rate)).await, ErrorCode::None);
    let address = bench.broker.listen("127.0.0.1:0").await.unwrap();
    for n in 0..11 {
        let connection = connect(address, "c").await;
        let request = MetadataRequest::default();
        let answer = connection.call(request, 12, LONG).await;
        assert_eq!(answer.is_ok(), n < 10, "{n}");
    }
}
