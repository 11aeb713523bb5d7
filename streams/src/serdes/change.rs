//! A table's changes on their way through a repartition topic: a byte that says which of
//! the two values are there, the length of the new one, and both. The upper bits of the
//! first byte are the format's version, 0.

use bytes::Bytes;

use super::{Deserializer, SerdeError, Serializer, SharedSerde};
use crate::typed::Change;

const HAS_NEW: u8 = 1;
const HAS_OLD: u8 = 2;
const HEAD: usize = 5;

/// The serde of a [`Change`] of values that `value` reads and writes.
pub(crate) struct ChangeSerde<V> {
    value: SharedSerde<V>,
}

impl<V> ChangeSerde<V> {
    pub(crate) fn new(value: SharedSerde<V>) -> Self {
        Self { value }
    }
}

impl<V> Serializer<Change<V>> for ChangeSerde<V> {
    fn serialize(&self, change: &Change<V>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        let new = change.new.as_ref();
        let old = change.old.as_ref();
        let head = out.len();
        out.push(new.map_or(0, |_| HAS_NEW) | old.map_or(0, |_| HAS_OLD));
        out.extend_from_slice(&[0; HEAD - 1]);
        if let Some(new) = new {
            self.value.serialize(new, out)?;
        }
        let length = u32::try_from(out.len() - head - HEAD)
            .map_err(|_| SerdeError::Custom("the value is longer than 4 GiB".to_owned()))?;
        if let Some(place) = out.get_mut(head + 1..head + HEAD) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        if let Some(old) = old {
            self.value.serialize(old, out)?;
        }
        Ok(())
    }
}

impl<V> Deserializer<Change<V>> for ChangeSerde<V> {
    fn deserialize(&self, bytes: &Bytes) -> Result<Change<V>, SerdeError> {
        let short = SerdeError::Length {
            type_name: "a table's change",
            expected: HEAD,
            actual: bytes.len(),
        };
        let Some(([has, length @ ..], rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(short);
        };
        if has & !(HAS_NEW | HAS_OLD) != 0 {
            return Err(SerdeError::Custom(
                "a newer release has written this change of a table: use that one".to_owned(),
            ));
        }
        let length = u32::from_be_bytes(*length) as usize;
        if length > rest.len() {
            return Err(SerdeError::Length {
                type_name: "a table's change",
                expected: HEAD + length,
                actual: bytes.len(),
            });
        }
        let part = |flag: u8, part: Bytes| {
            (has & flag != 0)
                .then(|| self.value.deserialize(&part))
                .transpose()
        };
        Ok(Change {
            new: part(HAS_NEW, bytes.slice(HEAD..HEAD + length))?,
            old: part(HAS_OLD, bytes.slice(HEAD + length..))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::StringSerde;
    use super::*;

    #[test]
    fn both_values_of_a_change_survive_and_hostile_bytes_are_errors() {
        let serde = ChangeSerde::new(Arc::new(StringSerde));
        for old in [None, Some(String::new()), Some("old".to_owned())] {
            for new in [None, Some(String::new()), Some("new".to_owned())] {
                let change = Change {
                    old: old.clone(),
                    new: new.clone(),
                };
                let bytes = serde.to_bytes(&change).unwrap().unwrap();
                assert_eq!(serde.deserialize(&bytes).unwrap(), change);
            }
        }
        let golden = Change {
            old: Some("old".to_owned()),
            new: Some("n".to_owned()),
        };
        let bytes = serde.to_bytes(&golden).unwrap().unwrap();
        assert_eq!(bytes.as_ref(), b"\x03\0\0\0\x01nold");
        for hostile in [
            &b""[..],
            b"\x01",
            b"\x01\xff\xff\xff\xff",
            b"\x03\0\0\0\x02a",
        ] {
            assert!(serde.deserialize(&Bytes::copy_from_slice(hostile)).is_err());
        }
    }
}
