//! Which offsets a segment lacks: the file `<base offset>.gaps`.
//!
//! Offsets without gaps are how damage to a batch's base offset is found, which its CRC does not
//! cover. Compaction takes that away, so it leaves a list of the gaps it made: between two batches
//! of a segment exactly these offsets may be missing. The list also says up to which offset the
//! segment holds only the last record of each key, so that a compaction that was cut short, or a
//! checkpoint that lies, never makes an old value come back.
//!
//! A follower copies the gaps of its leader's log, and lists them as they come.
//!
//! Invariants: without a list a segment has no gaps. A segment that compaction wrote has its list
//! before it has its name; one that a follower writes has it before the first gap, and up to where
//! the segment was fsynced. The list is trusted only when its CRC-32C holds.

use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::error::{StorageError, StorageResult};
use super::files::write_atomically;

const MAGIC: u32 = 0x5457_4750;
const VERSION: u16 = 1;
const HEAD: usize = 4 + 2 + 8 + 8 + 8 + 8;
const ENTRY: usize = 16;

/// The gaps of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gaps {
    base_offset: i64,
    /// The segment stands for the offsets from its base to here.
    end_offset: i64,
    /// Below here, the segment was held against every key before this offset.
    clean_to: i64,
    /// Where a gap begins and where it ends, in order; no two touch.
    gaps: Vec<(i64, i64)>,
}

impl Gaps {
    /// A list without gaps.
    pub(crate) fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            end_offset: base_offset,
            clean_to: base_offset,
            gaps: Vec::new(),
        }
    }

    /// The next batch has these offsets; what lies between it and the one before is a gap.
    pub(crate) fn push(&mut self, first: i64, next: i64) {
        self.skip_to(first);
        self.end_offset = self.end_offset.max(next);
    }

    /// Everything up to `offset` is a gap.
    pub(crate) fn skip_to(&mut self, offset: i64) {
        if offset > self.end_offset {
            match self.gaps.last_mut() {
                Some(last) if last.1 == self.end_offset => last.1 = offset,
                _ => self.gaps.push((self.end_offset, offset)),
            }
            self.end_offset = offset;
        }
    }

    pub(crate) fn set_clean_to(&mut self, offset: i64) {
        self.clean_to = offset;
    }

    pub(crate) fn clean_to(&self) -> i64 {
        self.clean_to
    }

    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// The offset at which the next batch begins when the one before ended at `offset`.
    pub(crate) fn after(&self, offset: i64) -> i64 {
        match self.gaps.binary_search_by_key(&offset, |gap| gap.0) {
            Ok(at) => self.gaps.get(at).map_or(offset, |gap| gap.1),
            Err(_) => offset,
        }
    }

    /// The segment now ends at `offset`.
    pub(crate) fn truncate(&mut self, offset: i64) {
        self.gaps.retain(|gap| gap.0 < offset);
        if let Some(last) = self.gaps.last_mut() {
            last.1 = last.1.min(offset);
        }
        self.end_offset = self.end_offset.min(offset);
        self.clean_to = self.clean_to.min(offset);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.gaps.len() * ENTRY + 4);
        bytes.put_u32(MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_i64(self.base_offset);
        bytes.put_i64(self.end_offset);
        bytes.put_i64(self.clean_to);
        bytes.put_u64(self.gaps.len() as u64);
        for (start, end) in &self.gaps {
            bytes.put_i64(*start);
            bytes.put_i64(*end);
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    /// Replaces the file, and has it on disk.
    pub(crate) fn save(&self, path: &Path) -> StorageResult<()> {
        write_atomically(path, &self.encode(), true)
    }

    /// Replaces the file: there after a crash of the process.
    pub(crate) fn save_unsynced(&self, path: &Path) -> StorageResult<()> {
        write_atomically(path, &self.encode(), false)
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn load(path: &Path, base_offset: i64) -> StorageResult<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StorageError::io("read", path, e)),
        };
        let bad = |reason: &str| {
            Err(StorageError::BadFile {
                path: path.to_path_buf(),
                reason: reason.to_owned(),
            })
        };
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return bad("it is too short for a list of gaps");
        };
        if body.len() < HEAD || u32::from_be_bytes(*crc) != crc32c::crc32c(body) {
            return bad("its CRC-32C does not match");
        }
        let mut rest = body;
        if (rest.get_u32(), rest.get_u16()) != (MAGIC, VERSION) {
            return bad("it is not a list of gaps of version 1");
        }
        if rest.get_i64() != base_offset {
            return bad("it belongs to another segment");
        }
        let (end_offset, clean_to) = (rest.get_i64(), rest.get_i64());
        let count = rest.get_u64();
        if rest.len() as u64 != count.saturating_mul(ENTRY as u64) {
            return bad("its size does not match its count");
        }
        let mut gaps = Vec::with_capacity(rest.len() / ENTRY);
        while rest.len() >= ENTRY {
            gaps.push((rest.get_i64(), rest.get_i64()));
        }
        Ok(Some(Self {
            base_offset,
            end_offset,
            clean_to,
            gaps,
        }))
    }
}

