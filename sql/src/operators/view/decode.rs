//! JSON objects back to rows.

use super::encode::supports;
use super::time::{parse_date, parse_time, parse_timestamp};
use crate::operators::OperatorError;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder,
    NullArray, RecordBatch, RecordBatchOptions, StringBuilder, UInt64Builder,
};
use arrow::compute::{self, CastOptions};
use arrow::datatypes::{DataType, Decimal128Type, Schema, SchemaRef};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_schema::{DecodeError, Decoded, MessageError, RowDecoder};

/// Reads rows of a view; see the module. Fields that the schema does not name are passed
/// over, and columns that a row does not name are null.
pub struct ViewRowDecoder {
    schema: SchemaRef,
    by_name: HashMap<String, usize>,
}

impl ViewRowDecoder {
    /// A decoder into the columns `projection` of `schema`; all of them for `None`.
    pub fn new(schema: &SchemaRef, projection: Option<&[usize]>) -> Result<Self, OperatorError> {
        let schema = match projection {
            None => schema.clone(),
            Some(columns) => Arc::new(schema.project(columns)?),
        };
        // A row may lack a column; only the view's own plan knows what is never null.
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true))
            .collect();
        if let Some(field) = fields.iter().find(|f| !supports(f.data_type())) {
            return Err(OperatorError::UnsupportedColumn(field.data_type().clone()));
        }
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(i, f)| (f.name().clone(), i))
            .collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            by_name,
        })
    }

    fn decode_all(&self, messages: &[&[u8]]) -> Result<RecordBatch, DecodeError> {
        let mut columns: Vec<Cells> = self
            .schema
            .fields()
            .iter()
            .map(|f| Cells::new(f.data_type()))
            .collect();
        let mut values: Vec<Option<Token<'_>>> = Vec::new();
        for message in messages {
            values.clear();
            values.resize(columns.len(), None);
            self.scan(message, &mut values)?;
            for ((cells, value), field) in columns
                .iter_mut()
                .zip(values.drain(..))
                .zip(self.schema.fields())
            {
                cells
                    .append(value.unwrap_or(Token::Null), field.data_type())
                    .ok_or_else(|| DecodeError::Field {
                        field: field.name().clone(),
                        what: format!("not a value of type {}", field.data_type()),
                    })?;
            }
        }
        let arrays: Result<Vec<ArrayRef>, _> = columns
            .iter_mut()
            .zip(self.schema.fields())
            .map(|(cells, field)| cells.finish(field.data_type()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(messages.len()));
        arrays
            .and_then(|a| RecordBatch::try_new_with_options(self.schema.clone(), a, &options))
            .map_err(|e| DecodeError::Shape {
                what: e.to_string(),
            })
    }

    /// Finds the value of each column in a message.
    fn scan<'m>(
        &self,
        message: &'m [u8],
        values: &mut [Option<Token<'m>>],
    ) -> Result<(), DecodeError> {
        let text = std::str::from_utf8(message)
            .map_err(|e| syntax(e.valid_up_to(), "text that is not UTF-8"))?;
        let mut input = Scanner { text, at: 0 };
        input.expect(b'{')?;
        if input.peek() == Some(b'}') {
            input.at += 1;
            return input.end();
        }
        let mut next = 0;
        loop {
            let name = input.string()?;
            input.expect(b':')?;
            let value = input.value(0)?;
            // Rows are written in the order of the schema: mostly no lookup is needed.
            let expected = self
                .schema
                .fields()
                .get(next)
                .is_some_and(|f| *f.name() == name);
            let column = if expected {
                Some(next)
            } else {
                self.by_name.get(name.as_ref()).copied()
            };
            if let Some(slot) = column.and_then(|c| values.get_mut(c)) {
                *slot = Some(value);
                next = column.map_or(next, |c| c + 1);
            }
            match input.peek() {
                Some(b',') => input.at += 1,
                _ => break,
            }
        }
        input.expect(b'}')?;
        input.end()
    }
}

