//! Produce with good and bad batches, and what reads records.

use bytes::{Bytes, BytesMut};
use thalweg_log::record::{BatchBuilder, Compression, Header};
use thalweg_log::wire::messages::*;

use super::world::{Session, World};
use crate::pair::{Pair, Side};
use crate::records::{fetch, produce as request};

const CODECS: &[Compression] = &[
    Compression::None,
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Who writes a batch: the slot that keeps its producer id, and what the batch says.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) slot: String,
    pub(super) epoch_delta: i16,
    pub(super) sequence: i32,
    pub(super) transactional: bool,
}

/// Timestamp, key, value, and whether it has a header.
type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>, bool);

/// A batch, but for its producer id.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    codec: Compression,
    records: Vec<Record>,
    control: bool,
    damage: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    No,
    Crc,
    Magic,
    CutShort,
    HeaderOnly,
    Twice,
    Empty,
    Count(i32),
    LastDelta(i32),
    BaseOffset(i64),
    Length(i32),
    MaxTimestamp(i64),
}

impl Drawn {
    pub(super) fn new(world: &mut World, may_be_bad: bool) -> Self {
        let draw = &mut world.draw;
        let bad = may_be_bad && draw.chance(22);
        let base = 1_700_000_000_000 + draw.below(1_000_000) as i64;
        let few = 1 + draw.below(8);
        let count = draw.mostly(few, &[1, 40]);
        let odd_time = bad && draw.chance(20);
        let time = draw.pick(&[-1, 0, 4_000_000_000_000, i64::MAX, -5]);
        let keyless = draw.chance(25);
        let records = (0..count)
            .map(|n| {
                let at = if odd_time {
                    time
                } else {
                    base + n as i64 * draw.pick(&[1, 1000, -7])
                };
                let key = (!keyless).then(|| format!("k{}", draw.below(5)).into_bytes());
                let value = (!draw.chance(10)).then(|| vec![b'v'; draw.below(60)]);
                (at, key, value, draw.chance(20))
            })
            .collect();
        let damage = if bad && !odd_time {
            draw.pick(&[
                Damage::Crc,
                Damage::Magic,
                Damage::CutShort,
                Damage::HeaderOnly,
                Damage::Twice,
                Damage::Empty,
                Damage::Count(0),
                Damage::Count(1),
                Damage::Count(1000),
                Damage::Count(-1),
                Damage::LastDelta(0),
                Damage::LastDelta(77),
                Damage::LastDelta(-1),
                Damage::BaseOffset(7),
                Damage::BaseOffset(-4),
                Damage::Length(5),
                Damage::Length(1 << 30),
                Damage::Length(-1),
                Damage::MaxTimestamp(-1),
            ])
        } else {
            Damage::No
        };
        Self {
            codec: draw.pick(CODECS),
            records,
            control: bad && draw.chance(8),
            damage,
        }
    }

    pub(super) fn count(&self) -> i32 {
        self.records.len() as i32
    }

    pub(super) fn bytes(&self, side: &Side, writer: Option<&Writer>) -> Bytes {
        let mut builder = BatchBuilder::new(self.codec);
        if let Some(writer) = writer {
            let (id, epoch) = side.producer(&writer.slot);
            let epoch = epoch.wrapping_add(writer.epoch_delta).max(0);
            builder.producer(id, epoch, writer.sequence);
            builder.transactional(writer.transactional);
        }
        builder.control(self.control);
        for (at, key, value, headers) in &self.records {
            let headers: &[Header] = if *headers {
                &[Header::new("h", Some(Bytes::from_static(b"x")))]
            } else {
                &[]
            };
            builder
                .append(*at, key.as_deref(), value.as_deref(), headers)
                .unwrap();
        }
        damaged(builder.build().unwrap(), self.damage)
    }
}

fn damaged(whole: Bytes, damage: Damage) -> Bytes {
    let put = |at: usize, with: &[u8]| {
        let mut bytes = BytesMut::from(&whole[..]);
        bytes[at..at + with.len()].copy_from_slice(with);
        let crc = thalweg_log::record::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.freeze()
    };
    match damage {
        Damage::No => whole,
        Damage::Crc => {
            let mut bytes = BytesMut::from(&whole[..]);
            bytes[19] ^= 0x10;
            bytes.freeze()
        }
        Damage::Magic => put(16, &[1]),
        Damage::CutShort => whole.slice(..whole.len() - 3),
        Damage::HeaderOnly => whole.slice(..61),
        Damage::Empty => Bytes::new(),
        Damage::Twice => {
            let mut bytes = BytesMut::from(&whole[..]);
            bytes.extend_from_slice(&whole);
            bytes.freeze()
        }
        Damage::Count(count) => put(57, &count.to_be_bytes()),
        Damage::LastDelta(delta) => put(23, &delta.to_be_bytes()),
        Damage::BaseOffset(offset) => put(0, &offset.to_be_bytes()),
        Damage::Length(length) => put(8, &length.to_be_bytes()),
        Damage::MaxTimestamp(at) => put(35, &at.to_be_bytes()),
    }
}

