//! What an operator is told besides its function: serdes, names, and how to keep state.
//!
//! A serde that is not given is taken over from the stream or table the operator is
//! applied to, where that still knows it; only an operator that finds none complains,
//! when the topology is built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use thalweg_state::Backend;

use crate::serdes::{BincodeSerde, DefaultSerde, JsonSerde, Serde, SharedSerde};
use crate::topology::OffsetReset;
use crate::typed::{Emit, OnBadRecord, Partitioner, TimestampExtractor};

/// The serdes of keys and values, as far as they are known.
pub(crate) struct Serdes<K, V> {
    pub(crate) key: Option<SharedSerde<K>>,
    /// Stands in where neither the operator nor its input names a key serde.
    pub(crate) key_fallback: Option<SharedSerde<K>>,
    pub(crate) value: Option<SharedSerde<V>>,
}

impl<K, V> Serdes<K, V> {
    pub(crate) fn none() -> Self {
        Self {
            key: None,
            key_fallback: None,
            value: None,
        }
    }

    /// The key serde to use under an input that has `inherited`.
    pub(crate) fn key_or(&self, inherited: Option<&SharedSerde<K>>) -> Option<SharedSerde<K>> {
        self.key
            .as_ref()
            .or(inherited)
            .or(self.key_fallback.as_ref())
            .cloned()
    }

    /// The value serde to use under an input that has `inherited`.
    pub(crate) fn value_or(&self, inherited: Option<&SharedSerde<V>>) -> Option<SharedSerde<V>> {
        self.value.as_ref().or(inherited).cloned()
    }
}

impl<K, V> Clone for Serdes<K, V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            key_fallback: self.key_fallback.clone(),
            value: self.value.clone(),
        }
    }
}

/// The constructors that all of these options share.
macro_rules! serde_options {
    ($name:ident { $($field:ident: $default:expr),* $(,)? }) => {
        impl<K, V> $name<K, V> {
            /// Nothing given: serdes are taken over from the input.
            #[must_use]
            pub fn new() -> Self {
                Self { serdes: Serdes::none(), $($field: $default),* }
            }

            /// These serdes for keys and values.
            #[must_use]
            pub fn with(
                key: impl Serde<K> + 'static,
                value: impl Serde<V> + 'static,
            ) -> Self {
                Self::new().with_key(key).with_value(value)
            }

            /// This serde for keys.
            #[must_use]
            pub fn with_key(mut self, key: impl Serde<K> + 'static) -> Self {
                self.serdes.key = Some(Arc::new(key));
                self
            }

            /// This serde for values.
            #[must_use]
            pub fn with_value(mut self, value: impl Serde<V> + 'static) -> Self {
                self.serdes.value = Some(Arc::new(value));
                self
            }

            /// Keys as the input has them or else in their [default form](DefaultSerde),
            /// values as JSON.
            #[must_use]
            pub fn json() -> Self
            where
                K: DefaultSerde,
                V: Serialize + DeserializeOwned,
            {
                Self::new().default_key().with_value(JsonSerde)
            }

            /// Keys as the input has them or else in their [default form](DefaultSerde),
            /// values as bincode.
            #[must_use]
            pub fn bincode() -> Self
            where
                K: DefaultSerde,
                V: Serialize + DeserializeOwned,
            {
                Self::new().default_key().with_value(BincodeSerde)
            }

            /// Keys and values in their [default form](DefaultSerde).
            #[must_use]
            pub fn of_types() -> Self
            where
                K: DefaultSerde,
                V: DefaultSerde,
            {
                let mut options = Self::new().default_key();
                options.serdes.value = Some(V::default_serde());
                options
            }

            fn default_key(mut self) -> Self
            where
                K: DefaultSerde,
            {
                self.serdes.key_fallback = Some(K::default_serde());
                self
            }
        }

        impl<K, V> Default for $name<K, V> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<K, V> fmt::Debug for $name<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("key", &self.serdes.key.is_some())
                    .field("value", &self.serdes.value.is_some())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// How a topic is read into a stream or a table.
pub struct Consumed<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) on_bad_record: OnBadRecord,
    pub(crate) reset: OffsetReset,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) timestamp: Option<TimestampExtractor<K, V>>,
}

