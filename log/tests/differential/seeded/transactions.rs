//! Transactions of both versions, mixed on purpose.

use std::time::{Duration, Instant};

use thalweg_log::wire::messages::*;

use super::records::{Drawn, remember, sequenced};
use super::world::World;
use crate::pair::Pair;
use crate::records::produce;

pub(super) async fn step(pair: &mut Pair, world: &mut World) {
    let slot = world.draw.below(3);
    let id = world.name(&format!("x{slot}"));
    if pair.kafka.producer(&id).0 < 0 || world.draw.chance(8) {
        return begin(pair, world, &id).await;
    }
    match world.draw.below(20) {
        0..=2 => add_partitions(pair, world, &id).await,
        3..=8 => send(pair, world, &id).await,
        9 => add_offsets(pair, world, &id).await,
        10..=11 => commit_offsets(pair, world, &id).await,
        12..=16 => end(pair, world, &id).await,
        17 => {
            let nobody = world.name("nobody");
            pair.read("seeded", 0, |_| DescribeTransactionsRequest {
                transactional_ids: vec![id.as_str().into(), nobody.as_str().into()],
                ..Default::default()
            })
            .await;
        }
        18 => list(pair, world).await,
        _ => marker(pair, world, &id).await,
    }
}

async fn begin(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<InitProducerIdRequest>();
    let timeout = world.draw.mostly(120_000, &[0, -1, i32::MAX, 60_000]);
    // A producer that bumps its own epoch (KIP-360), rightly or not.
    let own = version >= 3 && world.draw.chance(35);
    let (delta, other) = (world.draw.mostly(0, &[-1, 1]), world.draw.chance(8));
    let answers = pair
        .patient("seeded", version, |side| {
            let (producer, epoch) = side.producer(id);
            let own = own && producer >= 0;
            InitProducerIdRequest {
                transactional_id: Some(id.into()),
                transaction_timeout_ms: timeout,
                producer_id: if own {
                    producer + i64::from(other) * 7_777
                } else {
                    -1
                },
                producer_epoch: if own {
                    epoch.wrapping_add(delta).max(0)
                } else {
                    -1
                },
                ..Default::default()
            }
        })
        .await;
    let Some((kafka, ours)) = answers else { return };
    if kafka.error_code == 0 && ours.error_code == 0 {
        pair.kafka
            .keep_producer(id, kafka.producer_id, kafka.producer_epoch);
        pair.ours
            .keep_producer(id, ours.producer_id, ours.producer_epoch);
    }
    decided(pair, id).await;
}

async fn add_partitions(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.between(thalweg_log::wire::ApiKey::AddPartitionsToTxn, 0, 3);
    let topic = world.topic();
    let partition = world.partition(&topic);
    let delta = world.draw.mostly(0, &[-1, 1]);
    pair.patient("seeded", version, |side| {
        let (producer, epoch) = side.producer(id);
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.into(),
            v3_and_below_producer_id: producer,
            v3_and_below_producer_epoch: epoch.wrapping_add(delta).max(0),
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.as_str().into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }
    })
    .await;
}

async fn send(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<ProduceRequest>();
    let topic = world.topic();
    if let Some(known) = world.topics.get_mut(&topic) {
        known.transactional = true;
    }
    let partition = world.partition(&topic);
    let bad = world.draw.chance(20);
    let batch = Drawn::new(world, bad);
    let writer = sequenced(pair, world, id.to_owned(), &topic, partition, true);
    let named = world
        .draw
        .mostly(Some(id.to_owned()), &[None, Some(world.name("nobody"))]);
    let answers = pair
        .patient("seeded", version, |side| {
            let records = batch.bytes(side, Some(&writer));
            let mut request = produce(side, version, &topic, partition, -1, Some(records));
            request.transactional_id = named.as_deref().map(Into::into);
            request
        })
        .await;
    if let Some((kafka, _)) = answers {
        remember(
            pair,
            world,
            &writer,
            &topic,
            partition,
            batch.count(),
            &kafka,
        );
    }
}

async fn add_offsets(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<AddOffsetsToTxnRequest>();
    let group = world.name("g0");
    let delta = world.draw.mostly(0, &[-1, 1]);
    let group = world.draw.mostly(group, &[String::new()]);
    pair.patient("seeded", version, |side| {
        let (producer, epoch) = side.producer(id);
        AddOffsetsToTxnRequest {
            transactional_id: id.into(),
            producer_id: producer,
            producer_epoch: epoch.wrapping_add(delta).max(0),
            group_id: group.as_str().into(),
            ..Default::default()
        }
    })
    .await;
}

