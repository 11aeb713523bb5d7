//! Transactions of both versions: commit, abort, offsets, fencing, and calls that do not fit.

use thalweg_log::record::Compression;
use thalweg_log::wire::messages::*;

use crate::pair::{Pair, Side, batch};
use crate::records::{fetch, produce};

fn init(id: &str, timeout: i32) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: timeout,
        ..Default::default()
    }
}

async fn begin(pair: &mut Pair, id: &str, version: i16) {
    let answers = pair.patient("begin", version, |_| init(id, 30_000)).await;
    if let Some((kafka, ours)) = answers {
        pair.kafka
            .keep_producer(id, kafka.producer_id, kafka.producer_epoch);
        pair.ours
            .keep_producer(id, ours.producer_id, ours.producer_epoch);
    }
}

fn add(side: &Side, id: &str, topics: &[&str], epoch: i16) -> AddPartitionsToTxnRequest {
    let (producer, own) = side.producer(id);
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.into(),
        v3_and_below_producer_id: producer,
        v3_and_below_producer_epoch: own + epoch,
        v3_and_below_topics: topics
            .iter()
            .map(|name| AddPartitionsToTxnTopic {
                name: (*name).into(),
                partitions: vec![0],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn end(side: &Side, id: &str, epoch: i16, committed: bool) -> EndTxnRequest {
    let (producer, own) = side.producer(id);
    EndTxnRequest {
        transactional_id: id.into(),
        producer_id: producer,
        producer_epoch: own + epoch,
        committed,
        ..Default::default()
    }
}

fn send(side: &Side, version: i16, id: &str, sequence: i32) -> ProduceRequest {
    let (producer, epoch) = side.producer(id);
    let records = batch(
        2,
        Compression::None,
        Some((producer, epoch, sequence, true)),
    );
    let mut request = produce(side, version, "txn", 0, -1, Some(records));
    request.transactional_id = Some(id.into());
    request
}

fn commit_offsets(side: &Side, id: &str, group: &str) -> TxnOffsetCommitRequest {
    let (producer, epoch) = side.producer(id);
    TxnOffsetCommitRequest {
        transactional_id: id.into(),
        group_id: group.into(),
        producer_id: producer,
        producer_epoch: epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "txn".into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 4,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The protocol that adds partitions on its own.
pub(crate) async fn version_1(pair: &mut Pair) {
    pair.create("txn", 1, &[]).await;
    pair.all("of a transaction", |_, version| FindCoordinatorRequest {
        key: if version <= 3 {
            "t".into()
        } else {
            Default::default()
        },
        key_type: i8::from(version >= 1),
        coordinator_keys: if version >= 4 {
            vec!["t".into()]
        } else {
            vec![]
        },
        ..Default::default()
    })
    .await;
    for version in 0..=5 {
        for (what, timeout) in [("no time", 0), ("too much time", i32::MAX)] {
            pair.patient(what, version, |_| init("timeouts", timeout))
                .await;
        }
        pair.ask("an empty id", version, |_| init("", 1000)).await;
    }
    for version in 0..=3 {
        let id = format!("one-{version}");
        begin(pair, &id, version.min(4)).await;
        pair.ask("not added", 9, |side| send(side, 9, &id, 0)).await;
        pair.ask("nothing to end", version.min(4), |side| {
            end(side, &id, 0, true)
        })
        .await;
        pair.ask("no such topic", version, |side| {
            add(side, &id, &["txn", "nowhere"], 0)
        })
        .await;
        pair.ask("another epoch", version, |side| add(side, &id, &["txn"], 1))
            .await;
        pair.ask("an unknown id", version, |side| {
            let mut request = add(side, &id, &["txn"], 0);
            request.v3_and_below_transactional_id = "unknown".into();
            request
        })
        .await;
        pair.ask("add", version, |side| add(side, &id, &["txn"], 0))
            .await;
        pair.ask("transactional", 9, |side| send(side, 9, &id, 0))
            .await;
        pair.ask("with an open transaction", 12, |side| {
            let mut request = fetch(side, 12, "txn", 0, 0, 1 << 20);
            request.isolation_level = 1;
            request.topics[0].partitions[0].fetch_offset = 0;
            request
        })
        .await;
        pair.ask("offsets", version.min(4), |side| {
            let (producer, epoch) = side.producer(&id);
            AddOffsetsToTxnRequest {
                transactional_id: id.as_str().into(),
                producer_id: producer,
                producer_epoch: epoch,
                group_id: "txn-group".into(),
                ..Default::default()
            }
        })
        .await;
        pair.patient("offsets", version, |side| {
            commit_offsets(side, &id, "txn-group")
        })
        .await;
        pair.ask("a pending offset", 7, |_| OffsetFetchRequest {
            group_id: "txn-group".into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "txn".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            require_stable: true,
            ..Default::default()
        })
        .await;
        pair.ask("described", 0, |_| DescribeTransactionsRequest {
            transactional_ids: vec![id.as_str().into(), "nobody".into()],
            ..Default::default()
        })
        .await;
        let committed = version % 2 == 0;
        pair.ask("another epoch", version.min(4), |side| {
            end(side, &id, 1, committed)
        })
        .await;
        pair.ask("end", version.min(4), |side| end(side, &id, 0, committed))
            .await;
        pair.patient("again", version.min(4), |side| end(side, &id, 0, committed))
            .await;
        pair.ask("the other way", version.min(4), |side| {
            end(side, &id, 0, !committed)
        })
        .await;
        begin(pair, &id, 4).await;
        pair.ask("a fenced epoch", 9, |side| {
            let (producer, epoch) = side.producer(&id);
            let producer = (producer, epoch - 1, 2, true);
            let records = batch(1, Compression::None, Some(producer));
            let mut request = produce(side, 9, "txn", 0, -1, Some(records));
            request.transactional_id = Some(id.as_str().into());
            request
        })
        .await;
        pair.ask("a fenced end", 4, |side| end(side, &id, -1, true))
            .await;
    }
    for isolation in 0..=1 {
        pair.all("in the end", |side, version| {
            let mut request = fetch(side, version, "txn", 0, 0, 1 << 20);
            request.isolation_level = isolation;
            request
        })
        .await;
    }
    pair.all("the last stable offset", |_, version| ListOffsetsRequest {
        replica_id: -1,
        isolation_level: i8::from(version >= 2),
        topics: vec![ListOffsetsTopic {
            name: "txn".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

/// The protocol of KIP-890: partitions are added by what is produced, epochs grow with each end.
pub(crate) async fn version_2(pair: &mut Pair) {
    for version in 12..=13 {
        let id = format!("two-{version}");
        begin(pair, &id, 5).await;
        for committed in [true, false, true] {
            pair.patient("added by producing", version, |side| {
                send(side, version, &id, 0)
            })
            .await;
            pair.ask("offsets", 5, |side| {
                commit_offsets(side, &id, "txn-group-2")
            })
            .await;
            let ended = pair
                .ask("end", 5, |side| end(side, &id, 0, committed))
                .await;
            pair.patient("end again", 5, |side| end(side, &id, 0, committed))
                .await;
            if let Some((kafka, ours)) = ended {
                pair.kafka
                    .keep_producer(&id, kafka.producer_id, kafka.producer_epoch);
                pair.ours
                    .keep_producer(&id, ours.producer_id, ours.producer_epoch);
            }
        }
        pair.ask("nothing to commit", 5, |side| end(side, &id, 0, true))
            .await;
        let ended = pair
            .patient("nothing to abort", 5, |side| end(side, &id, 0, false))
            .await;
        if let Some((kafka, ours)) = ended {
            pair.kafka
                .keep_producer(&id, kafka.producer_id, kafka.producer_epoch);
            pair.ours
                .keep_producer(&id, ours.producer_id, ours.producer_epoch);
        }
        pair.ask("an old epoch", version, |side| {
            let (producer, epoch) = side.producer(&id);
            let old = (producer, epoch - 1, 0, true);
            let records = batch(1, Compression::None, Some(old));
            let mut request = produce(side, version, "txn", 0, -1, Some(records));
            request.transactional_id = Some(id.as_str().into());
            request
        })
        .await;
    }
    pair.ask("in the end", 12, |side| {
        let mut request = fetch(side, 12, "txn", 0, 0, 1 << 20);
        request.isolation_level = 1;
        request
    })
    .await;
}