serde_options!(Consumed {
    name: None,
    on_bad_record: OnBadRecord::Fail,
    reset: OffsetReset::Earliest,
    idle_timeout: None,
    timestamp: None,
});

impl<K, V> Consumed<K, V> {
    /// Names the source processor.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What to do with a record that cannot be deserialized; by default the job fails.
    #[must_use]
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
        self
    }

    /// Where to begin without a committed offset; by default at the earliest record.
    #[must_use]
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.reset = reset;
        self
    }

    /// Reads the event time out of key and value, where the record's own timestamp (the
    /// last argument) is not it. Records of several topics are then not merged by time
    /// any more, and the watermark follows what is read.
    #[must_use]
    pub fn timestamp(
        mut self,
        extract: impl Fn(&K, &V, i64) -> i64 + Send + Sync + 'static,
    ) -> Self {
        self.timestamp = Some(Arc::new(extract));
        self
    }

    /// How long a partition without data holds back the watermark. By default a stream's
    /// partition does so for good, and a table's not at all.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }
}

/// How a stream is written to a topic.
pub struct Produced<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
}

serde_options!(Produced {
    name: None,
    partitioner: None,
});

impl<K, V> Produced<K, V> {
    /// Names the sink processor.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Chooses the partition from key, value and the number of partitions, instead of by
    /// the hash of the key's bytes.
    #[must_use]
    pub fn partitioner(
        mut self,
        choose: impl Fn(&K, &V, i32) -> i32 + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(choose));
        self
    }
}

/// How a stream or table is grouped.
pub struct Grouped<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) partitions: Option<i32>,
}

serde_options!(Grouped {
    name: None,
    partitions: None,
});

impl<K, V> Grouped<K, V> {
    /// Names the repartition topic: `<application.id>-<name>-repartition`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The number of partitions of the repartition topic, if one is needed; by default
    /// as many as the input has.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

/// How a stream is joined with a table: the serdes of the stream's side, which are used
/// if it has to be repartitioned.
pub struct Joined<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) name: Option<String>,
}

serde_options!(Joined { name: None });

impl<K, V> Joined<K, V> {
    /// Names the join's repartition topic, if one is needed.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a stream is written to a repartition topic and read back.
pub struct Repartitioned<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) partitions: Option<i32>,
}

serde_options!(Repartitioned {
    name: None,
    partitions: None,
});

impl<K, V> Repartitioned<K, V> {
    /// Names the topic: `<application.id>-<name>-repartition`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The number of partitions; by default as many as the input has.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

/// How a table is kept.
pub struct Materialized<K, V> {
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) store: Option<String>,
    pub(crate) backend: Backend,
    pub(crate) logging: bool,
    pub(crate) retention: Option<Duration>,
    pub(crate) emit: Emit,
}

serde_options!(Materialized {
    store: None,
    backend: Backend::RocksDb,
    logging: true,
    retention: None,
    emit: Emit::EachUpdate,
});

impl<K, V> Materialized<K, V> {
    /// Keeps the table in a store of this name, under which it can be queried; its
    /// changelog is `<application.id>-<name>-changelog`.
    #[must_use]
    pub fn as_(store: impl Into<String>) -> Self {
        Self {
            store: Some(store.into()),
            ..Self::new()
        }
    }

    /// The same in a store of this name.
    #[must_use]
    pub fn named(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// Keeps the committed rows in memory instead of in RocksDB.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.backend = Backend::InMemory;
        self
    }

    /// Keeps no changelog: rows that are lost with the machine are lost.
    #[must_use]
    pub fn without_changelog(mut self) -> Self {
        self.logging = false;
        self
    }

    /// Keeps the rows of a window for at least `retention` after its start, in stream time.
    /// By default, and at least, that is the window's size and its grace period.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Tells of a row's updates once a commit, with the last state only, as Kafka Streams
    /// does with its record cache. By default every update is told.
    #[must_use]
    pub fn emit_on_commit(mut self) -> Self {
        self.emit = Emit::OnCommit;
        self
    }
}

impl<K, V> Clone for Materialized<K, V> {
    fn clone(&self) -> Self {
        Self {
            serdes: self.serdes.clone(),
            store: self.store.clone(),
            backend: self.backend,
            logging: self.logging,
            retention: self.retention,
            emit: self.emit,
        }
    }
}
