//! Null as `Option`: the one way to read and write tombstones and records without a key.

use bytes::Bytes;

use super::{Deserializer, SerdeError, Serializer};

/// Adds null to a serde: `None` is null, `Some` is what the inner serde makes of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nullable<S>(pub S);

impl<T, S: Serializer<T>> Serializer<Option<T>> for Nullable<S> {
    fn serialize(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        match value {
            Some(value) => self.0.serialize(value, out),
            None => Ok(()),
        }
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        self.0.partition_bytes(bytes)
    }
}

impl<T, S: Deserializer<T>> Deserializer<Option<T>> for Nullable<S> {
    fn deserialize(&self, bytes: &Bytes) -> Result<Option<T>, SerdeError> {
        self.0.deserialize(bytes).map(Some)
    }

    fn deserialize_null(&self) -> Result<Option<T>, SerdeError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::StringSerde;
    use super::*;

    #[test]
    fn an_empty_string_is_not_null() {
        let serde = Nullable(StringSerde);
        let empty = serde.to_bytes(&Some(String::new())).unwrap();
        assert_eq!(empty.as_deref(), Some(&b""[..]));
        assert_eq!(
            serde.deserialize_nullable(empty.as_ref()).unwrap(),
            Some(String::new())
        );
        assert_eq!(serde.to_bytes(&None).unwrap(), None);
        assert_eq!(serde.deserialize_nullable(None).unwrap(), None);
    }
}
