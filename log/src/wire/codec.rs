//! Primitive types to bytes and back.
//!
//! Decoding keeps three promises whatever the input: it never reads past the end, it never allocates more than
//! 24 times the frame (plus a small constant), and it never copies: strings and byte strings share
//! the frame's memory.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::Str;
use super::error::{Problem, WireError};
use super::schema::Kind;

/// How many bytes of memory one byte of a frame may become. An honest frame stays far below: an element is a
/// name, an id or a partition, and takes its bytes on the wire too.
const EXPANSION: usize = 24;

/// What any frame may take in memory, however short it is.
const EXPANSION_FLOOR: usize = 64 * 1024;

/// The version a message is written in, and whether that version is a flexible one (compact lengths, tags).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The version's number.
    pub number: i16,
    /// Whether lengths are compact and tagged fields exist.
    pub flexible: bool,
}

/// Reads values from the front of a [`Bytes`].
#[derive(Debug)]
pub struct Decoder {
    input: Bytes,
    version: Version,
    allowed: usize,
    charged: usize,
}

impl Decoder {
    /// A decoder of the whole input.
    pub fn new(input: Bytes, version: Version) -> Decoder {
        let allowed = input
            .len()
            .saturating_mul(EXPANSION)
            .saturating_add(EXPANSION_FLOOR);
        Decoder {
            input,
            version,
            allowed,
            charged: 0,
        }
    }

    /// The version being read.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Goes on in another version: a frame's header and body have each their own.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    /// The bytes not yet read.
    pub fn into_rest(self) -> Bytes {
        self.input
    }

    fn need(&self, needed: usize) -> Result<(), Problem> {
        let available = self.input.len();
        if available < needed {
            return Err(Problem::Short { needed, available });
        }
        Ok(())
    }

    /// The next `length` bytes, shared with the input.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Problem> {
        self.need(length)?;
        Ok(self.input.split_to(length))
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn varint(&mut self) -> Result<u32, Problem> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            self.need(1)?;
            let byte = self.input.get_u8();
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Problem::VarintTooLong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Problem::VarintTooLong)
    }

    /// A length written as one more than it is in flexible versions, else as a 16-bit or 32-bit integer;
    /// `None` is null.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, Problem> {
        let length = if self.version.flexible {
            i64::from(self.varint()?) - 1
        } else if wide {
            self.need(4)?;
            i64::from(self.input.get_i32())
        } else {
            self.need(2)?;
            i64::from(self.input.get_i16())
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(Problem::NegativeLength(length)),
        }
    }

    /// Accounts for memory about to be allocated.
    fn charge(&mut self, bytes: usize) -> Result<(), Problem> {
        self.charged = self.charged.saturating_add(bytes);
        if self.charged > self.allowed {
            return Err(Problem::TooExpansive {
                allowed: self.allowed,
            });
        }
        Ok(())
    }

    /// The tagged fields at the end of a struct. `known` takes those it knows and says so; the others are kept.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Decoder) -> Result<bool, WireError>,
    ) -> Result<TaggedFields, WireError> {
        let mut unknown = TaggedFields::default();
        if !self.version.flexible {
            return Ok(unknown);
        }
        let count = self.varint()?;
        let remaining = self.remaining();
        // A tag and a size take at least a byte each.
        if count as usize > remaining / 2 {
            return Err(Problem::CountBeyondInput {
                count: u64::from(count),
                remaining,
            }
            .into());
        }
        let mut last = None;
        for _ in 0..count {
            let tag = self.varint()?;
            // Kafka writes tags in ascending order and so must everyone (KIP-482); this also finds duplicates.
            if last.is_some_and(|last| tag <= last) {
                return Err(Problem::TagOrder(tag).into());
            }
            last = Some(tag);
            let size = self.varint()? as usize;
            let value = self.take(size)?;
            let mut inner = Decoder {
                input: value.clone(),
                version: self.version,
                allowed: self.allowed,
                charged: self.charged,
            };
            if known(tag, &mut inner)? {
                self.charged = inner.charged;
                let left = inner.remaining();
                if left > 0 {
                    return Err(Problem::TagSize { tag, size, left }.into());
                }
            } else {
                self.charge(unknown.next_push())?;
                unknown.push(tag, value);
            }
        }
        Ok(unknown)
    }
}

