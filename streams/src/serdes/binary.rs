//! Any serde type in bincode 2's standard encoding: compact, the default for internal
//! topics and stores whose bytes only this program reads.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Deserializer, SerdeError, Serializer};

/// Any serde type as bincode (little-endian, variable-length integers). Null is not
/// among its values; see [`Nullable`](super::Nullable).
#[derive(Debug, Clone, Copy, Default)]
pub struct BincodeSerde;

impl<T: Serialize> Serializer<T> for BincodeSerde {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        match bincode::serde::encode_into_std_write(value, out, bincode::config::standard()) {
            Ok(_) => Ok(()),
            Err(error) => Err(SerdeError::Bincode {
                type_name: std::any::type_name::<T>(),
                message: error.to_string(),
            }),
        }
    }
}

/// Decodes with a bound on memory. Bincode believes a length it reads, whatever is behind
/// it, unless it is told a limit, and limits are part of its configuration's type. A byte
/// of input makes at most sixteen of a number, so each of these leaves room to spare.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    use bincode::config::standard;
    use bincode::serde::decode_from_slice;

    match bytes.len() {
        0..=0x400 => decode_from_slice(bytes, standard().with_limit::<0x8000>()),
        0x401..=0x8000 => decode_from_slice(bytes, standard().with_limit::<0x10_0000>()),
        0x8001..=0x10_0000 => decode_from_slice(bytes, standard().with_limit::<0x200_0000>()),
        0x10_0001..=0x200_0000 => decode_from_slice(bytes, standard().with_limit::<0x4000_0000>()),
        _ => decode_from_slice(bytes, standard().with_limit::<0x10_0000_0000>()),
    }
}

impl<T: DeserializeOwned> Deserializer<T> for BincodeSerde {
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        let type_name = std::any::type_name::<T>();
        match decode(bytes) {
            Ok((value, read)) if read == bytes.len() => Ok(value),
            Ok((_, read)) => Err(SerdeError::Trailing {
                type_name,
                extra: bytes.len() - read,
            }),
            Err(error) => Err(SerdeError::Bincode {
                type_name,
                message: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_nothing_left_over() {
        let value = (1_u32, "Tal".to_owned(), Some(-5_i64));
        let bytes = BincodeSerde.to_bytes(&value).unwrap().unwrap();
        let read: (u32, String, Option<i64>) = BincodeSerde.deserialize(&bytes).unwrap();
        assert_eq!(read, value);
        let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
        assert!(matches!(
            Deserializer::<(u32, String, Option<i64>)>::deserialize(&BincodeSerde, &longer),
            Err(SerdeError::Trailing { extra: 1, .. })
        ));
    }

    #[test]
    fn a_huge_length_in_a_short_message_is_an_error() {
        let hostile = Bytes::from_static(&[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert!(Deserializer::<Vec<u64>>::deserialize(&BincodeSerde, &hostile).is_err());
        assert!(Deserializer::<String>::deserialize(&BincodeSerde, &hostile).is_err());
    }
}
