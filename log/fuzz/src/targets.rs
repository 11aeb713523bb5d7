//! The fuzz targets: each takes any bytes whatever, must neither panic nor run out of memory, and checks that what
//! passes as valid means the same when it is written and read once more.
//!
//! They are plain functions, so that `log/tests/fuzz_corpus.rs` runs them over the corpus and mutations of it in
//! every test run. With a nightly compiler and `cargo install cargo-fuzz`, for as long as one likes:
//!
//! ```text
//! cd log && cargo +nightly fuzz run request
//! ```
//!
//! `cargo test -p thalweg-log --test fuzz_corpus -- --ignored` writes the corpus anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use thalweg_log::controller::{Command, MetadataImage};
use thalweg_log::record::{
    BatchBuilder, BatchHeader, Compression, RecordBatch, TimestampType, batches,
};
use thalweg_log::storage::{
    AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig, Marker, TxnOutcome,
};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, Message, Request, RequestHeader, Response};

/// Every API in every version; the first two bytes of an input choose one.
fn subjects() -> &'static [(ApiKey, i16)] {
    static SUBJECTS: OnceLock<Vec<(ApiKey, i16)>> = OnceLock::new();
    SUBJECTS.get_or_init(|| {
        let all = ApiKey::ALL.iter().flat_map(|api| {
            let versions = api.versions();
            (versions.min..=versions.max).map(|version| (*api, version))
        });
        all.collect()
    })
}

/// The first two bytes of an input about an API in a version: its key and the version.
pub fn selector(api: ApiKey, version: i16) -> [u8; 2] {
    // Both fit: keys end below 100.
    [api.key() as u8, version as u8]
}

fn select(data: &[u8]) -> Option<(ApiKey, i16, Bytes)> {
    let [key, version, body @ ..] = data else {
        return None;
    };
    let found = subjects()
        .iter()
        .find(|(api, v)| *api as i16 == i16::from(*key) && *v == i16::from(*version));
    // An unknown pair stands for some known one, so that no mutation of the selector is lost.
    let (api, version) = found.or_else(|| {
        let at = usize::from(*key) << 8 | usize::from(*version);
        subjects().get(at % subjects().len())
    })?;
    Some((*api, *version, Bytes::copy_from_slice(body)))
}

/// The body of a request.
pub fn request(data: &[u8]) {
    let Some((api, version, body)) = select(data) else {
        return;
    };
    let Ok(request) = Request::decode(api, version, body) else {
        return;
    };
    let write = |request: &Request| {
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).map(|()| bytes.freeze())
    };
    let written = write(&request).expect("what was read can be written");
    let again = Request::decode(api, version, written.clone()).expect("what was written is read");
    assert_eq!(write(&again), Ok(written), "{api:?} {version}");
}

/// The body of a response.
pub fn response(data: &[u8]) {
    let Some((api, version, body)) = select(data) else {
        return;
    };
    let Ok(response) = Response::decode(api, version, body) else {
        return;
    };
    let write = |response: &Response| {
        let mut bytes = BytesMut::new();
        response
            .encode(&mut bytes, version)
            .map(|()| bytes.freeze())
    };
    let written = write(&response).expect("what was read can be written");
    let again = Response::decode(api, version, written.clone()).expect("what was written is read");
    assert_eq!(write(&again), Ok(written), "{api:?} {version}");
}

/// A whole frame as it comes from a socket, header and body.
pub fn frame(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let _ = RequestHeader::decode(frame.clone());
    let _ = Request::decode_frame(frame.clone());
    if let Some((api, version, frame)) = select(data) {
        let _ = Response::decode_frame(frame, api, version);
    }
}

