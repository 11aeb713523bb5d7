//! The serde a type brings along, so that common keys need not be spelled out.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::typed::Windowed;

/// The serde that stands for a type where none is named.
///
/// Plain types are written as Kafka's own serdes write them, tuples as JSON arrays. A
/// type of one's own joins in with one line:
///
/// ```
/// use thalweg_streams::serdes::{DefaultSerde, JsonSerde};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Campaign { name: String, policy: String }
///
/// impl DefaultSerde for Campaign {
///     type Serde = JsonSerde;
/// }
/// ```
pub trait DefaultSerde: Sized + 'static {
    /// The serde's type.
    type Serde: Serde<Self> + Default + 'static;

    /// The serde, ready to be shared.
    fn default_serde() -> SharedSerde<Self> {
        Arc::new(Self::Serde::default())
    }
}

macro_rules! defaults {
    ($($type:ty: $serde:ty,)*) => {$(
        impl DefaultSerde for $type {
            type Serde = $serde;
        }
    )*};
}

defaults! {
    String: StringSerde,
    i16: I16Serde,
    i32: I32Serde,
    i64: I64Serde,
    u16: U16Serde,
    u32: U32Serde,
    u64: U64Serde,
    f32: F32Serde,
    f64: F64Serde,
    bool: BoolSerde,
    Uuid: UuidSerde,
    Bytes: BytesSerde,
    Vec<u8>: BytesSerde,
    (): UnitSerde,
    serde_json::Value: JsonSerde,
}

impl<T: DefaultSerde> DefaultSerde for Option<T> {
    type Serde = Nullable<T::Serde>;
}

/// A windowed key that has lost the layout it came with (windowed tables have one of their
/// own, [`WindowedSerde`]) is written as a JSON object.
impl<K> DefaultSerde for Windowed<K>
where
    K: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    type Serde = JsonSerde;
}

macro_rules! tuples {
    ($(($($name:ident),+))*) => {$(
        impl<$($name: serde::Serialize + serde::de::DeserializeOwned + 'static),+> DefaultSerde
            for ($($name,)+)
        {
            type Serde = JsonSerde;
        }
    )*};
}

tuples! { (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) }
