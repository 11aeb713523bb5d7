//! Windowed keys in Kafka Streams' layout: the key's bytes, then the window's start as a
//! big-endian long. The end is not written; the reader knows the size.

use std::time::Duration;

use bytes::Bytes;

use super::{Deserializer, SerdeError, Serializer, SharedSerde};
use crate::typed::{Window, Windowed};

/// The serde of [`Windowed`] keys of time windows of one size.
#[derive(Clone)]
pub struct WindowedSerde<K> {
    key: SharedSerde<K>,
    size_ms: i64,
}

impl<K> WindowedSerde<K> {
    /// Keys of `key` in windows of `size`.
    pub fn new(key: SharedSerde<K>, size: Duration) -> Self {
        Self::of_millis(key, i64::try_from(size.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn of_millis(key: SharedSerde<K>, size_ms: i64) -> Self {
        Self { key, size_ms }
    }
}

impl<K> std::fmt::Debug for WindowedSerde<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowedSerde")
            .field("size_ms", &self.size_ms)
            .finish_non_exhaustive()
    }
}

impl<K> Serializer<Windowed<K>> for WindowedSerde<K> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        self.key.serialize(&value.key, out)?;
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(())
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.key.is_null(&value.key)
    }

    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let key = bytes.split_last_chunk::<8>().map_or(bytes, |(key, _)| key);
        self.key.partition_bytes(key)
    }
}

impl<K> Deserializer<Windowed<K>> for WindowedSerde<K> {
    fn deserialize(&self, bytes: &Bytes) -> Result<Windowed<K>, SerdeError> {
        let Some((_, start)) = bytes.split_last_chunk::<8>() else {
            return Err(SerdeError::Length {
                type_name: "windowed key",
                expected: 8,
                actual: bytes.len(),
            });
        };
        let start = i64::from_be_bytes(*start);
        let key = self.key.deserialize(&bytes.slice(..bytes.len() - 8))?;
        Ok(Windowed {
            key,
            window: Window {
                start,
                end: start.saturating_add(self.size_ms),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::StringSerde;
    use super::*;

    #[test]
    fn a_windowed_key_is_the_key_and_the_start() {
        let serde = WindowedSerde::new(Arc::new(StringSerde), Duration::from_millis(10));
        let key = Windowed {
            key: "a".to_owned(),
            window: Window { start: 20, end: 30 },
        };
        let bytes = serde.to_bytes(&key).unwrap().unwrap();
        assert_eq!(bytes.as_ref(), b"a\0\0\0\0\0\0\0\x14");
        assert_eq!(serde.deserialize(&bytes).unwrap(), key);
        assert_eq!(serde.partition_bytes(&bytes), b"a");
        assert!(serde.deserialize(&Bytes::from_static(b"short")).is_err());
    }
}