/// What stands inside of records, with its version in front.
pub fn versioned(data: &[u8]) {
    fn one<M: Message + std::fmt::Debug>(input: &Bytes) {
        let Ok(message) = M::from_versioned(input.clone()) else {
            return;
        };
        let version = thalweg_log::wire::peek_version(input).expect("it has just been read");
        let written = message
            .to_versioned(version)
            .expect("what was read can be written");
        let again = M::from_versioned(written.clone()).expect("what was written is read");
        assert_eq!(again.to_versioned(version), Ok(written), "{message:?}");
    }
    let input = Bytes::copy_from_slice(data);
    one::<ConsumerProtocolSubscription>(&input);
    one::<ConsumerProtocolAssignment>(&input);
    one::<OffsetCommitKey>(&input);
    one::<OffsetCommitValue>(&input);
    one::<GroupMetadataKey>(&input);
    one::<GroupMetadataValue>(&input);
    one::<ConsumerGroupMetadataKey>(&input);
    one::<ConsumerGroupMetadataValue>(&input);
    one::<ConsumerGroupPartitionMetadataKey>(&input);
    one::<ConsumerGroupPartitionMetadataValue>(&input);
    one::<ConsumerGroupMemberMetadataKey>(&input);
    one::<ConsumerGroupMemberMetadataValue>(&input);
    one::<ConsumerGroupTargetAssignmentMetadataKey>(&input);
    one::<ConsumerGroupTargetAssignmentMetadataValue>(&input);
    one::<ConsumerGroupTargetAssignmentMemberKey>(&input);
    one::<ConsumerGroupTargetAssignmentMemberValue>(&input);
    one::<ConsumerGroupCurrentMemberAssignmentKey>(&input);
    one::<ConsumerGroupCurrentMemberAssignmentValue>(&input);
    one::<ConsumerGroupRegularExpressionKey>(&input);
    one::<ConsumerGroupRegularExpressionValue>(&input);
    one::<TransactionLogKey>(&input);
    one::<TransactionLogValue>(&input);
    one::<EndTxnMarker>(&input);
    let _ = ConsumerProtocolSubscription::from_versioned_or_newer(input.clone());
    let _ = ConsumerProtocolAssignment::from_versioned_or_newer(input);
}

/// The most that a batch may unpack to here.
const UNPACKED: usize = 1 << 20;

/// Record batches as they come from a producer or a file.
pub fn records(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = BatchHeader::parse(&bytes);
    for batch in batches(bytes.clone()) {
        let Ok(batch) = batch else { break };
        batch_of(&batch);
    }
    // A checksum that fits lets a mutation reach what lies behind it.
    if let Some(mended) = with_fitting_checksum(&bytes)
        && let Ok(batch) = RecordBatch::checked(mended)
    {
        batch_of(&batch);
    }
}

fn batch_of(batch: &RecordBatch) {
    let _ = batch.verify();
    let Ok(records) = batch.records_within(UNPACKED) else {
        return;
    };
    assert!(records.decompressed_size() <= UNPACKED.max(batch.bytes().len()));
    let header = batch.header();
    let mut found = 0;
    for record in records {
        let Ok(record) = record else { break };
        found += 1;
        let reach = header.base_offset..=header.last_offset();
        assert!(reach.contains(&record.offset), "{record:?} of {header:?}");
    }
    assert!(found <= header.records_count.max(0), "{header:?}");
}

