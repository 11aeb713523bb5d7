//! A segment whose files were there when the log was opened: what its writer needs is in memory again, from the
//! indexes after a clean stop, from the batches otherwise.
//!
//! Invariant: nothing that a batch says is believed before it fits to its neighbours, and after a crash not before
//! its CRC was checked.

use crate::record::BatchHeader;

use super::super::scan::{ScanError, Scanner};
use super::{Segment, Stamps, Tail};

impl Segment {
    /// Walks over every batch from the beginning, builds the indexes anew (in memory), and shows
    /// each header to `each`. The CRC is checked of what lies at or above `check_from`. Where it
    /// stops at damage, the segment is whole up to there.
    pub(crate) fn rebuild(
        &self,
        index_interval: u64,
        check_from: i64,
        mut each: impl FnMut(&BatchHeader) -> Result<(), String>,
    ) -> Result<(), ScanError> {
        self.offsets.replace(Vec::new());
        self.times.replace(Vec::new());
        let mut scanner = Scanner::new(self, 0, self.size());
        let mut stamps = Stamps::NONE;
        let mut since = 0;
        let end = loop {
            let position = scanner.position();
            let header = match scanner.peek() {
                Ok(Some(header)) => header,
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            };
            if header.last_offset() < check_from {
                scanner.skip(&header);
            } else if let Err(e) = scanner.next_batch() {
                break Err(e);
            }
            if let Err(reason) = each(&header) {
                break Err(ScanError::Damaged { position, reason });
            }
            if since > index_interval {
                self.index(&header, position, &stamps);
                since = 0;
            }
            stamps.add(&header, position == 0);
            since += header.size() as u64;
        };
        *self.tail.lock() = Tail {
            stamps: Some(stamps),
            bytes_since_index: since,
        };
        end
    }

    /// Makes a segment that was closed cleanly active again: its indexes are loaded. Says where
    /// its last indexed batch begins; `false` when the indexes are not there or make no sense.
    pub(crate) fn reactivate(&self) -> bool {
        if !self.offsets.load() || !self.times.load() {
            return false;
        }
        let size = self.size();
        if let Ok(Some(last)) = self.offsets.last()
            && u64::from(last.position) >= size
        {
            return false;
        }
        let (offset, time) = (self.offsets.last(), self.times.last());
        if size > 0 && matches!(time, Ok(None)) && !matches!(offset, Ok(None)) {
            return false;
        }
        let Ok(aborted) = self.aborted.all() else {
            return false;
        };
        self.aborted.replace(aborted);
        true
    }

    /// After [`reactivate`](Self::reactivate): what the writer needs, from walking over the
    /// headers behind the last index entry. Returns the offset after the last batch.
    pub(crate) fn load_tail(&self) -> Result<i64, ScanError> {
        let holes = self.holes()?;
        let (mut start, mut indexed) = self.lookup(i64::MAX);
        let last_time = self.times.last().ok().flatten();
        if last_time.is_some_and(|entry| !self.is_sound(&entry)) {
            (start, indexed) = (0, None);
        }
        let mut stamps = Stamps::NONE;
        // The last entry was written at the close: what is read unchecked can only raise it.
        stamps.sound = self.size() == 0 || last_time.is_some_and(|entry| self.is_sound(&entry));
        if let Some((_, first)) = Scanner::new(self, 0, self.size()).next_header()? {
            stamps.add(&first, true);
        }
        if let Some(last) = last_time
            && start > 0
        {
            stamps.max = last.timestamp;
            stamps.max_offset = self.base_offset + i64::from(last.relative_offset);
        }
        let mut scanner = Scanner::new(self, start, self.size());
        let mut next = if start == 0 {
            Some(holes.after(self.base_offset))
        } else {
            None
        };
        let mut end = holes.after(self.base_offset);
        while let Some((position, header)) = scanner.next_header()? {
            let expected = next.unwrap_or(header.base_offset);
            if !holes.allow(expected, header.base_offset)
                || (position == start && indexed.is_some_and(|last| last != header.last_offset()))
            {
                let reason = format!("the batch says its offset is {}", header.base_offset);
                return Err(ScanError::Damaged { position, reason });
            }
            stamps.add(&header, position == 0);
            end = holes.after(header.next_offset());
            next = Some(end);
        }
        *self.tail.lock() = Tail {
            stamps: Some(stamps),
            bytes_since_index: self.size() - start,
        };
        Ok(end)
    }
}
