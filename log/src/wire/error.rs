//! What can be wrong with bytes or with a message: one typed error that names the message and the field.

use super::ApiKey;

/// Why a message could not be encoded or decoded, and where.
///
/// The message and the field are names of the Kafka protocol; the field is empty when the trouble lies
/// outside any field (bytes left over, a version out of range).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", self.place())]
pub struct WireError {
    /// The message or nested struct, for example `PartitionProduceData`.
    pub message: &'static str,
    /// The field, for example `records`.
    pub field: &'static str,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong, apart from where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The input ends inside a value.
    #[error("the input ends after {available} of the {needed} bytes needed")]
    Short {
        /// Bytes the value needs.
        needed: usize,
        /// Bytes that were left.
        available: usize,
    },
    /// A length or count is negative, though only -1 (null) may be.
    #[error("negative length {0}")]
    NegativeLength(i64),
    /// An array claims more elements than bytes remain.
    #[error("an array of {count} elements cannot fit in the {remaining} bytes that remain")]
    CountBeyondInput {
        /// The claimed number of elements.
        count: u64,
        /// Bytes that were left.
        remaining: usize,
    },
    /// The decoded form would take far more memory than the frame it came from.
    #[error("the frame would take more than {allowed} bytes of memory when decoded; refusing it")]
    TooExpansive {
        /// The bytes of memory allowed for this frame.
        allowed: usize,
    },
    /// Null where this version does not allow it.
    #[error("null is not allowed in version {0}")]
    Null(i16),
    /// A string is not UTF-8.
    #[error("the string is not valid UTF-8 (first bad byte at {0})")]
    NotUtf8(usize),
    /// A variable-length integer has more than five bytes or overflows 32 bits.
    #[error("a variable-length integer does not fit in 32 bits")]
    VarintTooLong,
    /// The marker of a nullable struct is neither -1 nor 1.
    #[error("marker {0} of a nullable struct is neither -1 (null) nor 1")]
    BadMarker(i8),
    /// Tagged fields are not in ascending order, or one occurs twice.
    #[error("tagged field {0} is out of order or occurs twice")]
    TagOrder(u32),
    /// A tagged field's value is shorter or longer than its declared size.
    #[error("tagged field {tag} declares {size} bytes, but its value leaves {left} of them over")]
    TagSize {
        /// The tag.
        tag: u32,
        /// The declared size.
        size: usize,
        /// Bytes left over.
        left: usize,
    },
    /// Bytes are left over after the message.
    #[error("{0} bytes are left over after the message")]
    Trailing(usize),
    /// A string, byte string or array is longer than its length field can say.
    #[error("{length} is beyond the {max} that the length field can hold")]
    TooLong {
        /// The actual length.
        length: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The field is set, but the version in use does not have it.
    #[error(
        "the field is set, but version {0} does not have it; use a version that does, or leave it at its default"
    )]
    NotInVersion(i16),
    /// The version lies outside the declared range.
    #[error("version {version} is outside {min} to {max}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The lowest version that can be decoded.
        min: i16,
        /// The highest.
        max: i16,
    },
    /// No API has this key.
    #[error("API key {0} is not known")]
    UnknownApiKey(i16),
    /// A response belongs to another API than the request.
    #[error("expected a response of {expected:?}, found one of {found:?}")]
    OtherApi {
        /// The API of the request.
        expected: ApiKey,
        /// The API of the response.
        found: ApiKey,
    },
}

impl WireError {
    /// An error in a named message, outside any field.
    pub fn in_message(message: &'static str, problem: Problem) -> WireError {
        WireError {
            message,
            field: "",
            problem,
        }
    }

    /// Names the place, unless a place further inside has been named already.
    #[must_use]
    pub(crate) fn at(mut self, message: &'static str, field: &'static str) -> WireError {
        if self.message.is_empty() {
            self.message = message;
            self.field = field;
        }
        self
    }

    fn place(&self) -> String {
        match (self.message, self.field) {
            ("", _) => "wire".to_owned(),
            (message, "") => message.to_owned(),
            (message, field) => format!("{message}.{field}"),
        }
    }
}

impl From<Problem> for WireError {
    fn from(problem: Problem) -> WireError {
        WireError::in_message("", problem)
    }
}
