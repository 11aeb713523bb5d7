//! JSON documents through serde.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Deserializer, SerdeError, Serializer, probe};

/// Any serde type as a JSON document.
///
/// A value that serde sees as nothing (`None`, `()`) is written as null and not as the
/// text `null`, so that `Option` values are tombstones here too. On the way in, both
/// null and the text `null` are `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonSerde;

fn json_error<T>(source: serde_json::Error) -> SerdeError {
    SerdeError::Json {
        type_name: std::any::type_name::<T>(),
        source,
    }
}

impl<T: Serialize> Serializer<T> for JsonSerde {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        serde_json::to_writer(out, value).map_err(json_error::<T>)
    }

    fn is_null(&self, value: &T) -> bool {
        probe::is_nothing(value)
    }
}

impl<T: DeserializeOwned> Deserializer<T> for JsonSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        serde_json::from_slice(bytes).map_err(json_error::<T>)
    }

    fn deserialize_null(&self) -> Result<T, SerdeError> {
        T::deserialize(probe::Nothing).map_err(|_| SerdeError::UnexpectedNull {
            type_name: std::any::type_name::<T>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Click {
        item: u32,
        user: Option<String>,
    }

    #[test]
    fn none_is_a_tombstone_and_not_the_text_null() {
        assert_eq!(JsonSerde.to_bytes(&None::<Click>).unwrap(), None);
        assert_eq!(JsonSerde.to_bytes(&()).unwrap(), None);
        let click = Click {
            item: 7,
            user: None,
        };
        let bytes = JsonSerde.to_bytes(&Some(&click)).unwrap().unwrap();
        assert_eq!(bytes, r#"{"item":7,"user":null}"#);
        let read: Option<Click> = JsonSerde.deserialize_nullable(Some(&bytes)).unwrap();
        assert_eq!(read, Some(click));
        assert_eq!(
            Deserializer::<Option<Click>>::deserialize_nullable(&JsonSerde, None).unwrap(),
            None
        );
    }

    #[test]
    fn null_is_no_struct_and_no_number() {
        assert!(matches!(
            Deserializer::<Click>::deserialize_nullable(&JsonSerde, None),
            Err(SerdeError::UnexpectedNull { .. })
        ));
        assert!(Deserializer::<i64>::deserialize_nullable(&JsonSerde, None).is_err());
    }

    #[test]
    fn an_error_names_the_place() {
        let bytes = Bytes::from_static(b"{\"item\": \"x\"}");
        let error = Deserializer::<Click>::deserialize(&JsonSerde, &bytes).unwrap_err();
        assert!(error.to_string().contains("line 1 column"), "{error}");
        let trailing = Bytes::from_static(b"1 2");
        assert!(Deserializer::<i64>::deserialize(&JsonSerde, &trailing).is_err());
    }
}
