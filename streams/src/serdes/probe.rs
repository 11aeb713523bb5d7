//! Asking serde whether a value is nothing, and what nothing is as a type.
//!
//! `Option` cannot be told from other types by trait bounds alone. A serializer that
//! gives up at the first thing it sees tells them apart without writing a byte.

use std::fmt;

use serde::de::{self, Visitor};
use serde::ser::{self, Impossible, Serialize};

/// Whether serde sees `value` as nothing: `None`, `()`, or an option or newtype of those.
pub(super) fn is_nothing<T: Serialize + ?Sized>(value: &T) -> bool {
    value.serialize(Probe).is_ok()
}

/// The answer "something", in the only form a serializer can give up in.
#[derive(Debug)]
pub(super) struct Something;

impl fmt::Display for Something {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not nothing")
    }
}

impl std::error::Error for Something {}

impl ser::Error for Something {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl de::Error for Something {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

struct Probe;

macro_rules! something {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method(self, _value: $type) -> Result<(), Something> {
            Err(Something)
        }
    )*};
}

impl ser::Serializer for Probe {
    type Ok = ();
    type Error = Something;
    type SerializeSeq = Impossible<(), Something>;
    type SerializeTuple = Impossible<(), Something>;
    type SerializeTupleStruct = Impossible<(), Something>;
    type SerializeTupleVariant = Impossible<(), Something>;
    type SerializeMap = Impossible<(), Something>;
    type SerializeStruct = Impossible<(), Something>;
    type SerializeStructVariant = Impossible<(), Something>;

    something! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_none(self) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Something> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<(), Something> {
        Err(Something)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Something> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Something> {
        Err(Something)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, Something> {
        Err(Something)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, Something> {
        Err(Something)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, Something> {
        Err(Something)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Something> {
        Err(Something)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Something> {
        Err(Something)
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStruct, Something> {
        Err(Something)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Something> {
        Err(Something)
    }
}

/// A deserializer that holds nothing: `Option` reads it as `None`, `()` as `()`, and
/// every type without a null refuses it.
pub(super) struct Nothing;

impl<'de> de::Deserializer<'de> for Nothing {
    type Error = Something;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Something> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Something> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Something> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf unit unit_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