/// What offsets may be missing between the batches of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holes {
    /// Those of the list; without one, none.
    listed: Option<Arc<Gaps>>,
    /// From here on, as far as the list does not reach, any.
    any_from: Option<i64>,
}

impl Holes {
    /// Those of the list, and no others.
    pub(crate) fn listed(listed: Option<Arc<Gaps>>) -> Self {
        Self {
            listed,
            any_from: None,
        }
    }

    /// Those of the list, and from `offset` on also such as it could not name yet.
    pub(crate) fn or_any_from(mut self, offset: i64) -> Self {
        self.any_from = Some(offset);
        self
    }

    /// The offset at which the next batch must begin when the one before ended at `offset`.
    pub(crate) fn after(&self, offset: i64) -> i64 {
        self.listed
            .as_ref()
            .map_or(offset, |gaps| gaps.after(offset))
    }

    /// Whether a batch that begins at `found` may come where [`after`](Self::after) said `next`.
    pub(crate) fn allow(&self, next: i64, found: i64) -> bool {
        let unlisted = self
            .listed
            .as_ref()
            .is_none_or(|gaps| next >= gaps.end_offset());
        found == next
            || (found > next && unlisted && self.any_from.is_some_and(|from| next >= from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps() -> Gaps {
        let mut gaps = Gaps::new(100);
        gaps.push(110, 115);
        gaps.push(115, 120);
        gaps.push(130, 131);
        gaps.skip_to(140);
        gaps.set_clean_to(150);
        gaps
    }

    #[test]
    fn what_is_missing_is_known_exactly() {
        let gaps = gaps();
        assert_eq!(gaps.gaps, [(100, 110), (120, 130), (131, 140)]);
        for (offset, next) in [(100, 110), (115, 115), (120, 130), (121, 121), (131, 140)] {
            assert_eq!(gaps.after(offset), next, "{offset}");
        }
        assert_eq!(gaps.end_offset(), 140);
        let mut cut = gaps.clone();
        cut.truncate(125);
        assert_eq!(cut.gaps, [(100, 110), (120, 125)]);
        assert_eq!((cut.end_offset(), cut.clean_to()), (125, 125));
    }

    #[test]
    fn beyond_the_list_gaps_are_allowed_where_that_is_said() {
        let none = Holes::default();
        assert!(none.allow(5, 5) && !none.allow(5, 6) && !none.allow(5, 4));
        let listed = Holes::listed(Some(Arc::new(gaps())));
        assert_eq!(listed.after(120), 130);
        assert!(!listed.allow(130, 131) && !listed.allow(140, 141));
        let recovering = listed.or_any_from(135);
        assert!(!recovering.allow(130, 131), "the list knows");
        assert!(recovering.allow(140, 141) && !recovering.allow(140, 139));
        let recovering = Holes::default().or_any_from(135);
        assert!(!recovering.allow(134, 136) && recovering.allow(135, 136));
    }

    #[test]
    fn a_damaged_list_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000100.gaps");
        assert_eq!(Gaps::load(&path, 100).unwrap(), None);
        gaps().save(&path).unwrap();
        assert_eq!(Gaps::load(&path, 100).unwrap(), Some(gaps()));
        assert!(Gaps::load(&path, 101).is_err());
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Gaps::load(&path, 100).is_err(), "byte {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(Gaps::load(&path, 100).is_err(), "cut at {at}");
        }
    }
}
