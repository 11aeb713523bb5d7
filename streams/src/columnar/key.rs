//! The memcomparable key codec: rows of columns to byte strings that sort as the rows do.
//!
//! Invariants: comparing two encoded keys byte by byte orders them as comparing their
//! columns from left to right does (nulls first, floats by IEEE total order, strings and
//! bytes as unsigned bytes); decoding gives back exactly what was encoded, bit for bit;
//! and no key is a prefix of another key of the same column types, so that a key can be
//! followed by anything and still be found by a prefix scan. What is written is named by
//! a [`KeyVersion`], which a plan keeps, so that a later release can read it.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BinaryViewBuilder, BooleanBuilder,
    FixedSizeBinaryBuilder, LargeBinaryBuilder, LargeStringBuilder, PrimitiveArray,
    PrimitiveBuilder, StringBuilder, StringViewBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The layout of encoded keys. A persisted plan names the one its stores were written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyVersion {
    /// A marker byte a column (0 null, 1 value), then: booleans as a byte; integers big
    /// endian with the sign bit turned; floats big endian in total order; strings and
    /// bytes with `00` as `00 ff`, ended by `00 00`.
    #[default]
    V1,
}

/// A key that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A column whose type has no order-preserving encoding.
    #[error(
        "a column of type {0} cannot be part of a key; use numbers, strings, bytes, booleans, dates, times or timestamps"
    )]
    UnsupportedType(DataType),
    /// Bytes that no encoder wrote.
    #[error("key bytes are malformed at byte {at}: {what}")]
    Malformed {
        /// Where in the key.
        at: usize,
        /// What was found.
        what: &'static str,
    },
    /// A column that is not of the type the codec was made for.
    #[error("key column {column} is of type {found}, not {expected}")]
    TypeMismatch {
        /// Position within the key.
        column: usize,
        /// The type given.
        found: DataType,
        /// The type of the codec.
        expected: DataType,
    },
}

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// The physical layout of a fixed-width column, with the integer it is ordered by.
macro_rules! for_each_primitive {
    ($m:ident) => {
        $m! {
            Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
            UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type,
            Float32 => Float32Type, Float64 => Float64Type,
            Date32 => Date32Type, Date64 => Date64Type,
            Time32Second => Time32SecondType, Time32Millisecond => Time32MillisecondType,
            Time64Microsecond => Time64MicrosecondType, Time64Nanosecond => Time64NanosecondType,
            TimestampSecond => TimestampSecondType, TimestampMillisecond => TimestampMillisecondType,
            TimestampMicrosecond => TimestampMicrosecondType, TimestampNanosecond => TimestampNanosecondType,
            DurationSecond => DurationSecondType, DurationMillisecond => DurationMillisecondType,
            DurationMicrosecond => DurationMicrosecondType, DurationNanosecond => DurationNanosecondType,
            Decimal128 => Decimal128Type,
        }
    };
}

/// A native value that has an order-preserving big-endian form.
trait Ordered: Copy {
    const WIDTH: usize;
    fn put(self, out: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Option<Self>;
}

macro_rules! ordered_signed {
    ($($t:ty as $u:ty),*) => { $(
        impl Ordered for $t {
            const WIDTH: usize = size_of::<$t>();
            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&((self as $u) ^ (1 << (<$u>::BITS - 1))).to_be_bytes());
            }
            #[inline]
            fn take(bytes: &[u8]) -> Option<Self> {
                let u = <$u>::from_be_bytes(bytes.try_into().ok()?);
                Some((u ^ (1 << (<$u>::BITS - 1))) as $t)
            }
        }
    )* };
}

macro_rules! ordered_unsigned {
    ($($t:ty),*) => { $(
        impl Ordered for $t {
            const WIDTH: usize = size_of::<$t>();
            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            #[inline]
            fn take(bytes: &[u8]) -> Option<Self> {
                Some(<$t>::from_be_bytes(bytes.try_into().ok()?))
            }
        }
    )* };
}

