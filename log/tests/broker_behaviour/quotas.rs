//! Client quotas: set, described by every kind of filter, kept over restarts, refused when they make no sense.

use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

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

/// Who goes beyond his rate is told how long to pause; in process nobody is.
#[tokio::test]
async fn byte_rates_are_enforced_on_connections() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let address = bench
        .broker
        .listen("127.0.0.1:0")
        .await
        .unwrap()
        .to_string();
    let connect = async |client_id: &str| {
        let options = ConnectionOptions {
            client_id: Some(client_id.into()),
            ..Default::default()
        };
        ClientConnection::connect(&address, options).await.unwrap()
    };
    let slow = [("client-id", Some("slow"))];
    let rates = [
        ("producer_byte_rate", Some(1.0)),
        ("consumer_byte_rate", Some(1.0)),
    ];
    assert_eq!(altered(&bench, alter(&slow, &rates)).await, ErrorCode::None);
    let long = std::time::Duration::from_secs(30);
    let records = batch(&["some bytes"]);
    let size = records.len() as i32;
    for (client_id, limited) in [("slow", true), ("other", false)] {
        let connection = connect(client_id).await;
        let request = produce("t", -1, records.clone());
        let answer = connection.call(request, 12, long).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        // At one byte a second, ten of which are free.
        let pause = answer.throttle_time_ms;
        assert_eq!(pause, if limited { (size - 10) * 1000 } else { 0 });
        // The connection pauses now: another one has the fetch.
        let connection = connect(client_id).await;
        let request = fetch("t", 0, 1, 1000);
        let answer = connection.call(request, 12, long).await.unwrap();
        assert_eq!(answer.throttle_time_ms > 0, limited);
    }
    let mut request = produce("t", -1, records);
    request.timeout_ms = 1000;
    assert_eq!(bench.ask_at(request, 12).await.throttle_time_ms, 0);
}
