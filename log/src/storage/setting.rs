//! What a setting may hold: its type, and which values of that type it takes.
//!
//! Invariant: what [`Valid::check`] lets through, the setting's own parser takes too, so that a
//! stored value can always be read back.

use std::fmt;

/// The type of a setting, as `DescribeConfigs` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// A word.
    String,
    /// A 16-bit number.
    Short,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A fraction.
    Double,
    /// Words, separated by commas.
    List,
}

impl ConfigType {
    /// Kafka's code of the type in `DescribeConfigs`.
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }

    /// Kafka's name of the type in its documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
        }
    }

    /// The largest whole number the type holds; 0 for what is no number.
    fn largest(self) -> i64 {
        match self {
            Self::Short => i64::from(i16::MAX),
            Self::Int => i64::from(i32::MAX),
            Self::Long => i64::MAX,
            _ => 0,
        }
    }
}

/// Which values of its type a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Valid {
    /// All of them.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers from the first to the last.
    Between(i64, i64),
    /// Numbers from the first to the last, or -1.
    BetweenOrDefault(i64, i64),
    /// A fraction from 0 to 1.
    Share,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words.
    SomeOf(&'static [&'static str]),
}

impl Valid {
    /// Whether a text is a value of the type that is taken here; if not, what is expected instead.
    ///
    /// # Errors
    /// What is expected.
    pub fn check(self, kind: ConfigType, text: &str) -> Result<(), String> {
        let text = text.trim();
        let ok = match kind {
            ConfigType::Boolean => {
                text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
            }
            ConfigType::Short | ConfigType::Int | ConfigType::Long => {
                text.parse::<i64>().is_ok_and(|n| {
                    n <= kind.largest() && n >= -kind.largest() - 1 && self.takes_number(n)
                })
            }
            ConfigType::Double => text.parse::<f64>().is_ok_and(|n| match self {
                Self::Share => (0.0..=1.0).contains(&n),
                Self::AtLeast(least) => n >= least as f64,
                _ => !n.is_nan(),
            }),
            ConfigType::String => match self {
                Self::OneOf(words) => words.contains(&text),
                _ => true,
            },
            ConfigType::List => match self {
                Self::SomeOf(words) => text
                    .split(',')
                    .map(str::trim)
                    .filter(|w| !w.is_empty())
                    .all(|w| words.contains(&w)),
                _ => true,
            },
        };
        if ok {
            Ok(())
        } else {
            Err(format!("{} is expected", self.expected(kind)))
        }
    }

    fn takes_number(self, n: i64) -> bool {
        match self {
            Self::AtLeast(least) => n >= least,
            Self::Between(least, most) => (least..=most).contains(&n),
            Self::BetweenOrDefault(least, most) => n == -1 || (least..=most).contains(&n),
            _ => true,
        }
    }

    fn expected(self, kind: ConfigType) -> String {
        match (kind, self) {
            (ConfigType::Boolean, _) => "true or false".to_owned(),
            (_, Self::Share) => "a number from 0 to 1".to_owned(),
            (_, Self::OneOf(words)) => format!("one of {}", words.join(", ")),
            (_, Self::SomeOf(words)) => format!("a list of {}", words.join(", ")),
            (_, Self::Between(least, most)) => format!("a number from {least} to {most}"),
            (_, Self::BetweenOrDefault(least, most)) => {
                format!("a number from {least} to {most}, or -1")
            }
            (ConfigType::Double, Self::AtLeast(least)) => format!("a number from {least} on"),
            (ConfigType::Double, _) => "a number".to_owned(),
            (_, Self::AtLeast(least)) => format!("a number from {least} to {}", kind.largest()),
            _ => format!("a number of at most {}", kind.largest()),
        }
    }
}

/// As Kafka's documentation writes it.
impl fmt::Display for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::AtLeast(least) => write!(f, "[{least},...]"),
            Self::Between(least, most) => write!(f, "[{least},...,{most}]"),
            Self::BetweenOrDefault(least, most) => write!(f, "[{least},...,{most}] or -1"),
            Self::Share => f.write_str("[0,...,1]"),
            Self::OneOf(words) | Self::SomeOf(words) => write!(f, "[{}]", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_to_their_type_and_range() {
        use ConfigType::*;
        let words: &[&str] = &["a", "b"];
        for (valid, kind, text, good) in [
            (Valid::Any, Boolean, "TRUE", true),
            (Valid::Any, Boolean, "yes", false),
            (Valid::Any, Int, "-5", true),
            (Valid::Any, Int, "2147483648", false),
            (Valid::Any, Long, "9223372036854775807", true),
            (Valid::AtLeast(1), Short, "0", false),
            (Valid::AtLeast(1), Short, "40000", false),
            (Valid::Between(1, 17), Int, "17", true),
            (Valid::BetweenOrDefault(1, 9), Int, "-1", true),
            (Valid::BetweenOrDefault(1, 9), Int, "0", false),
            (Valid::Share, Double, "0.5", true),
            (Valid::Share, Double, "1.5", false),
            (Valid::Any, Double, "1.7976931348623157E308", true),
            (Valid::OneOf(words), String, "a", true),
            (Valid::OneOf(words), String, "c", false),
            (Valid::SomeOf(words), List, "b, a", true),
            (Valid::SomeOf(words), List, "", true),
            (Valid::SomeOf(words), List, "a,c", false),
        ] {
            assert_eq!(
                valid.check(kind, text).is_ok(),
                good,
                "{kind:?} {valid} {text}"
            );
        }
        assert_eq!(
            Valid::AtLeast(1).check(Int, "x").unwrap_err(),
            "a number from 1 to 2147483647 is expected"
        );
    }
}