macro_rules! ordered_float {
    ($($t:ty as $u:ty),*) => { $(
        impl Ordered for $t {
            const WIDTH: usize = size_of::<$t>();
            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                let bits = self.to_bits();
                let sign = 1 << (<$u>::BITS - 1);
                let ordered = if bits & sign == 0 { bits ^ sign } else { !bits };
                out.extend_from_slice(&ordered.to_be_bytes());
            }
            #[inline]
            fn take(bytes: &[u8]) -> Option<Self> {
                let ordered = <$u>::from_be_bytes(bytes.try_into().ok()?);
                let sign = 1 << (<$u>::BITS - 1);
                Some(<$t>::from_bits(if ordered & sign == 0 { !ordered } else { ordered ^ sign }))
            }
        }
    )* };
}

ordered_signed!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, i128 as u128);
ordered_unsigned!(u8, u16, u32, u64);
ordered_float!(f32 as u32, f64 as u64);

#[inline]
fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(zero) = rest.iter().position(|b| *b == 0) {
        let (before, after) = rest.split_at(zero);
        out.extend_from_slice(before);
        out.extend_from_slice(&[0, 0xff]);
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// Borrowed, typed columns, so that a row is encoded without a downcast or an allocation.
macro_rules! column_enum {
    ($($name:ident => $ty:ty),* $(,)?) => {
        enum Column<'a> {
            $($name(&'a PrimitiveArray<$ty>),)*
            Boolean(&'a arrow::array::BooleanArray),
            Utf8(&'a arrow::array::StringArray),
            LargeUtf8(&'a arrow::array::LargeStringArray),
            Utf8View(&'a arrow::array::StringViewArray),
            Binary(&'a arrow::array::BinaryArray),
            LargeBinary(&'a arrow::array::LargeBinaryArray),
            BinaryView(&'a arrow::array::BinaryViewArray),
            FixedSizeBinary(&'a arrow::array::FixedSizeBinaryArray),
            Null,
        }

        impl<'a> Column<'a> {
            fn put(&self, row: usize, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(a) => {
                        if a.is_null(row) { out.push(NULL) } else { out.push(VALUE); a.value(row).put(out) }
                    })*
                    Self::Boolean(a) => {
                        if a.is_null(row) { out.push(NULL) } else { out.push(VALUE); out.push(u8::from(a.value(row))) }
                    }
                    Self::Utf8(a) => put_var(a.is_null(row), || a.value(row).as_bytes(), out),
                    Self::LargeUtf8(a) => put_var(a.is_null(row), || a.value(row).as_bytes(), out),
                    Self::Utf8View(a) => put_var(a.is_null(row), || a.value(row).as_bytes(), out),
                    Self::Binary(a) => put_var(a.is_null(row), || a.value(row), out),
                    Self::LargeBinary(a) => put_var(a.is_null(row), || a.value(row), out),
                    Self::BinaryView(a) => put_var(a.is_null(row), || a.value(row), out),
                    Self::FixedSizeBinary(a) => {
                        if a.is_null(row) { out.push(NULL) } else { out.push(VALUE); out.extend_from_slice(a.value(row)) }
                    }
                    Self::Null => out.push(NULL),
                }
            }
        }

        enum Builder {
            $($name(PrimitiveBuilder<$ty>),)*
            Boolean(BooleanBuilder),
            Utf8(StringBuilder),
            LargeUtf8(LargeStringBuilder),
            Utf8View(StringViewBuilder),
            Binary(BinaryBuilder),
            LargeBinary(LargeBinaryBuilder),
            BinaryView(BinaryViewBuilder),
            FixedSizeBinary(i32, FixedSizeBinaryBuilder),
            Null(usize),
        }

        impl Builder {
            fn append_null(&mut self) {
                match self {
                    $(Self::$name(b) => b.append_null(),)*
                    Self::Boolean(b) => b.append_null(),
                    Self::Utf8(b) => b.append_null(),
                    Self::LargeUtf8(b) => b.append_null(),
                    Self::Utf8View(b) => b.append_null(),
                    Self::Binary(b) => b.append_null(),
                    Self::LargeBinary(b) => b.append_null(),
                    Self::BinaryView(b) => b.append_null(),
                    Self::FixedSizeBinary(_, b) => b.append_null(),
                    Self::Null(n) => *n += 1,
                }
            }

            fn append(&mut self, input: &mut Input<'_>, scratch: &mut Vec<u8>) -> Result<(), KeyError> {
                match self {
                    $(Self::$name(b) => b.append_value(input.fixed()?),)*
                    Self::Boolean(b) => b.append_value(match input.take(1)? { [0] => false, [1] => true, _ => return Err(input.malformed("not a boolean")) }),
                    Self::Utf8(b) => { let at = input.at; b.append_value(as_str(input.var(scratch)?, at)?) }
                    Self::LargeUtf8(b) => { let at = input.at; b.append_value(as_str(input.var(scratch)?, at)?) }
                    Self::Utf8View(b) => { let at = input.at; b.append_value(as_str(input.var(scratch)?, at)?) }
                    Self::Binary(b) => b.append_value(input.var(scratch)?),
                    Self::LargeBinary(b) => b.append_value(input.var(scratch)?),
                    Self::BinaryView(b) => b.append_value(input.var(scratch)?),
                    Self::FixedSizeBinary(width, b) => {
                        let at = input.at;
                        let bytes = input.take(usize::try_from(*width).unwrap_or(0))?;
                        b.append_value(bytes).map_err(|_| KeyError::Malformed { at, what: "a value of another width" })?
                    }
                    Self::Null(_) => return Err(input.malformed("a value in a column of nulls")),
                }
                Ok(())
            }

            fn finish(&mut self, data_type: &DataType) -> ArrayRef {
                match self {
                    $(Self::$name(b) => Arc::new(b.finish().with_data_type(data_type.clone())),)*
                    Self::Boolean(b) => Arc::new(b.finish()),
                    Self::Utf8(b) => Arc::new(b.finish()),
                    Self::LargeUtf8(b) => Arc::new(b.finish()),
                    Self::Utf8View(b) => Arc::new(b.finish()),
                    Self::Binary(b) => Arc::new(b.finish()),
                    Self::LargeBinary(b) => Arc::new(b.finish()),
                    Self::BinaryView(b) => Arc::new(b.finish()),
                    Self::FixedSizeBinary(_, b) => Arc::new(b.finish()),
                    Self::Null(n) => Arc::new(arrow::array::NullArray::new(std::mem::take(n))),
                }
            }
        }

        impl Kind {
            fn column<'a>(self, array: &'a dyn Array) -> Column<'a> {
                match self {
                    $(Kind::$name => Column::$name(array.as_primitive::<$ty>()),)*
                    Kind::Boolean => Column::Boolean(array.as_boolean()),
                    Kind::Utf8 => Column::Utf8(array.as_string()),
                    Kind::LargeUtf8 => Column::LargeUtf8(array.as_string()),
                    Kind::Utf8View => Column::Utf8View(array.as_string_view()),
                    Kind::Binary => Column::Binary(array.as_binary()),
                    Kind::LargeBinary => Column::LargeBinary(array.as_binary()),
                    Kind::BinaryView => Column::BinaryView(array.as_binary_view()),
                    Kind::FixedSizeBinary(_) => Column::FixedSizeBinary(array.as_fixed_size_binary()),
                    Kind::Null => Column::Null,
                }
            }

            fn builder(self) -> Builder {
                match self {
                    $(Kind::$name => Builder::$name(PrimitiveBuilder::new()),)*
                    Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
                    Kind::Utf8 => Builder::Utf8(StringBuilder::new()),
                    Kind::LargeUtf8 => Builder::LargeUtf8(LargeStringBuilder::new()),
                    Kind::Utf8View => Builder::Utf8View(StringViewBuilder::new()),
                    Kind::Binary => Builder::Binary(BinaryBuilder::new()),
                    Kind::LargeBinary => Builder::LargeBinary(LargeBinaryBuilder::new()),
                    Kind::BinaryView => Builder::BinaryView(BinaryViewBuilder::new()),
                    Kind::FixedSizeBinary(w) => Builder::FixedSizeBinary(w, FixedSizeBinaryBuilder::new(w)),
                    Kind::Null => Builder::Null(0),
                }
            }
        }

        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind {
            $($name,)*
            Boolean, Utf8, LargeUtf8, Utf8View, Binary, LargeBinary, BinaryView, FixedSizeBinary(i32), Null,
        }
    };
}
for_each_primitive!(column_enum);

#[inline]
fn put_var<'a>(null: bool, value: impl FnOnce() -> &'a [u8], out: &mut Vec<u8>) {
    if null {
        out.push(NULL);
    } else {
        out.push(VALUE);
        put_bytes(value(), out);
    }
}

fn as_str(bytes: &[u8], at: usize) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes).map_err(|_| KeyError::Malformed {
        at,
        what: "a string that is not UTF-8",
    })
}

impl Kind {
    fn of(data_type: &DataType) -> Result<Self, KeyError> {
        Ok(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Date32 => Self::Date32,
            DataType::Date64 => Self::Date64,
            DataType::Time32(TimeUnit::Second) => Self::Time32Second,
            DataType::Time32(TimeUnit::Millisecond) => Self::Time32Millisecond,
            DataType::Time64(TimeUnit::Microsecond) => Self::Time64Microsecond,
            DataType::Time64(TimeUnit::Nanosecond) => Self::Time64Nanosecond,
            DataType::Timestamp(TimeUnit::Second, _) => Self::TimestampSecond,
            DataType::Timestamp(TimeUnit::Millisecond, _) => Self::TimestampMillisecond,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::TimestampMicrosecond,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::TimestampNanosecond,
            DataType::Duration(TimeUnit::Second) => Self::DurationSecond,
            DataType::Duration(TimeUnit::Millisecond) => Self::DurationMillisecond,
            DataType::Duration(TimeUnit::Microsecond) => Self::DurationMicrosecond,
            DataType::Duration(TimeUnit::Nanosecond) => Self::DurationNanosecond,
            DataType::Decimal128(_, _) => Self::Decimal128,
            DataType::Utf8 => Self::Utf8,
            DataType::LargeUtf8 => Self::LargeUtf8,
            DataType::Utf8View => Self::Utf8View,
            DataType::Binary => Self::Binary,
            DataType::LargeBinary => Self::LargeBinary,
            DataType::BinaryView => Self::BinaryView,
            DataType::FixedSizeBinary(width) => Self::FixedSizeBinary(*width),
            other => return Err(KeyError::UnsupportedType(other.clone())),
        })
    }
}

/// Encodes and decodes the keys of fixed column types.
///
/// ```
/// use arrow::array::{ArrayRef, Int64Array, StringArray};
/// use arrow::datatypes::DataType;
/// use std::sync::Arc;
/// use thalweg_streams::columnar::{EncodedKeys, KeyCodec, KeyVersion};
///
/// let codec = KeyCodec::new(KeyVersion::V1, vec![DataType::Utf8, DataType::Int64])?;
/// let columns: Vec<ArrayRef> = vec![
///     Arc::new(StringArray::from(vec!["b", "a", "a"])),
///     Arc::new(Int64Array::from(vec![Some(1), Some(-1), None])),
/// ];
/// let mut keys = EncodedKeys::default();
/// codec.encode(&columns, 3, &mut keys)?;
/// assert!(keys.key(2) < keys.key(1) && keys.key(1) < keys.key(0));
/// assert_eq!(codec.decode(keys.iter())?, columns);
/// # Ok::<(), thalweg_streams::columnar::KeyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeyCodec {
    types: Vec<DataType>,
    kinds: Vec<Kind>,
}

impl KeyCodec {
    /// A codec for keys of these column types, in this order.
    pub fn new(version: KeyVersion, types: Vec<DataType>) -> Result<Self, KeyError> {
        let KeyVersion::V1 = version;
        let kinds = types.iter().map(Kind::of).collect::<Result<_, _>>()?;
        Ok(Self { types, kinds })
    }

    /// The column types of a key.
    #[must_use]
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Encodes the `rows` rows of `columns` into `keys`, whose buffers are reused. A key of
    /// no columns is empty.
    pub fn encode(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        keys: &mut EncodedKeys,
    ) -> Result<(), KeyError> {
        keys.bytes.clear();
        keys.ends.clear();
        let columns = self.columns(columns)?;
        keys.ends.reserve(rows);
        for row in 0..rows {
            columns.put(row, &mut keys.bytes);
            keys.ends.push(keys.bytes.len());
        }
        Ok(())
    }

    /// Borrows `columns` for encoding rows one at a time.
    pub fn columns<'a>(&self, columns: &'a [ArrayRef]) -> Result<KeyColumns<'a>, KeyError> {
        let mut typed = Vec::with_capacity(self.kinds.len());
        for (i, (kind, expected)) in self.kinds.iter().zip(&self.types).enumerate() {
            let array = columns.get(i).ok_or_else(|| KeyError::TypeMismatch {
                column: i,
                found: DataType::Null,
                expected: expected.clone(),
            })?;
            if Kind::of(array.data_type()) != Ok(*kind) {
                return Err(KeyError::TypeMismatch {
                    column: i,
                    found: array.data_type().clone(),
                    expected: expected.clone(),
                });
            }
            typed.push(kind.column(array.as_ref()));
        }
        Ok(KeyColumns { columns: typed })
    }

    /// Decodes keys back into columns. Bytes after the last column of a key are an error.
    pub fn decode<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<ArrayRef>, KeyError> {
        let mut builders: Vec<Builder> = self.kinds.iter().map(|k| k.builder()).collect();
        let mut scratch = Vec::new();
        for key in keys {
            let mut input = Input { bytes: key, at: 0 };
            for builder in &mut builders {
                match input.take(1)? {
                    [NULL] => builder.append_null(),
                    [VALUE] => builder.append(&mut input, &mut scratch)?,
                    _ => return Err(input.malformed("not a null marker")),
                }
            }
            if input.at != key.len() {
                return Err(input.malformed("bytes after the last column"));
            }
        }
        Ok(builders
            .iter_mut()
            .zip(&self.types)
            .map(|(b, t)| b.finish(t))
            .collect())
    }
}

