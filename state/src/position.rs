//! How far into its changelog a store reaches.
//!
//! A position is written in the same batch as the entries it covers, so that a store on
//! disk never claims more, and never holds more, than its position says.

use uuid::Uuid;

/// The place in the changelog up to which a store holds every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorePosition {
    /// The changelog topic's id: a topic deleted and created anew is another one.
    pub topic_id: Uuid,
    /// The leader epoch of the last record covered, or −1.
    pub leader_epoch: i32,
    /// The offset of the next record to replay.
    pub offset: i64,
    /// When this was written, in milliseconds of the wall clock.
    pub wall_time: i64,
}

const VERSION: u8 = 1;
const LEN: usize = 1 + 16 + 4 + 8 + 8;

impl StorePosition {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.push(VERSION);
        out.extend_from_slice(self.topic_id.as_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.wall_time.to_be_bytes());
        out
    }

    /// Reads the stored form; `None` if it is not one of a known version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (topic_id, rest) = rest.split_first_chunk::<16>()?;
        let (leader_epoch, rest) = rest.split_first_chunk::<4>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (wall_time, rest) = rest.split_first_chunk::<8>()?;
        rest.is_empty().then_some(Self {
            topic_id: Uuid::from_bytes(*topic_id),
            leader_epoch: i32::from_be_bytes(*leader_epoch),
            offset: i64::from_be_bytes(*offset),
            wall_time: i64::from_be_bytes(*wall_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_encoding_and_nothing_else_decodes() {
        let position = StorePosition {
            topic_id: Uuid::from_u128(7),
            leader_epoch: 3,
            offset: 42,
            wall_time: 1_700_000_000_000,
        };
        let bytes = position.encode();
        assert_eq!(StorePosition::decode(&bytes), Some(position));
        assert_eq!(StorePosition::decode(&bytes[..LEN - 1]), None);
        assert_eq!(StorePosition::decode(&[2; LEN]), None);
        assert_eq!(StorePosition::decode(&[]), None);
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        let stored = [
            1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 42,
            0, 0, 0, 0, 0, 0, 1, 0,
        ];
        let position = StorePosition {
            topic_id: Uuid::from_u128(7),
            leader_epoch: 3,
            offset: 42,
            wall_time: 256,
        };
        assert_eq!(StorePosition::decode(&stored), Some(position));
        assert_eq!(position.encode(), stored);
    }
}
