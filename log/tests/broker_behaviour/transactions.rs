//! The transaction APIs, version by version, and the abort of a transaction that hangs.

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

use crate::bench::*;

type Producer = (i64, i16);

fn transactional((id, epoch): Producer, sequence: i32, value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.producer(id, epoch, sequence).transactional(true);
    batch.append(1, None, Some(value.as_bytes()), &[]).unwrap();
    batch.build().unwrap()
}

impl Bench {
    async fn init(&self, id: &str) -> Producer {
        let find = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![Str::from(id)],
            ..Default::default()
        };
        assert_eq!(self.ask(find).await.coordinators[0].error_code, 0);
        let init = InitProducerIdRequest {
            transactional_id: Some(Str::from(id)),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let made = self.ask(init).await;
        assert_eq!(made.error_code, 0);
        (made.producer_id, made.producer_epoch)
    }

    async fn add(&self, id: &str, at: Producer, topics: &[&str], version: i16) -> Vec<ErrorCode> {
        let topics = topics.iter().map(|name| AddPartitionsToTxnTopic {
            name: Str::from(*name),
            partitions: vec![0],
            ..Default::default()
        });
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: Str::from(id),
            v3_and_below_producer_id: at.0,
            v3_and_below_producer_epoch: at.1,
            v3_and_below_topics: topics.collect(),
            ..Default::default()
        };
        let answer = self.ask_at(request, version).await;
        let topics = answer.results_by_topic_v3_and_below.iter();
        topics
            .map(|t| code(t.results_by_partition[0].partition_error_code))
            .collect()
    }

    async fn end(&self, id: &str, at: Producer, committed: bool, version: i16) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: Str::from(id),
            producer_id: at.0,
            producer_epoch: at.1,
            committed,
            ..Default::default()
        };
        self.ask_at(request, version).await
    }

    async fn write(
        &self,
        id: Option<&str>,
        topic: &str,
        records: Bytes,
        version: i16,
    ) -> ErrorCode {
        let request = ProduceRequest {
            transactional_id: id.map(Str::from),
            ..produce(topic, -1, records)
        };
        let answer = self.ask_at(request, version).await;
        code(answer.responses[0].partition_responses[0].error_code)
    }

    async fn describe_transaction(&self, id: &str) -> DescribedTransaction {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![Str::from(id)],
            ..Default::default()
        };
        self.ask(request).await.transaction_states.remove(0)
    }

    /// What a reader of committed records sees: the last stable offset, and the values.
    async fn committed(&self, topic: &str) -> (i64, Vec<String>) {
        let request = FetchRequest {
            isolation_level: 1,
            ..fetch(topic, 0, 0, 0)
        };
        let answer = self.ask_at(request, 12).await;
        let data = &answer.responses[0].partitions[0];
        (data.last_stable_offset, values(data))
    }
}

