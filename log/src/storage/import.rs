//! Takes over what Apache Kafka wrote: a topic's partition folders become logs of this node.
//!
//! First everything is read and checked ([`ImportPlan::read`]); only then is anything written. Batches
//! are copied byte for byte but for the leader epoch, which begins anew with the topic here; indexes,
//! the producers' state and the aborted transactions are made from the batches. Gaps that Kafka's
//! compaction left are written down as such.
//!
//! Invariant: the source is only read, and what is imported was checked to its last byte.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::checkpoint::read_offsets;
use super::config::LogConfig;
use super::dir::LogDir;
use super::error::{StorageError, StorageResult};
use super::files::{
    CLEANED_SUFFIX, GAPS_SUFFIX, LOG_START_CHECKPOINT, LOG_SUFFIX, SWAP_SUFFIX, is_legal_topic,
    offset_file, offset_of, parse_partition_dir, sync_dir,
};
use super::gaps::Gaps;
use super::manager::LogManager;
use super::partition::PartitionLog;
use super::properties::{read_topic_id, write_topic_id};
use super::segment::Segment;
use crate::record::{BATCH_HEADER_SIZE, BATCH_OVERHEAD, BatchHeader, RecordBatch, RecordError};

/// Bytes of batches written at once.
const CHUNK: usize = 4 << 20;

/// Why nothing is imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// There is no folder of that topic.
    #[error(
        "{path} has no partition folder of {}: name a folder like orders-0 with segments in it, or a \
         log directory and a topic",
        .topic.as_deref().unwrap_or("any topic")
    )]
    NothingFound {
        /// Where it was looked for.
        path: PathBuf,
        /// The topic that was asked for.
        topic: Option<String>,
    },
    /// Several topics were found.
    #[error("{path} holds several topics ({}): say which", .topics.join(", "))]
    SeveralTopics {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        topics: Vec<String>,
    },
    /// The partitions are not 0, 1, 2, …
    #[error("of the topic {topic} the partition {missing} is missing in {path}")]
    MissingPartition {
        /// The topic.
        topic: String,
        /// The partition.
        missing: i32,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A name that no topic may have.
    #[error("{0:?} is no legal topic name")]
    IllegalTopic(String),
    /// Messages from before Kafka 0.11.
    #[error(
        "{file} has messages of the old format v{magic} (byte {position}), from before Kafka 0.11, \
         which cannot be read: copy the topic once with a Kafka of 0.11 to 3.x (for instance by \
         mirroring it to a new topic), and import that"
    )]
    OldFormat {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// The format.
        magic: i8,
    },
    /// The folder was not closed cleanly, or is in use.
    #[error(
        "{0} is left from a Kafka broker that is running or did not stop cleanly: start it once \
         more, stop it, and import then"
    )]
    NotClosed(PathBuf),
    /// A batch is damaged.
    #[error("{file} is damaged at byte {position}: {reason}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The folders belong to different topics of the same name.
    #[error("{path} has another topic id than the folders before it")]
    MixedTopicIds {
        /// The folder.
        path: PathBuf,
    },
    /// The partition exists here.
    #[error("{topic}-{partition} exists here already: import under another name")]
    Exists {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What would be imported.
#[derive(Debug, Clone)]
pub struct ImportPlan {
    /// The topic in the source.
    pub topic: String,
    /// The topic's id there, which it keeps.
    pub topic_id: Option<Uuid>,
    /// Its partitions, from 0 on.
    pub partitions: Vec<ImportedPartition>,
}

/// A partition that would be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedPartition {
    /// Its number.
    pub partition: i32,
    /// Its folder.
    pub folder: PathBuf,
    /// The first offset that may be read.
    pub log_start_offset: i64,
    /// The offset after the last.
    pub log_end_offset: i64,
    /// How many batches there are.
    pub batches: u64,
    /// How many records are in them, markers of transactions counted.
    pub records: u64,
    /// The newest timestamp among them; `None` where no record has one. Retention by time begins
    /// with it.
    pub max_timestamp: Option<i64>,
    /// How many bytes.
    pub bytes: u64,
    /// Offsets are missing: it was compacted.
    pub compacted: bool,
    /// The base offsets of its segments.
    segments: Vec<i64>,
}

