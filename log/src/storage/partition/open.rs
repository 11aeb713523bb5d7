//! Opening a log, and recovering it after a crash.
//!
//! After a clean shutdown the files are taken as they are. Otherwise everything from the recovery
//! point on is read and checked: the log ends before the first batch that is torn, and the indexes,
//! the leader epochs and the producers' state are made from what is left. Damage *below* the
//! recovery point is no torn tail, for that was fsynced: it is an error and nothing is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use super::super::cleaner::swap;
use super::super::config::LogConfig;
use super::super::dir::LogDir;
use super::super::epochs::EpochCache;
use super::super::error::{StorageError, StorageResult};
use super::super::files::{
    DELETED_SUFFIX, GAPS_SUFFIX, INDEX_SUFFIX, LEADER_EPOCH_CHECKPOINT, LOG_SUFFIX,
    SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, offset_file, offset_of, remove_if_there,
};
use super::super::gaps::{Gaps, Holes};
use super::super::properties::read_topic_id;
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::super::types::{LogPosition, LogState};
use super::state::{self, State};
use super::{PartitionLog, Writer};

/// What the opener knows of a log.
#[derive(Debug, Clone)]
pub(crate) struct OpenLog {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) folder: PathBuf,
    pub(crate) config: LogConfig,
    /// The last shutdown was clean.
    pub(crate) clean: bool,
}

impl PartitionLog {
    pub(crate) fn open(dir: &Arc<LogDir>, open: OpenLog, now: i64) -> StorageResult<Arc<Self>> {
        let OpenLog {
            topic,
            partition,
            folder,
            config,
            clean,
        } = open;
        let checkpointed_start = dir.checkpointed_log_start(&topic, partition);
        let recovery_point = dir.recovery_point(&topic, partition).unwrap_or(0);
        swap::recover(&folder)?;
        let bases = tidy(&folder)?;
        let epoch_path = folder.join(LEADER_EPOCH_CHECKPOINT);
        let (loaded_epochs, damaged_epochs) = match EpochCache::load(epoch_path.clone()) {
            Ok(loaded) => (loaded, None),
            Err(error @ StorageError::BadFile { .. }) => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let epochs_known = loaded_epochs.is_some();

        let mut segments = BTreeMap::new();
        for base in bases {
            segments.insert(base, Segment::open(dir, &folder, base, now)?);
        }
        let is_new = segments.is_empty();
        let mut opening = Opening {
            dir,
            topic: &topic,
            partition,
            config: &config,
            folder: &folder,
            segments,
            epochs: loaded_epochs.unwrap_or_else(|| EpochCache::empty(epoch_path)),
            rebuilt: BTreeSet::new(),
            end: checkpointed_start.unwrap_or(0),
        };
        if is_new {
            opening.start_at(opening.end, now)?;
        } else if !clean || !opening.load_clean()? {
            opening.recover(recovery_point)?;
        }
        if !epochs_known && !is_new {
            opening.rebuild_epochs(damaged_epochs)?;
        }
        if opening.end < recovery_point {
            let reason =
                format!("offsets up to {recovery_point} were fsynced, but the log ends here");
            return Err(opening.missing(reason));
        }
        let first = opening.segments.keys().next().copied().unwrap_or(0);
        let log_start = checkpointed_start.unwrap_or(first).max(first);
        if log_start > opening.end {
            // Deletion up to here was under way, or what was there was never fsynced.
            opening.start_at(log_start, now)?;
        }
        opening.epochs.truncate_from_end(opening.end);
        opening.epochs.truncate_from_start(log_start);
        let state = opening.replay()?;
        let (end, epochs) = (opening.end, opening.epochs);
        let segments: BTreeMap<_, _> = opening
            .segments
            .into_iter()
            .map(|(base, s)| (base, Arc::new(s)))
            .collect();
        let Some(active) = segments.values().next_back().cloned() else {
            return Err(StorageError::BadFile {
                path: folder,
                reason: "the log has no segment".to_owned(),
            });
        };
        // What a clean shutdown left was fsynced; otherwise only the recovery point is known.
        let flushed = if clean || is_new {
            end
        } else {
            recovery_point.clamp(log_start, end)
        };
        let topic_id = read_topic_id(&folder)?.unwrap_or(Uuid::nil());
        let flush_now = config.flush_before_ack() && flushed < end;
        let position = LogPosition {
            log_start_offset: log_start,
            last_stable_offset: log_start,
            high_watermark: log_start,
            log_end_offset: end,
            state: LogState::Online,
        };
        let log = Arc::new_cyclic(|me| Self {
            topic: topic.clone(),
            partition,
            topic_id: RwLock::new(topic_id),
            dir: Arc::clone(dir),
            folder: folder.clone(),
            config: RwLock::new(Arc::new(config.clone())),
            segments: RwLock::new(segments),
            writer: Mutex::new(Writer {
                active,
                producers: state.producers,
                next_offset: end,
                jitter: rand::random(),
            }),
            epochs: RwLock::new(epochs),
            position: watch::Sender::new(position),
            undecided: Mutex::new(state.undecided),
            flushed: AtomicI64::new(flushed),
            flushing: Mutex::new(()),
            flush_asked: AtomicBool::new(false),
            flush_due: AtomicBool::new(false),
            unsynced: Mutex::default(),
            last_flush: AtomicI64::new(now),
            truncations: AtomicU64::new(0),
            cutting: Mutex::new(()),
            cleaning: Mutex::new(()),
            me: me.clone(),
        });
        // While nobody appends to it.
        let active = Arc::clone(&log.writer.lock().active);
        active.activate()?;
        log.check_aborted(&active)?;
        if flush_now {
            log.flush()?;
        }
        log.publish(|_| {});
        Ok(log)
    }

    /// The producers' state at `end`.
    pub(super) fn replay(&self, end: i64) -> StorageResult<State> {
        let segments: Vec<_> = self.segments.read().values().map(Arc::clone).collect();
        let segments: Vec<_> = segments.iter().map(|segment| &**segment).collect();
        state::replay(&self.folder, &segments, end, None)
    }
}

/// A log while it is opened: nobody else sees it.
struct Opening<'a> {
    dir: &'a Arc<LogDir>,
    topic: &'a str,
    partition: i32,
    config: &'a LogConfig,
    folder: &'a PathBuf,
    segments: BTreeMap<i64, Segment>,
    epochs: EpochCache,
    /// The segments whose indexes were made anew.
    rebuilt: BTreeSet<i64>,
    end: i64,
}