impl RowDecoder for ViewRowDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, messages: &[&[u8]]) -> Decoded {
        if let Ok(batch) = self.decode_all(messages) {
            return Decoded {
                batch,
                errors: Vec::new(),
            };
        }
        let mut good = Vec::new();
        let mut errors = Vec::new();
        for (message, bytes) in messages.iter().enumerate() {
            match self.decode_all(&[bytes]) {
                Ok(_) => good.push((message, *bytes)),
                Err(error) => errors.push(MessageError { message, error }),
            }
        }
        let bytes: Vec<&[u8]> = good.iter().map(|g| g.1).collect();
        match self.decode_all(&bytes) {
            Ok(batch) => Decoded { batch, errors },
            // Each fits alone but not all together (offsets of 32 bits).
            Err(error) => {
                errors.extend(good.iter().map(|g| MessageError {
                    message: g.0,
                    error: error.clone(),
                }));
                errors.sort_by_key(|e| e.message);
                Decoded {
                    batch: RecordBatch::new_empty(self.schema.clone()),
                    errors,
                }
            }
        }
    }
}

/// A value as it stands in the text.
#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    /// An array or an object, which no column takes.
    Nested,
}

fn syntax(at: usize, what: &str) -> DecodeError {
    DecodeError::Syntax {
        format: "view row",
        what: what.to_owned(),
        line: 1,
        column: at + 1,
    }
}

/// The depth to which values that no column takes are passed over.
const MAX_DEPTH: usize = 64;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn error(&self, what: &str) -> DecodeError {
        syntax(self.at, what)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.peek() != Some(byte) {
            return Err(self.error(&format!("`{}` is expected here", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("something behind the row")),
        }
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, DecodeError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.error("not a value"));
        }
        self.at += word.len();
        Ok(token)
    }

    fn value(&mut self, depth: usize) -> Result<Token<'a>, DecodeError> {
        match self.peek() {
            Some(b'n') => self.word("null", Token::Null),
            Some(b't') => self.word("true", Token::Bool(true)),
            Some(b'f') => self.word("false", Token::Bool(false)),
            Some(b'"') => Ok(Token::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => {
                let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                let part = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().position(|b| !part(b)).unwrap_or(rest.len());
                let number = self.text.get(self.at..self.at + length).unwrap_or_default();
                self.at += length;
                Ok(Token::Number(number))
            }
            Some(open @ (b'{' | b'[')) if depth < MAX_DEPTH => {
                self.at += 1;
                let close = if open == b'{' { b'}' } else { b']' };
                if self.peek() == Some(close) {
                    self.at += 1;
                    return Ok(Token::Nested);
                }
                loop {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.value(depth + 1)?;
                    match self.peek() {
                        Some(b',') => self.at += 1,
                        _ => break,
                    }
                }
                self.expect(close)?;
                Ok(Token::Nested)
            }
            _ => Err(self.error("not a value")),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.expect(b'"')?;
        let mut out: Option<String> = None;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let stop = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\')
                .ok_or_else(|| self.error("a string without an end"))?;
            let clean = rest.get(..stop).unwrap_or_default();
            let quote = rest.as_bytes().get(stop) == Some(&b'"');
            self.at += stop + 1;
            if quote {
                return Ok(match out {
                    None => Cow::Borrowed(clean),
                    Some(mut text) => {
                        text.push_str(clean);
                        Cow::Owned(text)
                    }
                });
            }
            let text = out.get_or_insert_default();
            text.push_str(clean);
            let escape = self.text.as_bytes().get(self.at).copied();
            self.at += 1;
            text.push(match escape {
                Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'u') => self.unicode()?,
                _ => return Err(self.error("an unknown escape")),
            });
        }
    }

    fn unit(&mut self) -> Result<u32, DecodeError> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let unit = u32::from_str_radix(digits, 16).map_err(|_| self.error("a broken escape"))?;
        self.at += 4;
        Ok(unit)
    }

    fn unicode(&mut self) -> Result<char, DecodeError> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.error("a broken escape"));
        }
        if self.text.get(self.at..self.at + 2) != Some("\\u") {
            return Err(self.error("half a character"));
        }
        self.at += 2;
        let second = self.unit()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.error("half a character"));
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            .ok_or_else(|| self.error("a broken escape"))
    }
}