impl ImportPlan {
    /// Reads and checks a partition's folder, or all folders of a topic in a log directory. With
    /// neither a topic nor a partition's folder, the directory must hold one topic.
    pub fn read(source: &Path, topic: Option<&str>) -> Result<Self, ImportError> {
        let mut found: BTreeMap<String, BTreeMap<i32, PathBuf>> = BTreeMap::new();
        let mut add = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some((topic, partition)) = name.and_then(parse_partition_dir) {
                let partitions = found.entry(topic.to_owned()).or_default();
                partitions.insert(partition, path.to_path_buf());
                return true;
            }
            false
        };
        let real = source
            .canonicalize()
            .map_err(|e| StorageError::io("open", source, e))?;
        let single = add(&real) && !real.join(LOG_START_CHECKPOINT).exists();
        if !single {
            let list = |e| StorageError::io("list", source, e);
            for entry in fs::read_dir(&real).map_err(list)? {
                let path = entry.map_err(list)?.path();
                if path.is_dir() {
                    add(&path);
                }
            }
        }
        if !single && let Some(topic) = topic {
            found.retain(|name, _| name == topic);
        }
        found.retain(|name, _| single || !name.starts_with("__"));
        let mut topics = found.into_iter();
        let (Some((name, folders)), rest) = (topics.next(), topics) else {
            return Err(ImportError::NothingFound {
                path: source.to_path_buf(),
                topic: topic.map(str::to_owned),
            });
        };
        let others: Vec<_> = rest.map(|(name, _)| name).collect();
        if !others.is_empty() {
            let mut topics = vec![name];
            topics.extend(others);
            let path = source.to_path_buf();
            return Err(ImportError::SeveralTopics { path, topics });
        }
        let mut plan = Self {
            topic: name,
            topic_id: None,
            partitions: Vec::new(),
        };
        for (at, (partition, folder)) in (0..).zip(folders) {
            if partition != at && !single {
                return Err(ImportError::MissingPartition {
                    topic: plan.topic,
                    missing: at,
                    path: source.to_path_buf(),
                });
            }
            let id = read_topic_id(&folder)?;
            if at > 0 && id != plan.topic_id {
                return Err(ImportError::MixedTopicIds { path: folder });
            }
            plan.topic_id = id;
            // A single folder becomes a topic of one partition.
            plan.partitions
                .push(check_partition(&plan.topic, partition, at, folder)?);
        }
        Ok(plan)
    }

    /// Copies the partitions into the data folder, as logs of `topic`, and opens them. All of it is
    /// on disk when this returns. The metadata do not know the topic yet.
    pub fn run(
        &self,
        manager: &LogManager,
        topic: &str,
        id: Uuid,
        config: &LogConfig,
        now: i64,
    ) -> Result<Vec<Arc<PartitionLog>>, ImportError> {
        if !is_legal_topic(topic) {
            return Err(ImportError::IllegalTopic(topic.to_owned()));
        }
        for partition in &self.partitions {
            if manager.get(topic, partition.partition).is_some() {
                return Err(ImportError::Exists {
                    topic: topic.to_owned(),
                    partition: partition.partition,
                });
            }
        }
        let mut logs = Vec::new();
        for partition in &self.partitions {
            let index = partition.partition;
            let copy = |dir: &Arc<LogDir>, folder: &Path| partition.copy(dir, folder, id, now);
            match manager.install(topic, index, config, partition.log_start_offset, now, &copy) {
                Ok(log) => logs.push(log),
                Err(error) => {
                    // All or nothing.
                    for log in &logs {
                        manager.delete(topic, log.partition())?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(logs)
    }
}

fn check_partition(
    topic: &str,
    source_partition: i32,
    partition: i32,
    folder: PathBuf,
) -> Result<ImportedPartition, ImportError> {
    let list = |e| StorageError::io("list", &folder, e);
    let mut segments = Vec::new();
    for entry in fs::read_dir(&folder).map_err(list)? {
        let name = entry.map_err(list)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(CLEANED_SUFFIX) || name.ends_with(SWAP_SUFFIX) {
            return Err(ImportError::NotClosed(folder));
        }
        segments.extend(offset_of(name, LOG_SUFFIX));
    }
    segments.sort_unstable();
    let Some(first) = segments.first().copied() else {
        return Err(ImportError::NothingFound {
            path: folder,
            topic: Some(topic.to_owned()),
        });
    };
    let beside = folder
        .parent()
        .map(|parent| parent.join(LOG_START_CHECKPOINT));
    let starts = beside.map_or(Ok(Default::default()), |path| read_offsets(&path))?;
    let start = starts.get(&(topic.to_owned(), source_partition)).copied();
    let mut found = ImportedPartition {
        partition,
        log_start_offset: start.unwrap_or(first).max(first),
        log_end_offset: first,
        batches: 0,
        records: 0,
        max_timestamp: None,
        bytes: 0,
        compacted: false,
        segments: segments.clone(),
        folder,
    };
    let mut epoch = -1;
    for base in segments {
        let file = offset_file(&found.folder, base, LOG_SUFFIX);
        let damaged = |position, reason: String| ImportError::Damaged {
            file: file.clone(),
            position,
            reason,
        };
        if base < found.log_end_offset {
            let reason = format!(
                "the segment before it ends at offset {}",
                found.log_end_offset
            );
            return Err(damaged(0, reason));
        }
        found.compacted |= base > found.log_end_offset;
        found.log_end_offset = base;
        let mut reader = Reader::open(&file)?;
        while let Some((position, batch)) = reader.next()? {
            if batch.base_offset < found.log_end_offset {
                let reason = format!(
                    "the batch says its offset is {}, after {}",
                    batch.base_offset, found.log_end_offset
                );
                return Err(damaged(position, reason));
            }
            if batch.partition_leader_epoch < epoch {
                return Err(damaged(position, "the leader epoch goes back".to_owned()));
            }
            epoch = batch.partition_leader_epoch;
            found.compacted |= batch.base_offset > found.log_end_offset;
            found.log_end_offset = batch.next_offset();
            found.batches += 1;
            found.records += u64::try_from(batch.records_count).unwrap_or_default();
            let timestamp = Some(batch.max_timestamp).filter(|time| *time >= 0);
            found.max_timestamp = found.max_timestamp.max(timestamp);
            found.bytes += batch.size() as u64;
        }
    }
    found.log_start_offset = found.log_start_offset.min(found.log_end_offset);
    Ok(found)
}

impl ImportedPartition {
    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Writes the batches into a folder of ours.
    fn copy(
        &self,
        dir: &Arc<LogDir>,
        folder: &Path,
        id: Uuid,
        now: i64,
    ) -> Result<(), ImportError> {
        for (at, base) in self.segments.iter().enumerate() {
            let path = offset_file(&self.folder, *base, LOG_SUFFIX);
            let segment = Segment::create(dir, folder, *base, now)?;
            let mut gaps = Gaps::new(*base);
            let mut is_whole = true;
            let (mut pending, mut bytes) = (Vec::new(), 0);
            let mut reader = Reader::open(&path)?;
            loop {
                let batch = reader.next()?;
                if let Some((_, batch)) = &batch {
                    let mut header: BatchHeader = *batch.header();
                    // Not covered by the CRC; the topic's leaders begin anew here.
                    header.partition_leader_epoch = 0;
                    is_whole &= header.base_offset == gaps.end_offset();
                    gaps.push(header.base_offset, header.next_offset());
                    bytes += header.size();
                    pending.push((header, batch.bytes().slice(BATCH_HEADER_SIZE..)));
                }
                if bytes >= CHUNK || (batch.is_none() && !pending.is_empty()) {
                    segment.append(&pending, u64::MAX)?;
                    pending.clear();
                    bytes = 0;
                }
                if batch.is_none() {
                    break;
                }
            }
            if let Some(next) = self.segments.get(at + 1) {
                is_whole &= *next == gaps.end_offset();
                gaps.skip_to(*next);
            }
            if let Ok(modified) = fs::metadata(&path).and_then(|meta| meta.modified()) {
                segment.set_modified(modified)?;
            }
            segment.sync()?;
            if !is_whole {
                gaps.save(&offset_file(folder, *base, GAPS_SUFFIX))?;
            }
        }
        write_topic_id(folder, id)?;
        sync_dir(folder)?;
        Ok(())
    }
}

/// Reads the batches of a file, each checked.
struct Reader<'a> {
    path: &'a Path,
    file: File,
    position: u64,
    size: u64,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> StorageResult<Self> {
        let error = |e| StorageError::io("open", path, e);
        let file = File::open(path).map_err(error)?;
        let size = file.metadata().map_err(error)?.len();
        Ok(Self {
            path,
            file,
            position: 0,
            size,
        })
    }

    fn next(&mut self) -> Result<Option<(u64, RecordBatch)>, ImportError> {
        let left = self.size - self.position;
        if left == 0 {
            return Ok(None);
        }
        let position = self.position;
        let damaged = |reason: String| ImportError::Damaged {
            file: self.path.to_path_buf(),
            position,
            reason,
        };
        let mut head = vec![
            0;
            usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(BATCH_HEADER_SIZE)
        ];
        let read = |bytes: &mut [u8], at: u64| {
            self.file
                .read_exact_at(bytes, at)
                .map_err(|e| StorageError::io("read", self.path, e))
        };
        read(&mut head, position)?;
        if head.iter().all(|byte| *byte == 0) {
            // A segment that was made in its full size, and not cut off at a shutdown.
            return Err(ImportError::NotClosed(self.path.to_path_buf()));
        }
        let header = match BatchHeader::parse(&head) {
            Ok(header) => header,
            Err(RecordError::OldMagic { magic }) => {
                return Err(ImportError::OldFormat {
                    file: self.path.to_path_buf(),
                    position,
                    magic,
                });
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        if header.size() as u64 > left {
            return Err(damaged(format!(
                "the batch has {} bytes of {}: {}",
                left,
                header.size(),
                "the broker did not stop cleanly; start it once more, stop it, and import then"
            )));
        }
        debug_assert!(header.size() >= BATCH_OVERHEAD);
        let mut bytes = vec![0; header.size()];
        read(&mut bytes, position)?;
        let batch = RecordBatch::checked(Bytes::from(bytes)).map_err(|e| damaged(e.to_string()))?;
        self.position += header.size() as u64;
        Ok(Some((position, batch)))
    }
}