async fn commit_offsets(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<TxnOffsetCommitRequest>();
    let group = world.draw.pick(&["g0", "g0", "g1", "fresh"]);
    let group = world.name(group);
    let topic = world.topic();
    let partition = world.partition(&topic);
    let delta = world.draw.mostly(0, &[-1, 1]);
    let offset = world.draw.mostly(5, &[0, -1, i64::MAX]);
    let generation = world.draw.mostly(-1, &[0, 1, 9]);
    let member = world.draw.mostly(String::new(), &["nobody".to_owned()]);
    pair.patient("seeded", version, |side| {
        let (producer, epoch) = side.producer(id);
        TxnOffsetCommitRequest {
            transactional_id: id.into(),
            group_id: group.as_str().into(),
            producer_id: producer,
            producer_epoch: epoch.wrapping_add(delta).max(0),
            generation_id: if version >= 3 { generation } else { -1 },
            member_id: if version >= 3 {
                member.as_str().into()
            } else {
                Default::default()
            },
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.as_str().into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: offset,
                    committed_metadata: Some("m".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    })
    .await;
    if world.draw.chance(50) {
        let stable = world.draw.chance(50);
        let version = world.between(thalweg_log::wire::ApiKey::OffsetFetch, 7, 7);
        pair.read("seeded", version, |_| OffsetFetchRequest {
            group_id: group.as_str().into(),
            topics: None,
            require_stable: stable,
            ..Default::default()
        })
        .await;
    }
}

async fn end(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<EndTxnRequest>();
    let committed = world.draw.chance(60);
    let delta = world.draw.mostly(0, &[-1, 1]);
    let answers = pair
        .patient("seeded", version, |side| {
            let (producer, epoch) = side.producer(id);
            EndTxnRequest {
                transactional_id: id.into(),
                producer_id: producer,
                producer_epoch: epoch.wrapping_add(delta).max(0),
                committed,
                ..Default::default()
            }
        })
        .await;
    let Some((kafka, ours)) = answers else { return };
    if kafka.error_code == 0 && ours.error_code == 0 && version >= 5 {
        pair.kafka
            .keep_producer(id, kafka.producer_id, kafka.producer_epoch);
        pair.ours
            .keep_producer(id, ours.producer_id, ours.producer_epoch);
    }
    decided(pair, id).await;
}

async fn list(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<ListTransactionsRequest>();
    let state = world
        .draw
        .pick(&["", "Ongoing", "Empty", "CompleteCommit", "NoSuchState"]);
    let pattern = format!("s{}-.*", world.seed);
    pair.read("seeded", version, |_| ListTransactionsRequest {
        state_filters: if state.is_empty() {
            vec![]
        } else {
            vec![state.into()]
        },
        duration_filter: -1,
        transactional_id_pattern: (version >= 2).then(|| pattern.as_str().into()),
        ..Default::default()
    })
    .await;
}

/// A marker written past the coordinator, as the abort of a hanging transaction does.
async fn marker(pair: &mut Pair, world: &mut World, id: &str) {
    let version = world.draw.version::<WriteTxnMarkersRequest>();
    let topic = world.topic();
    let partition = world.partition(&topic);
    let delta = world.draw.mostly(0, &[-1, 1]);
    let (commit, coordinator) = (world.draw.chance(20), world.draw.mostly(0, &[-1, 1]));
    pair.ask("seeded", version, |side| {
        let (producer, epoch) = side.producer(id);
        WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: producer,
                producer_epoch: epoch.wrapping_add(delta).max(0),
                transaction_result: commit,
                topics: vec![WritableTxnMarkerTopic {
                    name: topic.as_str().into(),
                    partition_indexes: vec![partition],
                    ..Default::default()
                }],
                coordinator_epoch: coordinator,
                ..Default::default()
            }],
            ..Default::default()
        }
    })
    .await;
}

/// Waits until neither broker is still writing markers.
async fn decided(pair: &mut Pair, id: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let answers = pair
            .raw(
                |_| DescribeTransactionsRequest {
                    transactional_ids: vec![id.into()],
                    ..Default::default()
                },
                0,
            )
            .await;
        let busy = answers
            .iter()
            .flatten()
            .flat_map(|r| &r.transaction_states)
            .any(|t| {
                matches!(
                    &*t.transaction_state,
                    "PrepareCommit" | "PrepareAbort" | "PrepareEpochFence"
                )
            });
        if !busy {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