impl Opening<'_> {
    fn corrupt(
        &self,
        segment: &Segment,
        offset: i64,
        position: u64,
        reason: String,
    ) -> StorageError {
        StorageError::Corrupt {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset,
            file: segment.path().to_path_buf(),
            position,
            reason,
        }
    }

    /// Records that were on disk are gone.
    fn missing(&self, reason: String) -> StorageError {
        match self.segments.values().next_back() {
            Some(last) => self.corrupt(last, self.end, last.size(), reason),
            None => StorageError::BadFile {
                path: self.folder.clone(),
                reason,
            },
        }
    }

    /// Deletes what there is and begins anew.
    fn start_at(&mut self, offset: i64, now: i64) -> StorageResult<()> {
        for segment in std::mem::take(&mut self.segments).values().rev() {
            segment.delete(0)?;
        }
        self.rebuilt.clear();
        for snapshot in state::snapshots(self.folder)? {
            remove_if_there(&offset_file(self.folder, snapshot, SNAPSHOT_SUFFIX))?;
        }
        self.epochs.clear();
        let segment = Segment::create(self.dir, self.folder, offset, now)?;
        if self.config.preallocate {
            segment.preallocate(u64::from(self.config.segment_bytes))?;
        }
        self.segments.insert(offset, segment);
        self.end = offset;
        Ok(())
    }

    /// After a clean shutdown: only the active segment is looked at. `false` when its indexes are
    /// not usable.
    fn load_clean(&mut self) -> StorageResult<bool> {
        let Some(last) = self.segments.last_entry() else {
            return Ok(false);
        };
        let base = *last.key();
        if !last.get().reactivate() {
            return Ok(false);
        }
        match last.get().load_tail() {
            Ok(end) => {
                self.end = end;
                Ok(true)
            }
            Err(ScanError::Storage(error)) => Err(error),
            Err(ScanError::Damaged { position, reason }) => {
                let segment = last.get();
                Err(StorageError::Corrupt {
                    topic: self.topic.to_owned(),
                    partition: self.partition,
                    offset: base,
                    file: segment.path().to_path_buf(),
                    position,
                    reason,
                })
            }
        }
    }

    /// After a crash: checks everything from the recovery point on, and cuts the torn tail off.
    fn recover(&mut self, recovery_point: i64) -> StorageResult<()> {
        let bases: Vec<_> = self.segments.keys().copied().collect();
        let interval = u64::from(self.config.index_interval_bytes);
        // Where the segment before ends, once one has been read.
        let mut end = None;
        for (n, base) in bases.iter().copied().enumerate() {
            let following = bases.get(n + 1).copied();
            // Fsynced as a whole, and its indexes are in their files. A compacted segment was before
            // it got its name; what its transactions were is no longer to be told from its batches.
            let compacted = match self.segments.get(&base) {
                Some(segment) if end.is_none() && base < recovery_point => segment.gaps()?,
                // A list that does not count yet may be damaged.
                Some(segment) if end.is_none() => segment.gaps().unwrap_or_default(),
                _ => None,
            };
            let compacted = compacted
                .filter(|gaps| gaps.clean_to() > base)
                .map(|gaps| gaps.end_offset());
            if following.is_some_and(|next| next <= recovery_point || compacted == Some(next))
                && self.has_indexes(base)
            {
                end = None;
                continue;
            }
            if let Some(end) = end
                && end != base
            {
                self.drop_from(base, end, recovery_point)?;
                break;
            }
            let Some(segment) = self.segments.get(&base) else {
                continue;
            };
            if end.is_none() {
                // What was fsynced of the epochs counts; after it, what the batches say.
                self.epochs.truncate_from_end(base.max(recovery_point));
            }
            let listed = match segment.gaps() {
                Err(error @ StorageError::BadFile { .. }) if base >= recovery_point => {
                    tracing::warn!(%error, "a list of gaps that was not on disk yet is not used");
                    segment.drop_gaps()?;
                    None
                }
                listed => listed?,
            };
            let mut found = listed.as_deref().cloned();
            // A follower may have copied gaps since its list was last complete.
            let may_have_gaps = self.config.cleanup_compact || listed.is_some();
            let mut holes = Holes::listed(listed);
            if may_have_gaps {
                holes = holes.or_any_from(recovery_point);
            }
            let mut next = holes.after(base);
            let epochs = &mut self.epochs;
            // Also what was fsynced: the timestamps and the producers' state come from it.
            let result = segment.rebuild(interval, i64::MIN, |header| {
                if !holes.allow(next, header.base_offset) {
                    return Err(format!(
                        "the batch says its offset is {}, but {next} is next",
                        header.base_offset
                    ));
                }
                let epoch = header.partition_leader_epoch;
                if header.last_offset() >= recovery_point {
                    if epochs.latest().is_some_and(|latest| epoch < latest) {
                        return Err(format!("the leader epoch goes back to {epoch}"));
                    }
                    epochs.assign(epoch, header.base_offset);
                }
                if header.base_offset > next && found.is_none() {
                    let mut gaps = Gaps::new(base);
                    gaps.push(base, next);
                    found = Some(gaps);
                }
                if let Some(gaps) = &mut found {
                    gaps.push(header.base_offset, header.next_offset());
                }
                next = holes.after(header.next_offset());
                Ok(())
            });
            if let Some(mut gaps) = found {
                if following.is_none() {
                    // It may name what was lost.
                    gaps.truncate(next);
                }
                if segment.gaps()?.as_deref() != Some(&gaps) {
                    segment.set_gaps(gaps);
                }
            }
            end = Some(next);
            self.end = next;
            self.rebuilt.insert(base);
            match result {
                Ok(()) => {}
                Err(ScanError::Storage(error)) => return Err(error),
                Err(ScanError::Damaged { position, reason }) => {
                    if next < recovery_point {
                        return Err(self.corrupt(segment, next, position, reason));
                    }
                    if segment.is_zero_from(position)? {
                        // It was preallocated and not full yet, or not cut to its size yet.
                        segment.truncate(position, next)?;
                        continue;
                    }
                    tracing::warn!(
                        topic = self.topic, partition = self.partition, offset = next,
                        file = %segment.path().display(), bytes = segment.size() - position, reason,
                        "the log is cut off before a batch that was not written whole"
                    );
                    segment.truncate(position, next)?;
                    if let Some(following) = following {
                        self.drop_from(following, next, recovery_point)?;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// The producers' state; and the aborted transactions of the segments whose indexes were made
    /// anew, with which those are whole.
    fn replay(&mut self) -> StorageResult<State> {
        let segments: Vec<_> = self.segments.values().collect();
        let index_from = self.rebuilt.first().copied();
        let active = self.segments.keys().next_back().copied().unwrap_or(0);
        let is_base = |offset| self.segments.contains_key(&offset);
        state::tidy_snapshots(self.folder, is_base, self.end)?;
        let mut state = state::replay(self.folder, &segments, self.end, index_from)?;
        for base in &self.rebuilt {
            let Some(segment) = self.segments.get(base) else {
                continue;
            };
            let aborted = state.aborted.remove(base).unwrap_or_default();
            segment.aborted().replace(aborted);
            segment.aborted().set_checked();
            if *base != active {
                segment.seal()?;
            }
        }
        Ok(state)
    }

    /// Deletes the segments from `base` on, which do not go on where the one before ends.
    fn drop_from(&mut self, base: i64, end: i64, recovery_point: i64) -> StorageResult<()> {
        if let Some(segment) = self.segments.get(&base)
            && base < recovery_point
        {
            let reason = format!("the segment before it ends at offset {end}");
            return Err(self.corrupt(segment, end, 0, reason));
        }
        let dropped = self.segments.split_off(&base);
        for segment in dropped.values().rev() {
            tracing::warn!(
                topic = self.topic, partition = self.partition,
                file = %segment.path().display(), bytes = segment.size(),
                "a segment behind the cut is deleted"
            );
            segment.delete(0)?;
        }
        Ok(())
    }

    fn has_indexes(&self, base: i64) -> bool {
        [(INDEX_SUFFIX, 8), (TIME_INDEX_SUFFIX, 12)]
            .iter()
            .all(|(suffix, entry)| {
                fs::metadata(offset_file(self.folder, base, suffix))
                    .is_ok_and(|meta| meta.len() % entry == 0)
            })
    }

    /// The leader epochs from all batches there are, for want of a file that says. Where compaction
    /// has taken out the first records of an epoch, the file was the only one to know where it
    /// begins: one that is `damaged` is then an error, and of one that is gone it begins right after
    /// the record before, which makes a follower fetch again rather than keep what it must not.
    fn rebuild_epochs(&mut self, damaged: Option<StorageError>) -> StorageResult<()> {
        if let Some(error) = &damaged {
            tracing::warn!(%error, "the leader epochs are made anew from the batches");
        }
        self.epochs.clear();
        let mut end = None;
        for segment in self.segments.values() {
            let mut scanner = Scanner::new(segment, 0, segment.size());
            loop {
                match scanner.next_header() {
                    Ok(Some((_, header))) => {
                        let (epoch, begins) = (header.partition_leader_epoch, header.base_offset);
                        let earliest = end.unwrap_or(begins).min(begins);
                        let news = self.epochs.assign(epoch, earliest);
                        if news
                            && earliest < begins
                            && let Some(StorageError::BadFile { path, reason }) = damaged
                        {
                            let reason = format!(
                                "{reason}; compaction has left nothing that says where the leader \
                                 epoch {epoch} begins: put a good copy in its place, or remove it \
                                 to have the epoch begin at {earliest}"
                            );
                            return Err(StorageError::BadFile { path, reason });
                        }
                        end = Some(header.next_offset());
                    }
                    // Damage is for the reads to tell.
                    Ok(None) | Err(ScanError::Damaged { .. }) => break,
                    Err(ScanError::Storage(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Deletes what a crash may have left behind, and returns the base offsets of the segments.
fn tidy(folder: &std::path::Path) -> StorageResult<Vec<i64>> {
    let error = |e| StorageError::io("list", folder, e);
    let mut bases = Vec::new();
    let mut indexes = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(DELETED_SUFFIX) || name.ends_with(".tmp") {
            remove_if_there(&entry.path())?;
        } else if let Some(base) = offset_of(name, LOG_SUFFIX) {
            bases.push(base);
        } else if let Some(base) = [
            INDEX_SUFFIX,
            TIME_INDEX_SUFFIX,
            GAPS_SUFFIX,
            TXN_INDEX_SUFFIX,
        ]
        .iter()
        .find_map(|suffix| offset_of(name, suffix))
        {
            indexes.push((base, entry.path()));
        }
    }
    bases.sort_unstable();
    for (base, path) in indexes {
        if bases.binary_search(&base).is_err() {
            remove_if_there(&path)?;
        }
    }
    Ok(bases)
}
