//! What a round knows: its dice, its names, and what Apache Kafka has answered so far.

use std::collections::HashMap;

use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, ApiRequest};

use crate::pair::{Pair, topic};

/// The dice (splitmix64).
pub(crate) struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from[at].clone()
    }

    /// The usual, or now and then one of the others.
    pub(crate) fn mostly<T: Clone>(&mut self, usual: T, others: &[T]) -> T {
        if self.chance(85) {
            usual
        } else {
            self.pick(others)
        }
    }

    pub(crate) fn version<Q: ApiRequest>(&mut self) -> i16 {
        let versions = Q::API.versions();
        let newest = versions.max;
        if self.chance(30) {
            return newest;
        }
        versions.min + self.below((newest - versions.min + 1) as usize) as i16
    }
}

/// A topic that Kafka has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) partitions: i32,
    /// The broker stamps its records: no two brokers alike.
    pub(crate) stamped: bool,
    /// The broker compresses its records: no two libraries to the same size.
    pub(crate) recompressed: bool,
    /// Records were deleted: Kafka removes their files when its next check is due.
    pub(crate) cut: bool,
    /// Transactions have written to it: where the first open one begins is not what it was once that is deleted,
    /// which Kafka notices with the next append.
    pub(crate) transactional: bool,
}

/// An open fetch session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) epoch: i32,
    pub(crate) version: i16,
}

/// A classic group as its members know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classic {
    pub(crate) generation: i32,
    /// The slots that have a member id.
    pub(crate) members: Vec<usize>,
}

/// A member of a group of the consumer protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) joined: bool,
}

pub(crate) struct World {
    pub(crate) draw: Draw,
    pub(crate) seed: u64,
    pub(crate) topics: HashMap<String, Known>,
    /// The next sequence by producer slot, epoch, topic and partition; and the last batch.
    pub(crate) sequences: HashMap<(String, i16, String, i32), (i32, i32)>,
    pub(crate) sessions: HashMap<usize, Session>,
    pub(crate) classic: HashMap<usize, Classic>,
    pub(crate) consumers: HashMap<(usize, usize), Member>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            draw: Draw(seed),
            seed,
            topics: HashMap::new(),
            sequences: HashMap::new(),
            sessions: HashMap::new(),
            classic: HashMap::new(),
            consumers: HashMap::new(),
        }
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("s{}-{what}", self.seed)
    }

    /// A topic's name: nearly always of one that there is.
    pub(crate) fn topic(&mut self) -> String {
        if self.draw.chance(94) && !self.topics.is_empty() {
            let mut names: Vec<String> = self.topics.keys().cloned().collect();
            names.sort();
            return self.draw.pick(&names);
        }
        let letter = self.draw.pick(&["a", "b", "c", "d", "nowhere"]);
        self.name(letter)
    }

    /// A partition of a topic: nearly always one that there is.
    pub(crate) fn partition(&mut self, topic: &str) -> i32 {
        let count = self.known(topic).partitions.max(1);
        let one = self.draw.below(count as usize) as i32;
        self.draw.mostly(one, &[one, one, count, 9, -1])
    }

    pub(crate) fn known(&self, topic: &str) -> Known {
        self.topics.get(topic).cloned().unwrap_or_default()
    }

    /// Two topics and a producer id of each kind, so that a round does not begin with nothing.
    pub(crate) async fn begin(&mut self, pair: &mut Pair) {
        // Whoever asks for a coordinator first has the topic behind it made.
        for key_type in [0, 1] {
            pair.patient("seeded", 2, |_| FindCoordinatorRequest {
                key: "any".into(),
                key_type,
                ..Default::default()
            })
            .await;
        }
        for (name, partitions) in [("a", 2), ("b", 1)] {
            let name = self.name(name);
            pair.create(&name, partitions, &[]).await;
            let known = Known {
                partitions,
                ..Known::default()
            };
            self.topics.insert(name, known);
        }
    }

    /// Leaves nothing behind that a later round would have to wait for.
    pub(crate) async fn end(&mut self, pair: &mut Pair) {
        let mut names: Vec<String> = self.topics.keys().cloned().collect();
        names.sort();
        for name in names {
            pair.raw(
                |_| DeleteTopicsRequest {
                    topic_names: vec![name.as_str().into()],
                    timeout_ms: 10_000,
                    ..Default::default()
                },
                4,
            )
            .await;
        }
        for (slot, session) in std::mem::take(&mut self.sessions) {
            let name = self.name(&format!("session-{slot}"));
            pair.raw(
                |side| FetchRequest {
                    session_id: side.producer(&name).0 as i32,
                    session_epoch: -1,
                    ..Default::default()
                },
                session.version,
            )
            .await;
        }
        for (group, known) in std::mem::take(&mut self.classic) {
            let group = self.name(&format!("g{group}"));
            pair.raw(
                |side| LeaveGroupRequest {
                    group_id: group.as_str().into(),
                    members: known
                        .members
                        .iter()
                        .map(|slot| MemberIdentity {
                            member_id: side.member(&format!("{group}/{slot}")).as_str().into(),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                },
                5,
            )
            .await;
        }
        for ((group, slot), member) in std::mem::take(&mut self.consumers) {
            if member.joined {
                let group = self.name(&format!("k{group}"));
                pair.raw(
                    |_| ConsumerGroupHeartbeatRequest {
                        group_id: group.as_str().into(),
                        member_id: format!("member-{slot}").as_str().into(),
                        member_epoch: -1,
                        ..Default::default()
                    },
                    1,
                )
                .await;
            }
        }
    }

    /// Creates a topic on both sides, or is told why not.
    pub(crate) async fn create(
        &mut self,
        pair: &mut Pair,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
        validate_only: bool,
    ) {
        let version = self.draw.version::<CreateTopicsRequest>();
        let mut wanted = topic(name, partitions, configs);
        wanted.replication_factor = replicas;
        let answers = pair
            .ask("seeded", version, |_| CreateTopicsRequest {
                topics: vec![wanted.clone()],
                timeout_ms: 10_000,
                validate_only,
                ..Default::default()
            })
            .await;
        let made = answers.is_some_and(|(kafka, ours)| {
            [kafka, ours]
                .iter()
                .all(|r| r.topics.first().is_some_and(|t| t.error_code == 0))
        });
        if made && !validate_only {
            pair.settle(name).await;
            let known = Known {
                partitions: partitions.max(1),
                stamped: configs.contains(&("message.timestamp.type", "LogAppendTime")),
                recompressed: configs
                    .iter()
                    .any(|(key, value)| *key == "compression.type" && *value != "producer"),
                ..Known::default()
            };
            self.topics.insert(name.to_owned(), known);
        }
    }

    /// A version of an API that a condition holds for.
    pub(crate) fn between(&mut self, api: ApiKey, min: i16, max: i16) -> i16 {
        let versions = api.versions();
        let (min, max) = (min.max(versions.min), max.min(versions.max));
        min + self.draw.below((max - min + 1) as usize) as i16
    }
}