#[tokio::test]
async fn a_batch_outside_of_its_transaction_is_refused_as_its_version_knows() {
    let bench = Bench::start(&[]).await;
    for topic in ["t", "u"] {
        bench.create(topic, 1, &[]).await;
    }
    let me = bench.init("tx").await;
    let id = Some("tx");
    assert_eq!(bench.add("tx", me, &["t"], 3).await, [ErrorCode::None]);
    assert_eq!(
        bench.write(id, "t", transactional(me, 0, "a"), 10).await,
        ErrorCode::None
    );
    let not_added = transactional(me, 0, "b");
    for (version, expected) in [
        (3, ErrorCode::InvalidTxnState),
        (10, ErrorCode::InvalidTxnState),
        (11, ErrorCode::TransactionAbortable),
        (12, ErrorCode::None),
    ] {
        let found = bench.write(id, "u", not_added.clone(), version).await;
        assert_eq!(found, expected, "version {version}");
    }
    assert_eq!(bench.describe_transaction("tx").await.topics.len(), 2);
    let fenced = transactional((me.0, me.1 + 1), 0, "c");
    let stranger = transactional((me.0 + 1, 0), 0, "d");
    for version in [10, 11, 12] {
        let found = bench.write(id, "u", fenced.clone(), version).await;
        assert_eq!(found, ErrorCode::InvalidProducerEpoch, "version {version}");
        let found = bench.write(id, "u", stranger.clone(), version).await;
        assert_eq!(
            found,
            ErrorCode::InvalidProducerIdMapping,
            "version {version}"
        );
        let found = bench.write(None, "u", stranger.clone(), version).await;
        assert_eq!(found, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    assert_eq!(bench.end("tx", me, true, 4).await.error_code, 0);
    assert_eq!(bench.committed("u").await, (2, vec!["b".to_owned()]));
}

#[tokio::test]
async fn a_partition_that_is_not_there_adds_none() {
    let bench = Bench::start(&[("auto.create.topics.enable", "false")]).await;
    bench.create("t", 1, &[]).await;
    let me = bench.init("tx").await;
    let codes = bench.add("tx", me, &["nope", "t"], 3).await;
    let expected = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::OperationNotAttempted,
    ];
    assert_eq!(codes, expected);
    let found = bench
        .write(Some("tx"), "nope", transactional(me, 0, "a"), 12)
        .await;
    assert_eq!(found, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        bench.describe_transaction("tx").await.transaction_state,
        "Empty"
    );
}

#[tokio::test]
async fn a_fenced_producer_is_told_in_words_it_knows() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let old = bench.init("tx").await;
    let new = bench.init("tx").await;
    assert_eq!(new, (old.0, old.1 + 1));
    let (before, since) = (ErrorCode::InvalidProducerEpoch, ErrorCode::ProducerFenced);
    for (version, expected) in [(0, before), (1, before), (2, since), (3, since)] {
        assert_eq!(bench.add("tx", old, &["t"], version).await, [expected]);
        let ended = bench.end("tx", old, true, version).await;
        assert_eq!(code(ended.error_code), expected);
        let request = AddOffsetsToTxnRequest {
            transactional_id: Str::from("tx"),
            producer_id: old.0,
            producer_epoch: old.1,
            group_id: Str::from("g"),
            ..Default::default()
        };
        let added = bench.ask_at(request, version).await;
        assert_eq!(code(added.error_code), expected);
    }
    let init = InitProducerIdRequest {
        transactional_id: Some(Str::from("tx")),
        transaction_timeout_ms: 60_000,
        producer_id: old.0,
        producer_epoch: old.1,
        ..Default::default()
    };
    for (version, expected) in [(3, before), (4, since)] {
        let found = bench.ask_at(init.clone(), version).await;
        assert_eq!(code(found.error_code), expected);
        assert_eq!((found.producer_id, found.producer_epoch), (-1, -1));
    }
}

#[tokio::test]
async fn transactions_are_listed_by_state_producer_duration_and_name() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let open = bench.init("orders-open").await;
    bench.add("orders-open", open, &["t"], 3).await;
    let empty = bench.init("payments").await;
    let list = async |request: ListTransactionsRequest| {
        let found = bench.ask(request).await;
        let mut ids: Vec<_> = found.transaction_states.iter().collect();
        ids.sort_by_key(|t| t.producer_id);
        let ids: Vec<_> = ids.iter().map(|t| t.transactional_id.to_string()).collect();
        (found.error_code, found.unknown_state_filters, ids)
    };
    let all = ListTransactionsRequest::default;
    let ids = |ids: &[&str]| {
        (
            0,
            vec![],
            ids.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(list(all()).await, ids(&["orders-open", "payments"]));
    let states = |names: &[&'static str]| ListTransactionsRequest {
        state_filters: names.iter().map(|n| Str::from_static(n)).collect(),
        ..all()
    };
    assert_eq!(list(states(&["Ongoing"])).await, ids(&["orders-open"]));
    let (_, unknown, found) = list(states(&["Nope"])).await;
    assert_eq!((unknown, found), (vec![Str::from("Nope")], vec![]));
    let by_producer = ListTransactionsRequest {
        producer_id_filters: vec![empty.0],
        ..all()
    };
    assert_eq!(list(by_producer).await, ids(&["payments"]));
    let by_duration = ListTransactionsRequest {
        duration_filter: 3_600_000,
        state_filters: vec![Str::from("Ongoing")],
        ..all()
    };
    assert_eq!(list(by_duration).await, ids(&[]));
    let pattern = |pattern: &'static str| ListTransactionsRequest {
        transactional_id_pattern: Some(Str::from_static(pattern)),
        ..all()
    };
    assert_eq!(list(pattern("orders-.*")).await, ids(&["orders-open"]));
    assert_eq!(list(pattern("orders")).await, ids(&[]));
    let (invalid, _, _) = list(pattern("(")).await;
    assert_eq!(code(invalid), ErrorCode::InvalidRegularExpression);
}

