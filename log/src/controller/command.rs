//! The commands of the metadata log: what an entry of `__cluster_metadata-0` asks for.
//!
//! A command is a *request* that every replica decides alike when it applies it (see
//! [`MetadataImage::apply`](super::MetadataImage::apply)): two concurrent creations of a topic are
//! both in the log, the first one wins, the second is told. Everything random or clock-bound (topic
//! ids, replica assignment) is chosen by the proposer and is part of the command, so that applying
//! is deterministic.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::{DecodeError, Reader, Writer};
use super::quotas::{self, QuotaChange};

/// Highest version of the command encoding that this release writes and reads. Each kind of command is written
/// in the version that brought it: 2 brought quotas, features and the unregistration of brokers.
pub const COMMAND_VERSION: u8 = 2;

/// What a configuration entry belongs to. The values are Kafka's resource types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigScope {
    /// A topic, by name.
    Topic,
    /// A broker, by id; the empty name stands for the default of all brokers.
    Broker,
    /// A group, by its id.
    Group,
}

impl ConfigScope {
    /// Kafka's code of the resource type.
    pub fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }

    /// The scope with Kafka's resource-type code.
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            32 => Some(Self::Group),
            _ => None,
        }
    }
}

/// One change of a configuration: a new value, or back to the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// What the key belongs to.
    pub scope: ConfigScope,
    /// Topic name or broker id.
    pub resource: String,
    /// Kafka's name of the key.
    pub key: String,
    /// The new value; `None` deletes the override.
    pub value: Option<String>,
}

/// An address a broker can be reached at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Listener name, such as `PLAINTEXT`.
    pub name: String,
    /// Host that clients are told.
    pub host: String,
    /// Port that clients are told.
    pub port: u16,
}

/// A change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a topic with all of its partitions and configs, or nothing.
    CreateTopic {
        /// Topic name.
        name: String,
        /// The id the topic gets.
        id: Uuid,
        /// Replicas of each partition, the preferred leader first.
        assignment: Vec<Vec<i32>>,
        /// Topic config overrides.
        configs: Vec<(String, String)>,
    },
    /// Deletes a topic, its partitions and its configs.
    DeleteTopic {
        /// Id of the topic.
        id: Uuid,
    },
    /// Adds partitions to a topic.
    CreatePartitions {
        /// Id of the topic.
        id: Uuid,
        /// Partition count that the proposer saw; a concurrent change is refused.
        expected: i32,
        /// Replicas of each new partition.
        assignment: Vec<Vec<i32>>,
    },
    /// Sets or deletes config overrides, all or none.
    AlterConfigs {
        /// The changes, in order.
        changes: Vec<ConfigChange>,
    },
    /// A broker starts: it gets a new epoch and leads its partitions under new leader epochs.
    RegisterBroker {
        /// Broker id.
        id: i32,
        /// Identity of this run of the broker process.
        incarnation: Uuid,
        /// Where clients reach it.
        endpoints: Vec<Endpoint>,
        /// Rack, if any.
        rack: Option<String>,
    },
    /// A running broker changes where clients reach it; epochs stay.
    SetEndpoints {
        /// Broker id.
        id: i32,
        /// Identity of this run; a stale run is refused.
        incarnation: Uuid,
        /// Where clients reach it.
        endpoints: Vec<Endpoint>,
    },
    /// Hands out the next `count` producer ids to a broker.
    AllocateProducerIds {
        /// Broker that asks.
        broker: i32,
        /// How many ids.
        count: i32,
    },
    /// Sets or removes client quotas, all or none.
    AlterClientQuotas {
        /// The changes, in order.
        changes: Vec<QuotaChange>,
    },
    /// Changes the finalized levels of features, all or none; level 0 switches a feature off.
    UpdateFeatures {
        /// Feature and level.
        updates: Vec<(String, i16)>,
    },
    /// Forgets a broker; what it led has no leader until it registers again.
    UnregisterBroker {
        /// Broker id.
        id: i32,
    },
}

const CREATE_TOPIC: u8 = 1;
const DELETE_TOPIC: u8 = 2;
const CREATE_PARTITIONS: u8 = 3;
const ALTER_CONFIGS: u8 = 4;
const REGISTER_BROKER: u8 = 5;
const SET_ENDPOINTS: u8 = 6;
const ALLOCATE_PRODUCER_IDS: u8 = 7;
const ALTER_CLIENT_QUOTAS: u8 = 8;
const UPDATE_FEATURES: u8 = 9;
const UNREGISTER_BROKER: u8 = 10;

