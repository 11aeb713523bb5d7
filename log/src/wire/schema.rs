//! The shape of each message as data: what the declarations say, for tests and tools to walk.

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A boolean, one byte.
    Bool,
    /// An 8-bit integer.
    Int8,
    /// A 16-bit integer.
    Int16,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// An unsigned 16-bit integer.
    Uint16,
    /// A 64-bit floating point number.
    Float64,
    /// A 128-bit identifier.
    Uuid,
    /// A UTF-8 string.
    String,
    /// A byte string; record batches are one, opaque here.
    Bytes,
    /// An array of another kind.
    Array(&'static Kind),
    /// A struct.
    Struct(&'static StructSchema),
}

/// The fields of a struct, in the order of the wire.
#[derive(Debug, Clone, Copy)]
pub struct StructSchema {
    /// Its name in the protocol.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [FieldSchema],
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct FieldSchema {
    /// Its name, in snake case.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether a version has the field.
    pub in_version: fn(i16) -> bool,
    /// Whether the field may be null in a version.
    pub nullable_in: fn(i16) -> bool,
    /// Its tag, if it is a tagged field.
    pub tag: Option<u32>,
}