#[tokio::test]
async fn an_open_transaction_is_committed_after_a_restart() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let me = bench.init("tx").await;
    let id = Some("tx");
    assert_eq!(
        bench.write(id, "t", transactional(me, 0, "a"), 12).await,
        ErrorCode::None
    );
    bench.restart(&[]).await;
    assert_eq!(bench.committed("t").await, (0, vec![]));
    assert_eq!(
        bench.write(id, "t", transactional(me, 1, "b"), 12).await,
        ErrorCode::None
    );
    let ended = bench.end("tx", me, true, 5).await;
    assert_eq!((ended.error_code, ended.producer_epoch), (0, me.1 + 1));
    let again = bench.end("tx", me, true, 5).await;
    assert_eq!((again.error_code, again.producer_epoch), (0, me.1 + 1));
    assert_eq!(
        bench.committed("t").await,
        (3, vec!["a".to_owned(), "b".to_owned()])
    );
}

#[tokio::test]
async fn a_deleted_topic_does_not_hold_its_transaction_up() {
    let bench = Bench::start(&[]).await;
    for topic in ["t", "u"] {
        bench.create(topic, 1, &[]).await;
    }
    let me = bench.init("tx").await;
    for topic in ["t", "u"] {
        let batch = transactional(me, 0, topic);
        assert_eq!(
            bench.write(Some("tx"), topic, batch, 12).await,
            ErrorCode::None
        );
    }
    let delete = DeleteTopicsRequest {
        topic_names: vec![Str::from("u")],
        ..Default::default()
    };
    assert_eq!(bench.ask_at(delete, 5).await.responses[0].error_code, 0);
    assert_eq!(bench.end("tx", me, true, 5).await.error_code, 0);
    let found = bench.describe_transaction("tx").await;
    assert_eq!(found.transaction_state, "CompleteCommit");
    assert_eq!(bench.committed("t").await, (2, vec!["t".to_owned()]));
}

/// A transaction that no coordinator knows of, as versions of Kafka without verification could
/// leave behind: found and aborted the way `kafka-transactions.sh` does it.
#[tokio::test]
async fn a_hanging_transaction_is_found_and_aborted() {
    let off = ("transaction.partition.verification.enable", "false");
    let bench = Bench::start(&[off]).await;
    bench.create("t", 1, &[]).await;
    let lost = (4711, 3);
    let found = bench
        .write(Some("lost"), "t", transactional(lost, 0, "a"), 11)
        .await;
    assert_eq!(found, ErrorCode::None);
    bench.produce("t", -1, batch(&["b"])).await;
    assert_eq!(bench.committed("t").await, (0, vec![]));
    let describe = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: Str::from("t"),
            partition_indexes: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = bench.ask(describe).await;
    let producer = &answer.topics[0].partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch), (4711, 3));
    assert_eq!(producer.current_txn_start_offset, 0);
    assert_eq!(producer.coordinator_epoch, -1);
    let abort = |epoch: i16, topic: &str| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: 4711,
            producer_epoch: epoch,
            transaction_result: false,
            coordinator_epoch: 0,
            topics: vec![WritableTxnMarkerTopic {
                name: Str::from(topic),
                partition_indexes: vec![0],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let result = async |request: WriteTxnMarkersRequest| {
        let answer = bench.ask(request).await;
        code(answer.markers[0].topics[0].partitions[0].error_code)
    };
    let unknown = result(abort(3, "nope")).await;
    assert_eq!(unknown, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(result(abort(2, "t")).await, ErrorCode::InvalidProducerEpoch);
    assert_eq!(result(abort(3, "t")).await, ErrorCode::None);
    assert_eq!(bench.committed("t").await.0, 3);
}