impl Command {
    /// The command's bytes in the metadata log: version, kind, fields.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(match self {
            Self::AlterClientQuotas { .. }
            | Self::UpdateFeatures { .. }
            | Self::UnregisterBroker { .. } => 2,
            _ => 1,
        });
        match self {
            Self::CreateTopic {
                name,
                id,
                assignment,
                configs,
            } => {
                w.u8(CREATE_TOPIC);
                w.str(name);
                w.uuid(*id);
                write_assignment(&mut w, assignment);
                w.count(configs.len());
                for (key, value) in configs {
                    w.str(key);
                    w.str(value);
                }
            }
            Self::DeleteTopic { id } => {
                w.u8(DELETE_TOPIC);
                w.uuid(*id);
            }
            Self::CreatePartitions {
                id,
                expected,
                assignment,
            } => {
                w.u8(CREATE_PARTITIONS);
                w.uuid(*id);
                w.i32(*expected);
                write_assignment(&mut w, assignment);
            }
            Self::AlterConfigs { changes } => {
                w.u8(ALTER_CONFIGS);
                w.count(changes.len());
                for change in changes {
                    w.i8(change.scope.code());
                    w.str(&change.resource);
                    w.str(&change.key);
                    w.opt_str(change.value.as_deref());
                }
            }
            Self::RegisterBroker {
                id,
                incarnation,
                endpoints,
                rack,
            } => {
                w.u8(REGISTER_BROKER);
                w.i32(*id);
                w.uuid(*incarnation);
                write_endpoints(&mut w, endpoints);
                w.opt_str(rack.as_deref());
            }
            Self::SetEndpoints {
                id,
                incarnation,
                endpoints,
            } => {
                w.u8(SET_ENDPOINTS);
                w.i32(*id);
                w.uuid(*incarnation);
                write_endpoints(&mut w, endpoints);
            }
            Self::AllocateProducerIds { broker, count } => {
                w.u8(ALLOCATE_PRODUCER_IDS);
                w.i32(*broker);
                w.i32(*count);
            }
            Self::AlterClientQuotas { changes } => {
                w.u8(ALTER_CLIENT_QUOTAS);
                w.count(changes.len());
                for change in changes {
                    quotas::write_change(&mut w, change);
                }
            }
            Self::UpdateFeatures { updates } => {
                w.u8(UPDATE_FEATURES);
                write_features(&mut w, updates.iter().map(|(name, level)| (name, level)));
            }
            Self::UnregisterBroker { id } => {
                w.u8(UNREGISTER_BROKER);
                w.i32(*id);
            }
        }
        w.finish()
    }

    /// Reads a command back.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one command of a known version.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8("version")?;
        if version == 0 || version > COMMAND_VERSION {
            return Err(DecodeError::Version {
                found: version,
                supported: COMMAND_VERSION,
            });
        }
        let command = match r.u8("kind")? {
            CREATE_TOPIC => {
                let name = r.str("topic name")?;
                let id = r.uuid("topic id")?;
                let assignment = read_assignment(&mut r)?;
                let n = r.count("configs", 8)?;
                let configs = (0..n)
                    .map(|_| Ok((r.str("config key")?, r.str("config value")?)))
                    .collect::<Result<_, DecodeError>>()?;
                Self::CreateTopic {
                    name,
                    id,
                    assignment,
                    configs,
                }
            }
            DELETE_TOPIC => Self::DeleteTopic {
                id: r.uuid("topic id")?,
            },
            CREATE_PARTITIONS => Self::CreatePartitions {
                id: r.uuid("topic id")?,
                expected: r.i32("expected partitions")?,
                assignment: read_assignment(&mut r)?,
            },
            ALTER_CONFIGS => {
                let n = r.count("config changes", 10)?;
                let changes = (0..n)
                    .map(|_| read_change(&mut r))
                    .collect::<Result<_, _>>()?;
                Self::AlterConfigs { changes }
            }
            REGISTER_BROKER => Self::RegisterBroker {
                id: r.i32("broker id")?,
                incarnation: r.uuid("incarnation")?,
                endpoints: read_endpoints(&mut r)?,
                rack: r.opt_str("rack")?,
            },
            SET_ENDPOINTS => Self::SetEndpoints {
                id: r.i32("broker id")?,
                incarnation: r.uuid("incarnation")?,
                endpoints: read_endpoints(&mut r)?,
            },
            ALLOCATE_PRODUCER_IDS => Self::AllocateProducerIds {
                broker: r.i32("broker id")?,
                count: r.i32("count")?,
            },
            ALTER_CLIENT_QUOTAS => {
                let n = r.count("quota changes", 9)?;
                let changes = (0..n)
                    .map(|_| quotas::read_change(&mut r))
                    .collect::<Result<_, _>>()?;
                Self::AlterClientQuotas { changes }
            }
            UPDATE_FEATURES => Self::UpdateFeatures {
                updates: read_features(&mut r)?,
            },
            UNREGISTER_BROKER => Self::UnregisterBroker {
                id: r.i32("broker id")?,
            },
            other => {
                return Err(DecodeError::Invalid {
                    what: "kind",
                    value: other.to_string(),
                });
            }
        };
        r.end()?;
        Ok(command)
    }
}

