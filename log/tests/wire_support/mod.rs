//! Random valid messages as bytes, made from the schema alone: neither codec under test takes part in it.

#![allow(dead_code, unreachable_pub, reason = "each test uses its share")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_log::wire::Versions;
use thalweg_log::wire::schema::{FieldSchema, Kind, StructSchema};

/// Writes random values of a schema in one version.
pub struct Writer {
    rng: StdRng,
    version: i16,
    flexible: bool,
    /// Whether to add tagged fields that no one knows.
    pub unknown_tags: bool,
    /// The longest array.
    pub longest_array: usize,
    out: Vec<u8>,
}

impl Writer {
    pub fn new(versions: Versions, version: i16, seed: u64) -> Writer {
        Writer {
            rng: StdRng::seed_from_u64(seed ^ ((version as u64) << 48)),
            version,
            flexible: versions.is_flexible(version),
            unknown_tags: true,
            longest_array: 3,
            out: Vec::new(),
        }
    }

    /// The bytes of a random message.
    pub fn message(mut self, kind: Kind) -> Vec<u8> {
        self.value(kind, false);
        self.out
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn length(&mut self, length: Option<usize>, wide: bool) {
        if self.flexible {
            self.varint(length.map_or(0, |length| length as u32 + 1));
        } else if wide {
            let length = length.map_or(-1, |length| length as i32);
            self.out.extend(length.to_be_bytes());
        } else {
            let length = length.map_or(-1, |length| length as i16);
            self.out.extend(length.to_be_bytes());
        }
    }

    /// `set` asks for a value that is certainly not a default.
    fn value(&mut self, kind: Kind, set: bool) {
        match kind {
            Kind::Bool => {
                let value = set || self.rng.random();
                self.out.push(u8::from(value));
            }
            Kind::Int8 => {
                let value = if set { 77 } else { self.rng.random::<i8>() };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Int16 => {
                let value = if set { 777 } else { self.rng.random::<i16>() };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Int32 => {
                let edge = [0, 1, -1, i32::MIN, i32::MAX, self.rng.random()];
                let value = if set {
                    77_777
                } else {
                    edge[self.rng.random_range(0..6)]
                };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Int64 => {
                let edge = [0, 1, -1, i64::MIN, i64::MAX, self.rng.random()];
                let value = if set {
                    777_777
                } else {
                    edge[self.rng.random_range(0..6)]
                };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Uint16 => {
                let value = if set { 777 } else { self.rng.random::<u16>() };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Float64 => {
                let edge = [0.0, 1.5, -1.0, f64::MAX, self.rng.random()];
                let value: f64 = if set {
                    77.5
                } else {
                    edge[self.rng.random_range(0..5)]
                };
                self.out.extend(value.to_be_bytes());
            }
            Kind::Uuid => {
                let value: u128 = if set { 7 } else { self.rng.random() };
                self.out.extend(value.to_be_bytes());
            }
            Kind::String => {
                let length = self.rng.random_range(usize::from(set)..9);
                let text: String = (0..length)
                    .map(|_| ['a', 'Z', '7', '-', 'ä', '中', '𝛑'][self.rng.random_range(0..7)])
                    .collect();
                self.length(Some(text.len()), false);
                self.out.extend(text.as_bytes());
            }
            Kind::Bytes => {
                let most = if self.rng.random_ratio(1, 10) {
                    3000
                } else {
                    20
                };
                let length = self.rng.random_range(usize::from(set)..most);
                self.length(Some(length), true);
                for _ in 0..length {
                    // Only letters, so that the text of a debug print is easy to compare.
                    let letter = self.rng.random_range(b'a'..=b'z');
                    self.out.push(letter);
                }
            }
            Kind::Array(element) => {
                let length = self.rng.random_range(usize::from(set)..=self.longest_array);
                self.length(Some(length), true);
                for _ in 0..length {
                    self.value(*element, set);
                }
            }
            Kind::Struct(schema) => self.structure(schema, set),
        }
    }

    fn null(&mut self, kind: Kind) {
        match kind {
            Kind::String => self.length(None, false),
            Kind::Bytes | Kind::Array(_) => self.length(None, true),
            Kind::Struct(_) => self.out.push(0xff),
            other => panic!("{other:?} is never null"),
        }
    }

    fn field(&mut self, field: &FieldSchema, set: bool) {
        let nullable = (field.nullable_in)(self.version);
        if nullable && !set && self.rng.random_ratio(1, 4) {
            return self.null(field.kind);
        }
        if nullable && matches!(field.kind, Kind::Struct(_)) {
            self.out.push(1);
        }
        self.value(field.kind, set);
    }

    fn structure(&mut self, schema: &StructSchema, set: bool) {
        let version = self.version;
        let present = |field: &&FieldSchema| (field.in_version)(version);
        for field in schema.fields.iter().filter(present) {
            if field.tag.is_none() {
                self.field(field, set);
            }
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in schema.fields.iter().filter(present) {
            let Some(tag) = field.tag else { continue };
            if self.rng.random() {
                let before = std::mem::take(&mut self.out);
                self.field(field, true);
                tagged.push((tag, std::mem::replace(&mut self.out, before)));
            }
        }
        if self.unknown_tags && self.rng.random_ratio(1, 6) {
            tagged.push((99, b"unknown".to_vec()));
            tagged.push((100_000, Vec::new()));
        }
        tagged.sort();
        self.varint(tagged.len() as u32);
        for (tag, value) in tagged {
            self.varint(tag);
            self.varint(value.len() as u32);
            self.out.extend(value);
        }
    }
}