/// A column being built.
enum Cells {
    Null(usize),
    Boolean(BooleanBuilder),
    /// Everything that is a number of at most 64 bits with a sign inside.
    Int(Int64Builder),
    UInt(UInt64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Decimal(Decimal128Builder),
}

impl Cells {
    fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::UInt64 => Self::UInt(UInt64Builder::new()),
            DataType::Float32 | DataType::Float64 => Self::Float(Float64Builder::new()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Text(StringBuilder::new())
            }
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Decimal128(_, _) => Self::Decimal(Decimal128Builder::new()),
            _ => Self::Int(Int64Builder::new()),
        }
    }

    /// Appends a value; `None` when it is not of the column's type.
    fn append(&mut self, value: Token<'_>, data_type: &DataType) -> Option<()> {
        match (self, value) {
            (Self::Null(n), Token::Null) => *n += 1,
            (Self::Boolean(b), Token::Null) => b.append_null(),
            (Self::Boolean(b), Token::Bool(v)) => b.append_value(v),
            (Self::Int(b), Token::Null) => b.append_null(),
            (Self::Int(b), Token::Number(v)) => b.append_value(v.parse().ok()?),
            (Self::Int(b), Token::String(v)) => b.append_value(match data_type {
                DataType::Date32 => parse_date(&v)?,
                DataType::Time64(unit) => parse_time(&v, *unit)?,
                DataType::Timestamp(unit, _) => parse_timestamp(&v, *unit)?,
                _ => return None,
            }),
            (Self::UInt(b), Token::Null) => b.append_null(),
            (Self::UInt(b), Token::Number(v)) => b.append_value(v.parse().ok()?),
            (Self::Float(b), Token::Null) => b.append_null(),
            (Self::Float(b), Token::Number(v)) => {
                // Shortest text comes back exactly only by way of the type it was made from.
                b.append_value(match data_type {
                    DataType::Float32 => f64::from(v.parse::<f32>().ok()?),
                    _ => v.parse().ok()?,
                });
            }
            (Self::Float(b), Token::String(v)) => b.append_value(match v.as_ref() {
                "NaN" => f64::NAN,
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                _ => return None,
            }),
            (Self::Text(b), Token::Null) => b.append_null(),
            (Self::Text(b), Token::String(v)) => b.append_value(v),
            (Self::Binary(b), Token::Null) => b.append_null(),
            (Self::Binary(b), Token::String(v)) => b.append_value(unhex(&v)?),
            (Self::Decimal(b), Token::Null) => b.append_null(),
            (Self::Decimal(b), Token::Number(v)) => {
                let DataType::Decimal128(precision, scale) = data_type else {
                    return None;
                };
                b.append_value(
                    compute::kernels::cast_utils::parse_decimal::<Decimal128Type>(
                        v, *precision, *scale,
                    )
                    .ok()?,
                );
            }
            _ => return None,
        }
        Some(())
    }

    fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
        let array: ArrayRef = match self {
            Self::Null(n) => Arc::new(NullArray::new(*n)),
            Self::Boolean(b) => Arc::new(b.finish()),
            Self::Int(b) => Arc::new(b.finish()),
            Self::UInt(b) => Arc::new(b.finish()),
            Self::Float(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Binary(b) => Arc::new(b.finish()),
            Self::Decimal(b) => Arc::new(b.finish().with_data_type(data_type.clone())),
        };
        // A number that does not fit its column is an error, not a null.
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let array = match data_type {
            DataType::Date32 => compute::cast_with_options(&array, &DataType::Int32, &strict)?,
            _ => array,
        };
        if array.data_type() == data_type {
            return Ok(array);
        }
        compute::cast_with_options(&array, data_type, &strict)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let digit = |b: &u8| char::from(*b).to_digit(16);
            match pair {
                [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
                _ => None,
            }
        })
        .collect()
}
