//! Serdes of plain types, byte for byte as Kafka's own: numbers big-endian, strings UTF-8.

use bytes::Bytes;
use uuid::Uuid;

use super::{Deserializer, SerdeError, Serializer};

/// Strings as UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct StringSerde;

impl Serializer<String> for StringSerde {
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

impl Deserializer<String> for StringSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<String, SerdeError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(SerdeError::Utf8 {
                valid_up_to: error.valid_up_to(),
            }),
        }
    }
}

macro_rules! big_endian {
    ($(#[$doc:meta] $serde:ident: $type:ty;)*) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $serde;

        impl Serializer<$type> for $serde {
            fn serialize(&self, value: &$type, out: &mut Vec<u8>) -> Result<(), SerdeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
        }

        impl Deserializer<$type> for $serde {
            fn deserialize(&self, bytes: &Bytes) -> Result<$type, SerdeError> {
                match bytes.as_ref().try_into() {
                    Ok(fixed) => Ok(<$type>::from_be_bytes(fixed)),
                    Err(_) => Err(SerdeError::Length {
                        type_name: stringify!($type),
                        expected: size_of::<$type>(),
                        actual: bytes.len(),
                    }),
                }
            }
        }
    )*};
}

big_endian! {
    /// `i16` as Kafka's Short.
    I16Serde: i16;
    /// `i32` as Kafka's Integer.
    I32Serde: i32;
    /// `i64` as Kafka's Long.
    I64Serde: i64;
    /// `u16`, big-endian.
    U16Serde: u16;
    /// `u32`, big-endian.
    U32Serde: u32;
    /// `u64`, big-endian.
    U64Serde: u64;
    /// `f32` as Kafka's Float.
    F32Serde: f32;
    /// `f64` as Kafka's Double.
    F64Serde: f64;
}

/// `bool` as Kafka's Boolean: one byte, 0 or 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoolSerde;

impl Serializer<bool> for BoolSerde {
    fn serialize(&self, value: &bool, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        out.push(u8::from(*value));
        Ok(())
    }
}

impl Deserializer<bool> for BoolSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<bool, SerdeError> {
        match bytes.as_ref() {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(SerdeError::Bool(*other)),
            _ => Err(SerdeError::Length {
                type_name: "bool",
                expected: 1,
                actual: bytes.len(),
            }),
        }
    }
}

/// A UUID as its text, as Kafka's UUID serde writes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct UuidSerde;

impl Serializer<Uuid> for UuidSerde {
    fn serialize(&self, value: &Uuid, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        out.extend_from_slice(value.hyphenated().encode_lower(&mut text).as_bytes());
        Ok(())
    }
}

impl Deserializer<Uuid> for UuidSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<Uuid, SerdeError> {
        Uuid::try_parse_ascii(bytes).map_err(|error| SerdeError::Custom(format!("UUID: {error}")))
    }
}

/// Bytes as they are; reading them shares the batch they lie in.
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesSerde;

impl Serializer<Bytes> for BytesSerde {
    fn serialize(&self, value: &Bytes, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn to_bytes(&self, value: &Bytes) -> Result<Option<Bytes>, SerdeError> {
        Ok(Some(value.clone()))
    }
}

impl Deserializer<Bytes> for BytesSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<Bytes, SerdeError> {
        Ok(bytes.clone())
    }
}

impl Serializer<Vec<u8>> for BytesSerde {
    fn serialize(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        out.extend_from_slice(value);
        Ok(())
    }
}

impl Deserializer<Vec<u8>> for BytesSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<Vec<u8>, SerdeError> {
        Ok(bytes.to_vec())
    }
}

/// Nothing: always null when written, whatever was there when read. For streams whose
/// keys do not matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnitSerde;

impl Serializer<()> for UnitSerde {
    fn serialize(&self, _value: &(), _out: &mut Vec<u8>) -> Result<(), SerdeError> {
        Ok(())
    }

    fn is_null(&self, _value: &()) -> bool {
        true
    }
}

impl Deserializer<()> for UnitSerde {
    fn deserialize(&self, _bytes: &Bytes) -> Result<(), SerdeError> {
        Ok(())
    }

    fn deserialize_null(&self) -> Result<(), SerdeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: PartialEq + std::fmt::Debug>(
        serde: impl Serializer<T> + Deserializer<T>,
        value: T,
    ) -> Vec<u8> {
        let bytes = serde.to_bytes(&value).unwrap().unwrap();
        assert_eq!(serde.deserialize(&bytes).unwrap(), value);
        bytes.to_vec()
    }

    #[test]
    fn numbers_are_big_endian_as_kafkas() {
        assert_eq!(there_and_back(I16Serde, -2), [0xff, 0xfe]);
        assert_eq!(there_and_back(I32Serde, 258), [0, 0, 1, 2]);
        assert_eq!(there_and_back(I64Serde, -1), [0xff; 8]);
        assert_eq!(there_and_back(U64Serde, 1), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            there_and_back(F64Serde, 1.0),
            [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(there_and_back(BoolSerde, true), [1]);
        assert_eq!(there_and_back(StringSerde, "Tal".to_owned()), b"Tal");
    }

    #[test]
    fn foreign_bytes_are_an_error_and_never_a_panic() {
        let short = Bytes::from_static(&[1, 2, 3]);
        assert!(matches!(
            I64Serde.deserialize(&short),
            Err(SerdeError::Length {
                expected: 8,
                actual: 3,
                ..
            })
        ));
        assert!(matches!(
            StringSerde.deserialize(&Bytes::from_static(&[b'a', 0xff])),
            Err(SerdeError::Utf8 { valid_up_to: 1 })
        ));
        assert!(matches!(
            BoolSerde.deserialize(&Bytes::from_static(&[2])),
            Err(SerdeError::Bool(2))
        ));
        assert!(UuidSerde.deserialize(&short).is_err());
        assert!(matches!(
            Deserializer::<String>::deserialize_nullable(&StringSerde, None),
            Err(SerdeError::UnexpectedNull { .. })
        ));
    }
}