/// Typed columns whose rows are encoded one at a time; see [`KeyCodec::columns`].
pub struct KeyColumns<'a> {
    columns: Vec<Column<'a>>,
}

impl KeyColumns<'_> {
    /// Appends the key of `row` to `out`.
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        for column in &self.columns {
            column.put(row, out);
        }
    }
}

/// The keys of a batch, end to end in one buffer that is reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct EncodedKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EncodedKeys {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a row; empty when there is no such row.
    #[must_use]
    pub fn key(&self, row: usize) -> &[u8] {
        let start = row
            .checked_sub(1)
            .and_then(|r| self.ends.get(r))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The keys in row order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.key(row))
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn malformed(&self, what: &'static str) -> KeyError {
        KeyError::Malformed { at: self.at, what }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], KeyError> {
        let slice = self
            .bytes
            .get(self.at..self.at + n)
            .ok_or_else(|| self.malformed("the key is cut short"))?;
        self.at += n;
        Ok(slice)
    }

    fn fixed<T: Ordered>(&mut self) -> Result<T, KeyError> {
        let bytes = self.take(T::WIDTH)?;
        T::take(bytes).ok_or_else(|| self.malformed("a value of another width"))
    }

    fn var<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], KeyError> {
        scratch.clear();
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let zero = rest
                .iter()
                .position(|b| *b == 0)
                .ok_or_else(|| self.malformed("a string without its end"))?;
            scratch.extend_from_slice(rest.get(..zero).unwrap_or_default());
            match rest.get(zero + 1) {
                Some(0) => {
                    self.at += zero + 2;
                    return Ok(scratch);
                }
                Some(0xff) => {
                    scratch.push(0);
                    self.at += zero + 2;
                }
                _ => return Err(self.malformed("a stray zero in a string")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, StringArray,
        TimestampMillisecondArray,
    };
    use proptest::prelude::*;

    #[test]
    fn malformed_keys_are_errors() {
        let codec = KeyCodec::new(KeyVersion::V1, vec![DataType::Utf8, DataType::Int32]).unwrap();
        for bad in [
            &b""[..],
            b"\x01ab",
            b"\x01a\0\x07",
            b"\x02",
            b"\x00\x01\x00",
            b"\x00\x00\x00",
            b"\x01\xff\0\0\0",
        ] {
            assert!(codec.decode([bad]).is_err(), "{bad:?}");
        }
        let list = DataType::new_list(DataType::Int8, true);
        assert_eq!(
            KeyCodec::new(KeyVersion::V1, vec![list.clone()]).unwrap_err(),
            KeyError::UnsupportedType(list)
        );
    }

    #[test]
    fn the_layout_of_version_1_is_fixed() {
        let codec = KeyCodec::new(
            KeyVersion::V1,
            vec![
                DataType::Int32,
                DataType::Utf8,
                DataType::Float64,
                DataType::Boolean,
            ],
        )
        .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![-2])),
            Arc::new(StringArray::from(vec!["a\0b"])),
            Arc::new(Float64Array::from(vec![1.5])),
            Arc::new(BooleanArray::from(vec![None])),
        ];
        let mut keys = EncodedKeys::default();
        codec.encode(&columns, 1, &mut keys).unwrap();
        assert_eq!(
            keys.key(0),
            b"\x01\x7f\xff\xff\xfe\x01a\0\xffb\0\0\x01\xbf\xf8\0\0\0\0\0\0\0"
        );
    }

    type Row = (
        Option<i32>,
        Option<String>,
        Option<u64>,
        Option<Vec<u8>>,
        Option<i128>,
        Option<bool>,
        Option<i64>,
    );

    fn row() -> impl Strategy<Value = Row> {
        (
            proptest::option::of(prop_oneof![any::<i32>(), -2..3i32]),
            proptest::option::of("[\0-\u{2}a]{0,4}"),
            proptest::option::of(any::<u64>()),
            proptest::option::of(proptest::collection::vec(
                prop_oneof![Just(0u8), Just(255), any::<u8>()],
                0..4,
            )),
            proptest::option::of(-(10i128.pow(30))..10i128.pow(30)),
            proptest::option::of(any::<bool>()),
            proptest::option::of(any::<i64>()),
        )
    }

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| r.1.as_deref()).collect::<StringArray>()),
            Arc::new(
                rows.iter()
                    .map(|r| r.2.map(f64::from_bits))
                    .collect::<Float64Array>(),
            ),
            Arc::new(rows.iter().map(|r| r.3.as_deref()).collect::<BinaryArray>()),
            Arc::new(
                rows.iter()
                    .map(|r| r.4)
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            ),
            Arc::new(rows.iter().map(|r| r.5).collect::<BooleanArray>()),
            Arc::new(
                rows.iter()
                    .map(|r| r.6)
                    .collect::<TimestampMillisecondArray>()
                    .with_timezone("UTC"),
            ),
        ]
    }

    fn compare(a: &Row, b: &Row) -> std::cmp::Ordering {
        let float = |r: &Row| r.2.map(f64::from_bits);
        a.0.cmp(&b.0)
            .then_with(|| a.1.cmp(&b.1))
            .then_with(|| match (float(a), float(b)) {
                (Some(x), Some(y)) => x.total_cmp(&y),
                (x, y) => x.is_some().cmp(&y.is_some()),
            })
            .then_with(|| a.3.cmp(&b.3))
            .then_with(|| a.4.cmp(&b.4))
            .then_with(|| a.5.cmp(&b.5))
            .then_with(|| a.6.cmp(&b.6))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn keys_keep_order_and_come_back(rows in proptest::collection::vec(row(), 1..12)) {
            let columns = columns(&rows);
            let types: Vec<_> = columns.iter().map(|c| c.data_type().clone()).collect();
            let codec = KeyCodec::new(KeyVersion::V1, types).unwrap();
            let mut keys = EncodedKeys::default();
            codec.encode(&columns, rows.len(), &mut keys).unwrap();
            for i in 0..rows.len() {
                for j in 0..rows.len() {
                    prop_assert_eq!(compare(&rows[i], &rows[j]), keys.key(i).cmp(keys.key(j)));
                    if keys.key(i) != keys.key(j) {
                        prop_assert!(!keys.key(i).starts_with(keys.key(j)));
                    }
                }
            }
            let back = codec.decode(keys.iter()).unwrap();
            for (b, c) in back.iter().zip(&columns) {
                // Arrow compares floats by value; their bits must come back too.
                let (b_data, c_data) = (b.to_data(), c.to_data());
                prop_assert_eq!(b_data.buffers(), c_data.buffers());
                prop_assert_eq!(b.logical_nulls(), c.logical_nulls());
                prop_assert_eq!(b.data_type(), c.data_type());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let codec = KeyCodec::new(
                KeyVersion::V1,
                vec![DataType::Utf8, DataType::Decimal128(10, 2), DataType::Binary],
            ).unwrap();
            let _ = codec.decode([bytes.as_slice()]);
        }
    }
}
