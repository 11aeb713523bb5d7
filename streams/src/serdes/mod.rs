//! Serdes: between the typed keys and values of the DSL and the bytes of a record.
//!
//! A [`Serde`] is a [`Serializer`] and a [`Deserializer`] of one type. Null is not a
//! value of most types: bytes that are absent become a value only through
//! [`Deserializer::deserialize_null`], and a value is written as null only if
//! [`Serializer::is_null`] says so. [`Nullable`] adds null to any serde as `Option`, so
//! that a tombstone is `None` and can never be mistaken for an empty or a default value.
//!
//! Nothing here panics on foreign bytes: every failure is a [`SerdeError`].
//!
//! ```
//! use thalweg_streams::serdes::{I64Serde, Nullable, Deserializer, Serializer};
//!
//! let serde = Nullable(I64Serde);
//! assert_eq!(serde.to_bytes(&Some(1)).unwrap().unwrap().as_ref(), [0, 0, 0, 0, 0, 0, 0, 1]);
//! assert_eq!(serde.to_bytes(&None).unwrap(), None);
//! assert_eq!(serde.deserialize_nullable(None).unwrap(), None::<i64>);
//! ```

mod binary;
mod change;
mod defaults;
mod json;
mod nullable;
mod primitive;
mod probe;
mod windowed;

use std::sync::Arc;

use bytes::Bytes;

pub use binary::BincodeSerde;
pub(crate) use change::ChangeSerde;
pub use defaults::DefaultSerde;
pub use json::JsonSerde;
pub use nullable::Nullable;
pub use primitive::{
    BoolSerde, BytesSerde, F32Serde, F64Serde, I16Serde, I32Serde, I64Serde, StringSerde, U16Serde,
    U32Serde, U64Serde, UnitSerde, UuidSerde,
};
pub use windowed::WindowedSerde;

/// What went wrong between a typed value and its bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// Null bytes where the type has no null.
    #[error(
        "null is no {type_name}: read it as Option<{type_name}>, or let the source skip such records"
    )]
    UnexpectedNull {
        /// The Rust type that was asked for.
        type_name: &'static str,
    },
    /// A fixed-width value of another width.
    #[error("{type_name} takes {expected} bytes, found {actual}")]
    Length {
        /// The Rust type that was asked for.
        type_name: &'static str,
        /// The bytes it takes.
        expected: usize,
        /// The bytes that were there.
        actual: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 after byte {valid_up_to}")]
    Utf8 {
        /// How many bytes from the start are valid.
        valid_up_to: usize,
    },
    /// A byte that is neither 0 nor 1.
    #[error("a bool is the byte 0 or 1, found {0}")]
    Bool(u8),
    /// A JSON document that does not fit the type; the message has line and column.
    #[error("JSON as {type_name}: {source}")]
    Json {
        /// The Rust type that was asked for.
        type_name: &'static str,
        /// What serde_json reports.
        source: serde_json::Error,
    },
    /// Bytes that bincode cannot read as the type.
    #[error("bincode as {type_name}: {message}")]
    Bincode {
        /// The Rust type that was asked for.
        type_name: &'static str,
        /// What bincode reports.
        message: String,
    },
    /// A value that is followed by bytes it does not own.
    #[error("{extra} bytes after the end of {type_name}")]
    Trailing {
        /// The Rust type that was asked for.
        type_name: &'static str,
        /// How many bytes are left over.
        extra: usize,
    },
    /// What a user's own serde reports.
    #[error("{0}")]
    Custom(String),
}

/// Turns values of `T` into bytes.
pub trait Serializer<T>: Send + Sync {
    /// Appends the bytes of a value that is not null to `out`.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError>;

    /// Whether `value` is written as null (a tombstone, or a record without a key)
    /// instead of bytes.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// The part of a key's bytes that decides its partition: all of them, unless keys that
    /// differ belong together. A windowed key lies where the key without its window lies.
    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes
    }

    /// The bytes of `value`; `None` if it is null.
    fn to_bytes(&self, value: &T) -> Result<Option<Bytes>, SerdeError> {
        if self.is_null(value) {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(32);
        self.serialize(value, &mut out)?;
        Ok(Some(Bytes::from(out)))
    }
}

/// Turns bytes into values of `T`.
pub trait Deserializer<T>: Send + Sync {
    /// The value of all of `bytes`.
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError>;

    /// The value that null stands for; an error for a type without null.
    fn deserialize_null(&self) -> Result<T, SerdeError> {
        Err(SerdeError::UnexpectedNull {
            type_name: std::any::type_name::<T>(),
        })
    }

    /// The value of `bytes`, null included.
    fn deserialize_nullable(&self, bytes: Option<&Bytes>) -> Result<T, SerdeError> {
        match bytes {
            Some(bytes) => self.deserialize(bytes),
            None => self.deserialize_null(),
        }
    }
}

/// Both directions for one type.
pub trait Serde<T>: Serializer<T> + Deserializer<T> {}

impl<T, S: Serializer<T> + Deserializer<T> + ?Sized> Serde<T> for S {}

/// A serde that is shared between the tasks of a topology.
pub type SharedSerde<T> = Arc<dyn Serde<T>>;

impl<T, S: Serializer<T> + ?Sized> Serializer<T> for Arc<S> {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        (**self).serialize(value, out)
    }

    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }

    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        (**self).partition_bytes(bytes)
    }
}

impl<T, S: Deserializer<T> + ?Sized> Deserializer<T> for Arc<S> {
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        (**self).deserialize(bytes)
    }

    fn deserialize_null(&self) -> Result<T, SerdeError> {
        (**self).deserialize_null()
    }
}