/// Writes values to a growing buffer; long byte strings may be kept aside as they are, so that a frame is a
/// list of parts and records are never copied.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    buffer: BytesMut,
    parts: Vec<Part>,
    share_from: usize,
    /// Lengths of the byte strings that lie elsewhere, in order.
    elsewhere: VecDeque<usize>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes to be sent.
    Bytes(Bytes),
    /// So many bytes that the caller of [`Encoder::filling`] has elsewhere.
    Elsewhere(usize),
}

impl Encoder {
    /// An encoder that appends to one buffer and copies everything.
    pub fn contiguous(buffer: BytesMut, version: Version) -> Encoder {
        Encoder {
            version,
            buffer,
            parts: Vec::new(),
            share_from: usize::MAX,
            elsewhere: VecDeque::new(),
        }
    }

    /// An encoder that keeps byte strings of `share_from` bytes or more as parts of their own.
    pub fn vectored(version: Version, share_from: usize) -> Encoder {
        Encoder {
            version,
            buffer: BytesMut::new(),
            parts: Vec::new(),
            share_from,
            elsewhere: VecDeque::new(),
        }
    }

    /// Fills nullable byte strings that are null, in order, with byte strings of these lengths whose bytes
    /// lie elsewhere: in a file, from where they are sent without passing through this program.
    pub fn filling(mut self, lengths: impl IntoIterator<Item = usize>) -> Encoder {
        self.elsewhere = lengths.into_iter().collect();
        self
    }

    /// The version being written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Goes on in another version: a frame's header and body have each their own.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The bytes written, of an encoder made by [`Encoder::contiguous`].
    pub fn into_buffer(self) -> BytesMut {
        self.buffer
    }

    /// The bytes written, in order.
    pub fn into_parts(mut self) -> Vec<Part> {
        self.end_part();
        self.parts
    }

    fn end_part(&mut self) {
        let before = self.buffer.split();
        if !before.is_empty() {
            self.parts.push(Part::Bytes(before.freeze()));
        }
    }

    /// Writes raw bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < self.share_from {
            self.buffer.put_slice(bytes);
            return;
        }
        self.end_part();
        self.parts.push(Part::Bytes(bytes.clone()));
    }

    /// Writes an unsigned variable-length integer.
    pub fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    fn length(&mut self, length: Option<usize>, wide: bool) -> Result<(), Problem> {
        let max = if wide || self.version.flexible {
            i32::MAX as usize
        } else {
            i16::MAX as usize
        };
        if let Some(length) = length
            && length > max
        {
            return Err(Problem::TooLong { length, max });
        }
        if self.version.flexible {
            // Checked above: one more than the length fits.
            self.varint(length.map_or(0, |length| length as u32 + 1));
        } else if wide {
            self.buffer
                .put_i32(length.map_or(-1, |length| length as i32));
        } else {
            self.buffer
                .put_i16(length.map_or(-1, |length| length as i16));
        }
        Ok(())
    }

    /// Writes a struct's tagged fields: the known ones, already encoded, and those kept from decoding, by tag.
    pub fn tagged_fields(
        &mut self,
        known: KnownTags,
        unknown: &TaggedFields,
    ) -> Result<(), WireError> {
        if !self.version.flexible {
            return if unknown.is_empty() {
                Ok(())
            } else {
                Err(Problem::NotInVersion(self.version.number).into())
            };
        }
        let mut all: Vec<(u32, Bytes)> = known.0;
        all.extend(unknown.iter().map(|(tag, value)| (tag, value.clone())));
        all.sort_by_key(|(tag, _)| *tag);
        self.varint(all.len() as u32);
        let mut last = None;
        for (tag, value) in &all {
            if last == Some(*tag) {
                return Err(Problem::TagOrder(*tag).into());
            }
            last = Some(*tag);
            self.varint(*tag);
            self.varint(value.len() as u32);
            self.put_shared(value);
        }
        Ok(())
    }
}

/// Tagged fields of a struct, encoded and waiting to be written.
#[derive(Debug, Default)]
pub struct KnownTags(Vec<(u32, Bytes)>);