fn write_assignment(w: &mut Writer, assignment: &[Vec<i32>]) {
    w.count(assignment.len());
    for replicas in assignment {
        w.i32s(replicas);
    }
}

fn read_assignment(r: &mut Reader) -> Result<Vec<Vec<i32>>, DecodeError> {
    let n = r.count("assignment", 4)?;
    (0..n).map(|_| r.i32s("replicas")).collect()
}

fn read_change(r: &mut Reader) -> Result<ConfigChange, DecodeError> {
    let code = r.i8("config scope")?;
    let scope = ConfigScope::from_code(code).ok_or_else(|| DecodeError::Invalid {
        what: "config scope",
        value: code.to_string(),
    })?;
    Ok(ConfigChange {
        scope,
        resource: r.str("config resource")?,
        key: r.str("config key")?,
        value: r.opt_str("config value")?,
    })
}

pub(super) fn write_features<'a>(
    w: &mut Writer,
    features: impl ExactSizeIterator<Item = (&'a String, &'a i16)>,
) {
    w.count(features.len());
    for (name, level) in features {
        w.str(name);
        w.i32(i32::from(*level));
    }
}

pub(super) fn read_features<C: FromIterator<(String, i16)>>(
    r: &mut Reader,
) -> Result<C, DecodeError> {
    let n = r.count("features", 8)?;
    (0..n)
        .map(|_| {
            let name = r.str("feature")?;
            let level = r.i32("feature level")?;
            let level = i16::try_from(level).map_err(|_| DecodeError::Invalid {
                what: "feature level",
                value: level.to_string(),
            })?;
            Ok((name, level))
        })
        .collect()
}

pub(super) fn write_endpoints(w: &mut Writer, endpoints: &[Endpoint]) {
    w.count(endpoints.len());
    for e in endpoints {
        w.str(&e.name);
        w.str(&e.host);
        w.u16(e.port);
    }
}