/// The first batch of the bytes, with its length and its checksum as they should be.
fn with_fitting_checksum(bytes: &Bytes) -> Option<Bytes> {
    let records = bytes.get(61..)?;
    let length = i32::try_from(bytes.len() - 12).ok()?;
    let mut mended = BytesMut::from(&bytes[..]);
    mended[8..12].copy_from_slice(&length.to_be_bytes());
    mended[16] = 2;
    let header = BatchHeader::parse(&mended).ok()?;
    let crc = header.compute_crc(records);
    mended[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(mended.freeze())
}

/// A command or a snapshot of the metadata.
pub fn metadata(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(command) = Command::decode(bytes.clone()) {
        let written = command.encode();
        let again = Command::decode(written.clone()).expect("what was written is read");
        assert_eq!(again.encode(), written);
        MetadataImage::default().apply(0, &command);
    }
    if let Ok(image) = MetadataImage::decode(bytes) {
        let written = image.encode();
        let again = MetadataImage::decode(written.clone()).expect("what was written is read");
        assert_eq!(again.encode(), written);
    }
}

/// The files of a data folder that a [`folder`] input can stand for, by how their names end.
pub const FILES: [&str; 10] = [
    ".log",
    ".index",
    ".timeindex",
    ".snapshot",
    ".txnindex",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "meta.properties",
];

/// A file of a data folder: the first byte says which, and whether the folder was closed cleanly. The log opens
/// or says why it cannot; what it serves has been checked.
pub fn folder(data: &[u8]) {
    let [which, content @ ..] = data else {
        return;
    };
    let (file, clean) = (usize::from(which & 0x7f) % FILES.len(), which & 0x80 != 0);
    let scratch = tempfile::tempdir_in(scratch()).expect("a scratch folder can be made");
    copy(template().path(), scratch.path());
    let Some(path) = find(scratch.path(), FILES[file]) else {
        return;
    };
    fs::write(&path, content).expect("a scratch file can be written");
    if !clean {
        let _ = fs::remove_file(scratch.path().join(".kafka_cleanshutdown"));
    }
    let Ok(manager) = LogManager::open(options(scratch.path()), 0) else {
        return;
    };
    if let Some(log) = manager.get("t", 0) {
        let mut at = log.log_start_offset();
        while let Ok(data) = log.read(at, 1 << 20, true, FetchIsolation::LogEnd) {
            let before = at;
            for batch in batches(data.records) {
                let batch = batch.expect("what is read consists of batches");
                batch.verify().expect("what is read has been checked");
                at = at.max(batch.header().next_offset());
            }
            if at == before {
                break;
            }
        }
        let _ = log.offset_for_timestamp(50);
        let _ = log.max_timestamp();
        let _ = log.end_offset_for_epoch(1);
    }
    let _ = manager.close();
}

/// Memory, where there is any to be had as files.
fn scratch() -> PathBuf {
    let shared = Path::new("/dev/shm");
    match shared.is_dir() {
        true => shared.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn options(dir: &Path) -> LogManagerConfig {
    let mut options = LogManagerConfig::new(dir, 1);
    options.defaults = LogConfig::default()
        .with([("segment.bytes", "900"), ("index.interval.bytes", "100")])
        .expect("these settings are valid");
    options
}

/// A data folder with every kind of file in it, made once.
pub fn template() -> &'static tempfile::TempDir {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir_in(scratch()).expect("a scratch folder can be made");
        fill(dir.path());
        dir
    })
}

fn fill(dir: &Path) {
    let options = options(dir);
    let config = options.defaults.clone();
    let manager = LogManager::open(options, 0).expect("an empty folder opens");
    let id = uuid::Uuid::from_u128(7);
    let log = manager
        .get_or_create("t", 0, id, config, 0)
        .expect("a log is made");
    for n in 0..8i32 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.producer(5, 0, n).transactional(true);
        let value = [b'v'; 150];
        batch
            .append(i64::from(n) * 10, Some(b"k"), Some(&value), &[])
            .expect("a record fits");
        let records = batch.build().expect("a batch is built");
        log.append(records, n / 4, AppendOrigin::Coordinator, 0)
            .expect("the batch is taken");
        if n % 3 == 2 {
            let marker = Marker {
                producer_id: 5,
                producer_epoch: 0,
                coordinator_epoch: 0,
                outcome: TxnOutcome::Abort,
            };
            log.append_marker(marker, 0, n / 4, 0)
                .expect("the marker is taken");
        }
    }
    manager.close().expect("the folder is closed");
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the template is there") {
        let entry = entry.expect("the template is there");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a scratch folder can be made");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file of the template is copied");
        }
    }
}

/// The last file, by path, whose name ends so.
pub fn find(dir: &Path, ending: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(find(&path, ending));
        } else if entry.file_name().to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found.pop()
}

/// One batch for each codec and some of the rarer kinds.
pub fn sample_batches() -> Vec<(String, Bytes)> {
    let mut samples = Vec::new();
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut batch = BatchBuilder::new(codec);
        for n in 0..3i64 {
            let header = thalweg_log::record::Header::new("name", Some("value"));
            batch
                .append(n, Some(b"key"), Some(b"value value value"), &[header])
                .expect("a record fits");
        }
        let bytes = batch.build().expect("a batch is built");
        samples.push((format!("{codec:?}").to_lowercase(), bytes));
    }
    let mut batch = BatchBuilder::new(Compression::None);
    batch
        .producer(9, 1, 4)
        .transactional(true)
        .timestamp_type(TimestampType::LogAppendTime)
        .base_offset(100)
        .partition_leader_epoch(3);
    batch.append(1, None, None, &[]).expect("a record fits");
    let bytes = batch.build().expect("a batch is built");
    samples.push(("transactional".to_owned(), bytes));
    samples
}