impl KnownTags {
    /// Encodes one value under its tag.
    pub fn add<T: Field>(
        &mut self,
        tag: u32,
        value: &T,
        version: Version,
    ) -> Result<(), WireError> {
        let mut encoder = Encoder::contiguous(BytesMut::new(), version);
        value.encode(&mut encoder)?;
        self.0.push((tag, encoder.into_buffer().freeze()));
        Ok(())
    }
}

/// Tagged fields that a struct carried and this program does not know; they are written back as they were.
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(
    clippy::box_collection,
    reason = "every struct has one and almost none uses it: one word instead of three"
)]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|fields| fields.is_empty())
    }

    /// At most what the next push takes in memory, a growing vector's spare room included.
    fn next_push(&self) -> usize {
        let entry = size_of::<(u32, Bytes)>();
        match &self.0 {
            None => size_of::<Vec<(u32, Bytes)>>() + 4 * entry,
            Some(_) => 3 * entry,
        }
    }

    /// Adds a field.
    pub fn push(&mut self, tag: u32, value: Bytes) {
        self.0.get_or_insert_default().push((tag, value));
    }

    /// The fields.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.0
            .iter()
            .flat_map(|fields| fields.iter())
            .map(|(tag, value)| (*tag, value))
    }
}

impl std::fmt::Debug for TaggedFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A type that a field can have.
pub trait Field: Sized {
    /// What the schema calls it.
    const KIND: Kind;
    /// What the field holds when nothing else is declared, as Kafka has it: zero, empty, and for a nullable
    /// field *not* null but empty.
    fn declared_default() -> Self;
    /// Whether the type has a null.
    const NULLABLE: bool = false;
    /// Writes the value.
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError>;
    /// Reads a value.
    fn decode(decoder: &mut Decoder) -> Result<Self, WireError>;
}

/// A type that can be null; `Option` of it is a [`Field`].
pub trait Nullable: Field {
    /// Writes the value or null.
    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder) -> Result<(), WireError>;
    /// Reads a value or null.
    fn decode_nullable(decoder: &mut Decoder) -> Result<Option<Self>, WireError>;
}

macro_rules! integers {
    ($($ty:ident $kind:ident $put:ident $get:ident;)*) => {$(
        impl Field for $ty {
            const KIND: Kind = Kind::$kind;
            fn declared_default() -> $ty {
                0
            }
            fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
                encoder.buffer.$put(*self);
                Ok(())
            }
            fn decode(decoder: &mut Decoder) -> Result<$ty, WireError> {
                decoder.need(size_of::<$ty>())?;
                Ok(decoder.input.$get())
            }
        }
    )*};
}

integers! {
    i8 Int8 put_i8 get_i8;
    i16 Int16 put_i16 get_i16;
    i32 Int32 put_i32 get_i32;
    i64 Int64 put_i64 get_i64;
}

impl Field for u16 {
    const KIND: Kind = Kind::Uint16;
    fn declared_default() -> u16 {
        0
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.buffer.put_u16(*self);
        Ok(())
    }
    fn decode(decoder: &mut Decoder) -> Result<u16, WireError> {
        decoder.need(2)?;
        Ok(decoder.input.get_u16())
    }
}

impl Field for f64 {
    const KIND: Kind = Kind::Float64;
    fn declared_default() -> f64 {
        0.0
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.buffer.put_f64(*self);
        Ok(())
    }
    fn decode(decoder: &mut Decoder) -> Result<f64, WireError> {
        decoder.need(8)?;
        Ok(decoder.input.get_f64())
    }
}

impl Field for bool {
    const KIND: Kind = Kind::Bool;
    fn declared_default() -> bool {
        false
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.buffer.put_u8(u8::from(*self));
        Ok(())
    }
    fn decode(decoder: &mut Decoder) -> Result<bool, WireError> {
        decoder.need(1)?;
        Ok(decoder.input.get_u8() != 0)
    }
}

impl Field for Uuid {
    const KIND: Kind = Kind::Uuid;
    fn declared_default() -> Uuid {
        Uuid::nil()
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.put(self.as_bytes());
        Ok(())
    }
    fn decode(decoder: &mut Decoder) -> Result<Uuid, WireError> {
        decoder.need(16)?;
        Ok(Uuid::from_u128(decoder.input.get_u128()))
    }
}