pub(super) fn read_endpoints(r: &mut Reader) -> Result<Vec<Endpoint>, DecodeError> {
    let n = r.count("endpoints", 10)?;
    (0..n)
        .map(|_| {
            Ok(Endpoint {
                name: r.str("listener")?,
                host: r.str("host")?,
                port: r.u16("port")?,
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_quota_change() -> impl Strategy<Value = QuotaChange> {
        (
            prop::collection::btree_map("[ab]", prop::option::of("[xy]"), 1..3),
            "[kl]",
            prop::option::of(any::<f64>().prop_map(Into::into)),
        )
            .prop_map(|(entity, key, value)| QuotaChange { entity, key, value })
    }

    pub(crate) fn any_command() -> impl Strategy<Value = Command> {
        let id = (0u128..6).prop_map(Uuid::from_u128);
        let assignment = prop::collection::vec(prop::collection::vec(0i32..3, 0..3), 0..4);
        let name = "[abc]{1,2}";
        let endpoints =
            prop::collection::vec(
                ("[A-Z]{1,4}", "[a-z.]{1,6}", any::<u16>())
                    .prop_map(|(name, host, port)| Endpoint { name, host, port }),
                0..3,
            );
        let change = (
            any::<bool>(),
            name,
            "[a-z.]{1,8}",
            prop::option::of("[a-z0-9]{0,4}"),
        )
            .prop_map(|(topic, resource, key, value)| ConfigChange {
                scope: if topic {
                    ConfigScope::Topic
                } else {
                    ConfigScope::Broker
                },
                resource,
                key,
                value,
            });
        prop_oneof![
            (
                name,
                id.clone(),
                assignment.clone(),
                prop::collection::vec((name, name), 0..2)
            )
                .prop_map(|(name, id, assignment, configs)| Command::CreateTopic {
                    name,
                    id,
                    assignment,
                    configs
                }),
            id.clone().prop_map(|id| Command::DeleteTopic { id }),
            (id, 0i32..4, assignment).prop_map(|(id, expected, assignment)| {
                Command::CreatePartitions {
                    id,
                    expected,
                    assignment,
                }
            }),
            prop::collection::vec(change, 0..3)
                .prop_map(|changes| Command::AlterConfigs { changes }),
            (
                0i32..3,
                any::<u128>(),
                endpoints.clone(),
                prop::option::of(name)
            )
                .prop_map(|(id, inc, endpoints, rack)| Command::RegisterBroker {
                    id,
                    incarnation: Uuid::from_u128(inc),
                    endpoints,
                    rack
                }),
            (0i32..3, 0u128..3, endpoints).prop_map(|(id, inc, endpoints)| {
                Command::SetEndpoints {
                    id,
                    incarnation: Uuid::from_u128(inc),
                    endpoints,
                }
            }),
            (0i32..3, -1i32..2000)
                .prop_map(|(broker, count)| Command::AllocateProducerIds { broker, count }),
            prop::collection::vec(any_quota_change(), 0..4)
                .prop_map(|changes| Command::AlterClientQuotas { changes }),
            prop::collection::vec(
                (
                    prop::sample::select(vec!["transaction.version", "group.version", "x"]),
                    -1i16..4
                )
                    .prop_map(|(name, level)| (name.to_owned(), level)),
                0..3
            )
            .prop_map(|updates| Command::UpdateFeatures { updates }),
            (2i32..4).prop_map(|id| Command::UnregisterBroker { id }),
        ]
    }

    proptest! {
        #[test]
        fn commands_survive_the_log(command in any_command()) {
            prop_assert_eq!(Command::decode(command.encode()).unwrap(), command);
        }

        #[test]
        fn a_cut_command_is_an_error(command in any_command(), cut in any::<prop::sample::Index>()) {
            let bytes = command.encode();
            let at = cut.index(bytes.len());
            prop_assert!(Command::decode(bytes.slice(..at)).is_err());
        }

        #[test]
        fn random_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::decode(Bytes::from(raw));
        }
    }

    #[test]
    fn golden_version_2() {
        let command = Command::AlterClientQuotas {
            changes: vec![QuotaChange {
                entity: [("user".to_owned(), None)].into(),
                key: "k".to_owned(),
                value: Some(1.0.into()),
            }],
        };
        let golden: &[u8] = &[
            2, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, b'u', b's', b'e', b'r', 0, 0, 0, 0, 1, b'k',
            1, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&command.encode()[..], golden);
        let command = Command::UpdateFeatures {
            updates: vec![("f".to_owned(), 2)],
        };
        let golden: &[u8] = &[2, 9, 0, 0, 0, 1, 0, 0, 0, 1, b'f', 0, 0, 0, 2];
        assert_eq!(&command.encode()[..], golden);
        let command = Command::UnregisterBroker { id: 3 };
        assert_eq!(&command.encode()[..], &[2, 10, 0, 0, 0, 3]);
    }

    /// The bytes of version 1 are fixed: what this release wrote, every later one reads.
    #[test]
    fn golden_version_1() {
        let command = Command::CreateTopic {
            name: "t".to_owned(),
            id: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            assignment: vec![vec![1]],
            configs: vec![("k".to_owned(), "v".to_owned())],
        };
        let golden: &[u8] = &[
            1, 1, 0, 0, 0, 1, b't', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 0,
            1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'v',
        ];
        assert_eq!(&command.encode()[..], golden);
        assert_eq!(
            Command::decode(Bytes::from_static(golden)).unwrap(),
            command
        );
    }
}
