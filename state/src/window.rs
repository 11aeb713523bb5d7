//! The layout of window stores: the window's start, then the key.
//!
//! Starts are written big-endian with the sign bit flipped, so that bytes sort as
//! numbers do and everything older than a time is one range.

use bytes::Bytes;

/// The bytes that the window start takes at the front of a window key.
pub const START_LEN: usize = 8;

/// `start`, so that bytes sort as numbers.
pub fn encode_start(start: i64) -> [u8; START_LEN] {
    (start ^ i64::MIN).to_be_bytes()
}

/// The stored key of `key` in the window that starts at `start`.
pub fn window_key(key: &[u8], start: i64) -> Bytes {
    let mut out = Vec::with_capacity(START_LEN + key.len());
    out.extend_from_slice(&encode_start(start));
    out.extend_from_slice(key);
    out.into()
}

/// Takes a stored key apart: the window's start and the key.
pub fn split_window_key(stored: &Bytes) -> Option<(i64, Bytes)> {
    let (start, _) = stored.split_first_chunk::<START_LEN>()?;
    Some((
        i64::from_be_bytes(*start) ^ i64::MIN,
        stored.slice(START_LEN..),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_keys_sort_by_time_first_and_come_apart_again() {
        let mut keys: Vec<Bytes> = [(5, "a"), (-5, "z"), (0, "b"), (i64::MIN, "q"), (0, "a")]
            .iter()
            .map(|(start, key)| window_key(key.as_bytes(), *start))
            .collect();
        keys.sort();
        let apart: Vec<_> = keys.iter().filter_map(split_window_key).collect();
        let expected = [(i64::MIN, "q"), (-5, "z"), (0, "a"), (0, "b"), (5, "a")];
        assert_eq!(
            apart,
            expected.map(|(start, key)| (start, Bytes::from(key)))
        );
        assert_eq!(split_window_key(&Bytes::from_static(b"short")), None);
    }
}