/// The value, or the error that null is not allowed here.
fn not_null<T: Nullable>(decoder: &mut Decoder) -> Result<T, WireError> {
    let number = decoder.version.number;
    T::decode_nullable(decoder)?.ok_or_else(|| Problem::Null(number).into())
}

impl Field for Str {
    const KIND: Kind = Kind::String;
    fn declared_default() -> Str {
        Str::new()
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        Str::encode_nullable(Some(self), encoder)
    }
    fn decode(decoder: &mut Decoder) -> Result<Str, WireError> {
        not_null(decoder)
    }
}

impl Nullable for Str {
    fn encode_nullable(value: Option<&Str>, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.length(value.map(|value| value.as_bytes().len()), false)?;
        if let Some(value) = value {
            encoder.put(value.as_bytes());
        }
        Ok(())
    }
    fn decode_nullable(decoder: &mut Decoder) -> Result<Option<Str>, WireError> {
        match decoder.length(false)? {
            Some(length) => Ok(Some(Str::from_utf8(decoder.take(length)?)?)),
            None => Ok(None),
        }
    }
}

impl Field for Bytes {
    const KIND: Kind = Kind::Bytes;
    fn declared_default() -> Bytes {
        Bytes::new()
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        Bytes::encode_nullable(Some(self), encoder)
    }
    fn decode(decoder: &mut Decoder) -> Result<Bytes, WireError> {
        not_null(decoder)
    }
}

impl Nullable for Bytes {
    fn encode_nullable(value: Option<&Bytes>, encoder: &mut Encoder) -> Result<(), WireError> {
        if value.is_none()
            && let Some(length) = encoder.elsewhere.pop_front()
        {
            encoder.length(Some(length), true)?;
            encoder.end_part();
            encoder.parts.push(Part::Elsewhere(length));
            return Ok(());
        }
        encoder.length(value.map(Bytes::len), true)?;
        if let Some(value) = value {
            encoder.put_shared(value);
        }
        Ok(())
    }
    fn decode_nullable(decoder: &mut Decoder) -> Result<Option<Bytes>, WireError> {
        match decoder.length(true)? {
            Some(length) => Ok(Some(decoder.take(length)?)),
            None => Ok(None),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: Kind = Kind::Array(&T::KIND);
    fn declared_default() -> Vec<T> {
        Vec::new()
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        Vec::encode_nullable(Some(self), encoder)
    }
    fn decode(decoder: &mut Decoder) -> Result<Vec<T>, WireError> {
        not_null(decoder)
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn encode_nullable(value: Option<&Vec<T>>, encoder: &mut Encoder) -> Result<(), WireError> {
        encoder.length(value.map(Vec::len), true)?;
        for element in value.into_iter().flatten() {
            element.encode(encoder)?;
        }
        Ok(())
    }
    fn decode_nullable(decoder: &mut Decoder) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = decoder.length(true)? else {
            return Ok(None);
        };
        let remaining = decoder.remaining();
        // No element takes less than a byte.
        if count > remaining {
            return Err(Problem::CountBeyondInput {
                count: count as u64,
                remaining,
            }
            .into());
        }
        decoder.charge(count.saturating_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(decoder)?);
        }
        Ok(Some(elements))
    }
}

impl<T: Nullable> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    fn declared_default() -> Option<T> {
        Some(T::declared_default())
    }
    fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        T::encode_nullable(self.as_ref(), encoder)
    }
    fn decode(decoder: &mut Decoder) -> Result<Option<T>, WireError> {
        T::decode_nullable(decoder)
    }
}

/// Writes a nullable struct: a marker, then the struct unless it is null.
pub(crate) fn encode_nullable_struct<T: Field>(
    value: Option<&T>,
    encoder: &mut Encoder,
) -> Result<(), WireError> {
    match value {
        None => (-1i8).encode(encoder),
        Some(value) => {
            1i8.encode(encoder)?;
            value.encode(encoder)
        }
    }
}

/// Reads a nullable struct.
pub(crate) fn decode_nullable_struct<T: Field>(
    decoder: &mut Decoder,
) -> Result<Option<T>, WireError> {
    match i8::decode(decoder)? {
        -1 => Ok(None),
        1 => Ok(Some(T::decode(decoder)?)),
        marker => Err(Problem::BadMarker(marker).into()),
    }
}
