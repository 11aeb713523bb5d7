//! What readers of committed records are shown, and when.

use std::time::Duration;

use bytes::Bytes;
use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Str};

use crate::bench::*;

const ID: &str = "writer";

struct Writer {
    producer_id: i64,
    epoch: i16,
}

impl Writer {
    async fn new(bench: &Bench) -> Self {
        let request = InitProducerIdRequest {
            transactional_id: Some(Str::from(ID)),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let find = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![Str::from(ID)],
            ..Default::default()
        };
        // The first to ask has the coordinator's topic made.
        let answer = loop {
            bench.ask(find.clone()).await;
            let answer = bench.ask(request.clone()).await;
            match code(answer.error_code) {
                ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress => tokio::task::yield_now().await,
                ErrorCode::None => break answer,
                other => panic!("{other}"),
            }
        };
        Self {
            producer_id: answer.producer_id,
            epoch: answer.producer_epoch,
        }
    }

    async fn produce(&self, bench: &Bench, sequence: i32, value: &str) -> i64 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch
            .producer(self.producer_id, self.epoch, sequence)
            .transactional(true);
        batch
            .append(1_700_000_000_000, None, Some(value.as_bytes()), &[])
            .unwrap();
        let request = ProduceRequest {
            transactional_id: Some(Str::from(ID)),
            ..produce("t", -1, batch.build().unwrap())
        };
        loop {
            let answer = bench.ask_at(request.clone(), 12).await;
            let answer = &answer.responses[0].partition_responses[0];
            match code(answer.error_code) {
                // The markers of the transaction before are under way, or the coordinator loads.
                ErrorCode::ConcurrentTransactions
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::CoordinatorLoadInProgress => tokio::task::yield_now().await,
                ErrorCode::None => return answer.base_offset,
                other => panic!("{other}: {:?}", answer.error_message),
            }
        }
    }

    async fn end(&mut self, bench: &Bench, committed: bool) {
        let request = EndTxnRequest {
            transactional_id: Str::from(ID),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed,
            ..Default::default()
        };
        let answer = bench.ask(request).await;
        assert_eq!(answer.error_code, 0);
        (self.producer_id, self.epoch) = (answer.producer_id, answer.producer_epoch);
    }
}

fn committed(offset: i64, min_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        isolation_level: 1,
        ..fetch("t", offset, min_bytes, max_wait_ms)
    }
}

async fn stable_end(bench: &Bench, isolation_level: i8) -> i64 {
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level,
        topics: vec![ListOffsetsTopic {
            name: Str::from("t"),
            partitions: vec![ListOffsetsPartition {
                timestamp: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    bench.ask(request).await.topics[0].partitions[0].offset
}

#[tokio::test]
async fn readers_of_committed_records_wait_for_the_end_of_the_transaction() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let mut writer = Writer::new(&bench).await;
    assert_eq!(writer.produce(&bench, 0, "a").await, 0);

    let data = bench.fetch("t", 0, 1, 0).await;
    assert_eq!(values(&data), ["a"]);
    assert_eq!((data.high_watermark, data.last_stable_offset), (1, 0));
    assert_eq!(data.aborted_transactions, None, "who reads all asks not");
    let data = bench.ask_at(committed(0, 1, 0), 12).await;
    let data = &data.responses[0].partitions[0];
    assert_eq!(data.records, Some(Bytes::new()));
    assert_eq!((data.high_watermark, data.last_stable_offset), (1, 0));
    assert_eq!(data.aborted_transactions.as_deref(), Some(&[][..]));
    assert_eq!(
        (stable_end(&bench, 0).await, stable_end(&bench, 1).await),
        (1, 0)
    );

    // It waits through what others append behind the transaction, and wakes with its end.
    let transport = bench.broker.transport();
    let request = committed(0, 1, 60_000).into_request();
    let waiting =
        transport.call(Call::new(Destination::Any, request, Duration::from_secs(90)).at_most(12));
    bench.produce("t", -1, batch(&["b"])).await;
    writer.end(&bench, false).await;
    let answered = FetchRequest::response_of(waiting.await.unwrap().response).unwrap();
    let data = &answered.responses[0].partitions[0];
    assert_eq!((data.high_watermark, data.last_stable_offset), (3, 3));
    let aborted = data.aborted_transactions.as_deref().unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!(
        (aborted[0].producer_id, aborted[0].first_offset),
        (writer.producer_id, 0)
    );
    // Behind it nothing is aborted.
    let data = bench.ask_at(committed(3, 1, 0), 12).await;
    let data = &data.responses[0].partitions[0];
    assert_eq!(data.aborted_transactions.as_deref(), Some(&[][..]));

    // With version 2 the next transaction has the next epoch, and begins at 0.
    assert_eq!(writer.produce(&bench, 0, "c").await, 3);
    writer.end(&bench, true).await;
    assert_eq!(stable_end(&bench, 1).await, 5);
    let data = bench.ask_at(committed(3, 1, 0), 12).await;
    let data = &data.responses[0].partitions[0];
    assert_eq!(data.aborted_transactions.as_deref(), Some(&[][..]));
}

#[tokio::test]
async fn what_is_undecided_stays_so_over_a_restart() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let mut writer = Writer::new(&bench).await;
    writer.produce(&bench, 0, "a").await;
    writer.produce(&bench, 1, "b").await;
    bench.restart(&[]).await;
    assert_eq!(
        (stable_end(&bench, 0).await, stable_end(&bench, 1).await),
        (2, 0)
    );
    // It goes on where it was.
    assert_eq!(writer.produce(&bench, 2, "c").await, 2);
    writer.end(&bench, true).await;
    assert_eq!(stable_end(&bench, 1).await, 4);
}
