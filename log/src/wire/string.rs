//! A string of the protocol: UTF-8, checked once when it is made, sharing the memory of the frame it came from.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Problem;

/// A cheaply cloned, immutable UTF-8 string over [`Bytes`].
///
/// A string decoded from a frame keeps the whole frame in memory for as long as it lives. What outlives its
/// request (a topic's name, a member's id) should be [detached](Str::detach) first.
///
/// ```
/// use thalweg_log::wire::Str;
///
/// let topic = Str::from("orders");
/// assert_eq!(topic, "orders");
/// assert!(topic.starts_with("ord"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Str(Bytes);

impl Str {
    /// The empty string.
    pub const fn new() -> Str {
        Str(Bytes::new())
    }

    /// A string that lives as long as the program; nothing is allocated.
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// Checks that the bytes are UTF-8 and shares them.
    pub fn from_utf8(bytes: Bytes) -> Result<Str, Problem> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Str(bytes)),
            Err(error) => Err(Problem::NotUtf8(error.valid_up_to())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked when it was made, so the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text, shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy with memory of its own, which does not keep the frame alive.
    #[must_use]
    pub fn detach(&self) -> Str {
        Str(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

// As `str` hashes, so that a map keyed by `Str` can be asked with a `&str`.
impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Str) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// The order of UTF-8 bytes is the order of `str`.
impl Ord for Str {
    fn cmp(&self, other: &Str) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Str {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Str {
        Str::from(text.as_str())
    }
}

impl From<Arc<str>> for Str {
    fn from(text: Arc<str>) -> Str {
        Str::from(&*text)
    }
}

impl From<&Arc<str>> for Str {
    fn from(text: &Arc<str>) -> Str {
        Str::from(&**text)
    }
}

impl From<Str> for String {
    fn from(text: Str) -> String {
        text.as_str().to_owned()
    }
}

impl From<Str> for Arc<str> {
    fn from(text: Str) -> Arc<str> {
        Arc::from(text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn refuses_what_is_not_utf8() {
        let bad = Bytes::from_static(b"ab\xff");
        assert_eq!(Str::from_utf8(bad), Err(Problem::NotUtf8(2)));
    }

    #[test]
    fn a_map_can_be_asked_with_a_str() {
        let map = HashMap::from([(Str::from("läuft"), 1)]);
        assert_eq!(map.get("läuft"), Some(&1));
    }

    #[test]
    fn orders_as_str_does() {
        let mut texts = [Str::from("ü"), Str::from("z"), Str::from("a")];
        texts.sort();
        assert_eq!(texts, ["a", "z", "ü"]);
    }
}