pub(super) async fn produce(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<ProduceRequest>();
    let topic = world.topic();
    let partition = world.partition(&topic);
    let acks = world.draw.mostly(-1, &[1, 1, 1, 2, -7]);
    let batch = Drawn::new(world, true);
    let writer = if world.draw.chance(55) {
        writer(pair, world, &topic, partition).await
    } else {
        None
    };
    let answers = pair
        .ask("seeded", version, |side| {
            let mut request = request(
                side,
                version,
                &topic,
                partition,
                acks,
                Some(batch.bytes(side, writer.as_ref())),
            );
            request.timeout_ms = 10_000;
            request
        })
        .await;
    if let (Some(writer), Some((kafka, _))) = (writer, answers) {
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

/// An idempotent producer, made when its slot is empty.
async fn writer(pair: &mut Pair, world: &mut World, topic: &str, partition: i32) -> Option<Writer> {
    let slot = world.draw.below(3);
    let slot = world.name(&format!("p{slot}"));
    if pair.kafka.producer(&slot).0 < 0 || world.draw.chance(4) {
        let version = world.draw.version::<InitProducerIdRequest>();
        let answers = pair
            .patient("seeded", version, |_| InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                ..Default::default()
            })
            .await?;
        pair.kafka
            .keep_producer(&slot, answers.0.producer_id, answers.0.producer_epoch);
        pair.ours
            .keep_producer(&slot, answers.1.producer_id, answers.1.producer_epoch);
    }
    Some(sequenced(pair, world, slot, topic, partition, false))
}

/// A producer's next batch, or one that does not follow.
pub(super) fn sequenced(
    pair: &Pair,
    world: &mut World,
    slot: String,
    topic: &str,
    partition: i32,
    transactional: bool,
) -> Writer {
    let epoch_delta = world.draw.mostly(0, &[0, 0, 1, -1]);
    let epoch = pair
        .kafka
        .producer(&slot)
        .1
        .wrapping_add(epoch_delta)
        .max(0);
    let place = (slot.clone(), epoch, topic.to_owned(), partition);
    let (next, last) = world.sequences.get(&place).copied().unwrap_or((0, 0));
    let sequence = world.draw.mostly(
        next,
        &[
            last,
            last,
            next.wrapping_add(2),
            0,
            i32::MAX,
            i32::MAX - 1,
            -1,
        ],
    );
    Writer {
        slot,
        epoch_delta,
        sequence,
        transactional: transactional != world.draw.chance(3),
    }
}

pub(super) fn remember(
    pair: &Pair,
    world: &mut World,
    writer: &Writer,
    topic: &str,
    partition: i32,
    count: i32,
    answer: &ProduceResponse,
) {
    let taken = answer
        .responses
        .iter()
        .flat_map(|t| &t.partition_responses)
        .all(|p| p.error_code == 0);
    if taken {
        let epoch = pair
            .kafka
            .producer(&writer.slot)
            .1
            .wrapping_add(writer.epoch_delta)
            .max(0);
        let next = (i64::from(writer.sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
        let place = (writer.slot.clone(), epoch, topic.to_owned(), partition);
        world
            .sequences
            .insert(place, (next as i32, writer.sequence));
    }
}

pub(super) async fn read(pair: &mut Pair, world: &mut World) {
    let topic = world.topic();
    let partition = world.partition(&topic);
    match world.draw.below(10) {
        0..=4 => {
            let version = world.draw.version::<FetchRequest>();
            let max = if world.known(&topic).recompressed {
                1 << 20
            } else {
                world.draw.pick(&[1 << 20, 1 << 20, 1, 300, 0])
            };
            let offset = world.draw.below(60) as i64;
            let offset = world.draw.mostly(offset, &[0, 0, -1, i64::MAX, 1_000]);
            let isolation = world.draw.below(2) as i8;
            let leader_epoch = world.draw.mostly(-1, &[0, 0, 3, -5]);
            let last_epoch = world.draw.mostly(-1, &[0, 2]);
            pair.read("seeded", version, |side| {
                let mut request = fetch(side, version, &topic, partition, offset, max);
                request.isolation_level = isolation;
                if let Some(place) = request
                    .topics
                    .first_mut()
                    .and_then(|t| t.partitions.first_mut())
                {
                    place.current_leader_epoch = leader_epoch;
                    if version >= 12 {
                        place.last_fetched_epoch = last_epoch;
                    }
                }
                request
            })
            .await;
        }
        5..=6 => {
            let version = world.draw.version::<ListOffsetsRequest>();
            let stamped = world.known(&topic).stamped;
            let timestamp = if stamped {
                world.draw.pick(&[-1, -2])
            } else {
                let time = 1_700_000_000_000 + world.draw.below(1_000_000) as i64;
                world.draw.pick(&[
                    -1,
                    -1,
                    -2,
                    -3,
                    -4,
                    -5,
                    -6,
                    -7,
                    0,
                    time,
                    time,
                    1_800_000_000_000,
                    i64::MAX,
                ])
            };
            let isolation = if version >= 2 {
                world.draw.below(2) as i8
            } else {
                0
            };
            let epoch = world.draw.mostly(-1, &[0, 4]);
            pair.read("seeded", version, |_| ListOffsetsRequest {
                replica_id: -1,
                isolation_level: isolation,
                timeout_ms: if version >= 10 { 1000 } else { 0 },
                topics: vec![ListOffsetsTopic {
                    name: topic.as_str().into(),
                    partitions: vec![ListOffsetsPartition {
                        partition_index: partition,
                        current_leader_epoch: if version >= 4 { epoch } else { -1 },
                        timestamp,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .await;
        }
        7 => {
            let version = world.draw.version::<OffsetForLeaderEpochRequest>();
            let (current, epoch) = (
                world.draw.mostly(-1, &[0, 5]),
                world.draw.pick(&[0, 0, 1, 9, -1]),
            );
            pair.read("seeded", version, |_| OffsetForLeaderEpochRequest {
                replica_id: -1,
                topics: vec![OffsetForLeaderTopic {
                    topic: topic.as_str().into(),
                    partitions: vec![OffsetForLeaderPartition {
                        partition,
                        current_leader_epoch: current,
                        leader_epoch: epoch,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .await;
        }
        8 => {
            pair.read("seeded", 0, |_| DescribeProducersRequest {
                topics: vec![DescribeProducersRequestTopic {
                    name: topic.as_str().into(),
                    partition_indexes: vec![partition],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .await;
        }
        _ => {
            if let Some(known) = world.topics.get_mut(&topic) {
                if known.transactional {
                    return;
                }
                known.cut = true;
            }
            let version = world.draw.version::<DeleteRecordsRequest>();
            let offset = world.draw.pick(&[0, 1, 3, 7, 20, -1, -2, 5_000]);
            pair.ask("seeded", version, |_| DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: topic.as_str().into(),
                    partitions: vec![DeleteRecordsPartition {
                        partition_index: partition,
                        offset,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                timeout_ms: 10_000,
                ..Default::default()
            })
            .await;
        }
    }
}

/// Fetch sessions: opened, used, used wrongly.
pub(super) async fn sessions(pair: &mut Pair, world: &mut World) {
    let slot = world.draw.below(2);
    let name = world.name(&format!("session-{slot}"));
    let topic = world.topic();
    let places: Vec<i32> = (0..1 + world.draw.below(2))
        .map(|_| world.partition(&topic))
        .collect();
    let offset = world.draw.pick(&[0, 0, 2, 9, 1_000]);
    let known = world
        .sessions
        .get(&slot)
        .cloned()
        .filter(|_| !world.draw.chance(12));
    let version = match &known {
        Some(session) => session.version,
        None => world.between(thalweg_log::wire::ApiKey::Fetch, 7, 18),
    };
    let wanted = known.as_ref().map_or(0, |session| session.epoch);
    let epoch = world
        .draw
        .mostly(wanted, &[wanted, wanted, wanted + 1, 1, -1]);
    let with = world.draw.chance(60) || epoch <= 0;
    let forget = epoch > 0 && world.draw.chance(25);
    let answers = pair
        .ask("seeded", version, |side| {
            let mut request = fetch(side, version, &topic, 0, offset, 1 << 20);
            request.session_epoch = epoch;
            request.session_id = if known.is_some() {
                side.producer(&name).0 as i32
            } else {
                0
            };
            let Some(first) = request.topics.first_mut() else {
                return request;
            };
            let one = first.partitions[0].clone();
            let mut all: Vec<i32> = places.clone();
            all.dedup();
            first.partitions = all
                .iter()
                .map(|partition| FetchPartition {
                    partition: *partition,
                    ..one.clone()
                })
                .collect();
            if forget {
                request.forgotten_topics_data = vec![ForgottenTopic {
                    topic: first.topic.clone(),
                    topic_id: first.topic_id,
                    partitions: all,
                    ..Default::default()
                }];
            }
            if !with || forget {
                request.topics.clear();
            }
            request
        })
        .await;
    let Some((kafka, ours)) = answers else { return };
    if kafka.error_code != 0 || kafka.session_id == 0 {
        world.sessions.remove(&slot);
        return;
    }
    pair.kafka.keep_producer(&name, kafka.session_id.into(), 0);
    pair.ours.keep_producer(&name, ours.session_id.into(), 0);
    world.sessions.insert(
        slot,
        Session {
            epoch: epoch + 1,
            version,
        },
    );
}
