//! A crash, or an error, at every point at which the disk is changed.
//!
//! One workload is run over and over: a process that is killed at its n-th point, for every n; and,
//! in this process, a write, fsync, rename, truncate or unlink that fails at the n-th point, for
//! every n. Whatever is left must open, and hold what the model says after the last step that was
//! done, or after the one that was under way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::faults;
use super::*;
use crate::record::{BatchBuilder, Compression, batches};

const ID: uuid::Uuid = uuid::Uuid::from_u128(3);
const DIR: &str = "THALWEG_CRASH_DIR";
const AT: &str = "THALWEG_CRASH_AT";
const DRIVE: &str = "THALWEG_CRASH_DRIVE";

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A batch of these keys; 0 stands for no value.
    Put(&'static [u8]),
    /// The same in a transaction of a producer.
    Txn(i64, &'static [u8]),
    End(i64, bool),
    Compact,
    DeleteRecords(i64),
    Truncate(i64),
    Flush,
    Checkpoint,
    Reopen,
    /// Another topic comes and goes.
    Other,
    Move,
}

const SCRIPT: &[Step] = &[
    Step::Put(&[1, 2, 3]),
    Step::Txn(7, &[1, 4]),
    Step::Put(&[2, 5]),
    Step::End(7, false),
    Step::Txn(7, &[6]),
    Step::Put(&[1, 128]),
    Step::Checkpoint,
    Step::End(7, true),
    Step::Put(&[131, 2]),
    Step::Put(&[5, 6, 7]),
    Step::Compact,
    Step::Other,
    Step::Put(&[1, 2]),
    Step::Txn(8, &[3, 3]),
    Step::End(8, false),
    Step::Put(&[4, 130]),
    Step::Flush,
    Step::Put(&[1, 1, 9]),
    Step::Truncate(-2),
    Step::Put(&[9, 4]),
    Step::Reopen,
    Step::Put(&[133, 6]),
    Step::DeleteRecords(4),
    Step::Compact,
    Step::Put(&[1, 7]),
    Step::Move,
    Step::Put(&[2, 3]),
    Step::Checkpoint,
    Step::Put(&[2, 4]),
    Step::Compact,
    Step::Reopen,
];

fn config() -> LogConfig {
    LogConfig::default()
        .with([
            ("cleanup.policy", "compact"),
            ("segment.bytes", "420"),
            ("index.interval.bytes", "100"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "0"),
            ("preallocate", "true"),
            ("max.message.bytes", "400"),
        ])
        .unwrap()
}

/// A record is its key; the value is its offset, none for keys from 128 on (of the key less 128).
#[derive(Debug, Clone, Copy, PartialEq)]
struct ModelRecord {
    offset: i64,
    key: u8,
    producer: i64,
    /// `None` while its transaction is open.
    counts: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    start: i64,
    end: i64,
    records: Vec<ModelRecord>,
}

impl Model {
    fn apply(&mut self, step: Step) {
        let mut put = |keys: &[u8], producer: i64, counts| {
            for key in keys {
                self.records.push(ModelRecord {
                    offset: self.end,
                    key: *key,
                    producer,
                    counts,
                });
                self.end += 1;
            }
        };
        match step {
            Step::Put(keys) => put(keys, -1, Some(true)),
            Step::Txn(producer, keys) => put(keys, producer, None),
            Step::End(producer, commit) => {
                let open = |r: &&mut ModelRecord| r.producer == producer && r.counts.is_none();
                for record in self.records.iter_mut().filter(open) {
                    record.counts = Some(commit);
                }
                self.end += 1;
            }
            Step::DeleteRecords(offset) => self.start = offset,
            Step::Truncate(back) => {
                // The last batch has three records, and goes as a whole.
                self.end += back - 1;
                self.records.retain(|record| record.offset < self.end);
            }
            _ => {}
        }
    }

    fn after(steps: usize) -> Self {
        let mut model = Self::default();
        SCRIPT[..steps].iter().for_each(|step| model.apply(*step));
        model
    }

    /// The last offset of each key that counts.
    fn fold(&self, start: i64) -> BTreeMap<u8, i64> {
        let open = self.records.iter().find(|record| record.counts.is_none());
        let stable = open.map_or(self.end, |record| record.offset);
        let mut found = BTreeMap::new();
        for record in &self.records {
            if record.counts == Some(true) && record.offset >= start && record.offset < stable {
                if record.key < 128 {
                    found.insert(record.key, record.offset);
                } else {
                    found.remove(&(record.key - 128));
                }
            }
        }
        found
    }
}

struct World {
    dir: std::path::PathBuf,
    manager: Option<LogManager>,
    now: i64,
}

impl World {
    fn open(dir: &Path) -> StorageResult<Self> {
        let mut world = Self {
            dir: dir.to_path_buf(),
            manager: None,
            now: 10_000,
        };
        world.reopen()?;
        Ok(world)
    }

    fn reopen(&mut self) -> StorageResult<()> {
        self.manager = None;
        let mut options = LogManagerConfig::new(self.dir.join("a"), 1);
        options.dirs.push(self.dir.join("b"));
        options.recovery_threads = 1;
        self.manager = Some(LogManager::open(options, self.now)?);
        self.log().map(drop)
    }

    fn manager(&self) -> &LogManager {
        self.manager.as_ref().unwrap()
    }

    fn log(&self) -> StorageResult<Arc<PartitionLog>> {
        let log = self
            .manager()
            .get_or_create("t", 0, ID, config(), self.now)?;
        log.update_config(config());
        Ok(log)
    }

    fn run(&mut self, step: Step) -> Result<(), AppendError> {
        self.now += 10;
        let log = self.log()?;
        let end = log.log_end_offset();
        let batch = |keys: &[u8], producer: i64| {
            let mut builder = BatchBuilder::new(Compression::None);
            if producer >= 0 {
                // Where its sequence goes on is for the log to say.
                let known = log.producers();
                let last = known.iter().find(|p| p.producer_id == producer);
                let next = last.map_or(0, |p| p.last_sequence + 1);
                builder.producer(producer, 0, next).transactional(true);
            }
            for (offset, key) in (end..).zip(keys) {
                let value = format!("{offset:>20}");
                let value = (*key < 128).then_some(value.as_bytes());
                builder
                    .append(self.now, Some(&[key % 128]), value, &[])
                    .unwrap();
            }
            builder.build().unwrap()
        };
        match step {
            Step::Put(keys) => {
                log.append(batch(keys, -1), 0, AppendOrigin::Client, self.now)?;
            }
            Step::Txn(producer, keys) => {
                let bytes = batch(keys, producer);
                let origin = AppendOrigin::Client;
                log.append_verified(bytes, 0, origin, self.now, Verification::Off)?;
            }
            Step::End(producer_id, commit) => {
                let marker = Marker {
                    producer_id,
                    producer_epoch: 0,
                    coordinator_epoch: 0,
                    outcome: if commit {
                        TxnOutcome::Commit
                    } else {
                        TxnOutcome::Abort
                    },
                };
                log.append_marker(marker, 1, 0, self.now)?;
            }
            Step::Compact => drop(self.manager().compact_dirtiest(self.now)),
            Step::DeleteRecords(offset) => drop(log.delete_records(offset)?),
            Step::Truncate(back) => log.truncate_to(end + back)?,
            Step::Flush => log.flush()?,
            Step::Checkpoint => self.manager().checkpoint()?,
            Step::Reopen => {
                drop(log);
                self.manager().close()?;
                self.reopen()?;
            }
            Step::Other => {
                let manager = self.manager();
                let other = manager.get_or_create("other", 0, ID, LogConfig::default(), 0)?;
                other.append(batch(&[1], -1), 0, AppendOrigin::Client, self.now)?;
                manager.delete("other", 0)?;
            }
            Step::Move => {
                let there = log.folder().starts_with(self.dir.join("b"));
                let to = self.dir.join(if there { "a" } else { "b" });
                if let Err(MoveError::Storage(error)) =
                    self.manager().move_log("t", 0, &to, self.now)
                {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// The last offset of each key, as a reader of committed records finds it.
    fn fold(&self, log: &PartitionLog) -> BTreeMap<u8, i64> {
        let (mut found, mut offset) = (BTreeMap::new(), log.log_start_offset());
        let start = offset;
        loop {
            let data = log
                .read(offset, 300, true, FetchIsolation::TxnCommitted)
                .unwrap();
            if data.records.is_empty() {
                return found;
            }
            let mut aborted = BTreeSet::new();
            for batch in batches(data.records.clone()) {
                let batch = batch.unwrap();
                let last = batch.last_offset();
                for txn in data.aborted.iter().filter(|t| t.first_offset <= last) {
                    if txn.last_offset > last {
                        aborted.insert(txn.producer_id);
                    }
                }
                if batch.is_control() {
                    aborted.remove(&batch.producer_id);
                    continue;
                }
                if batch.is_transactional() && aborted.contains(&batch.producer_id) {
                    continue;
                }
                for record in batch.records().unwrap().map(Result::unwrap) {
                    let key = record.key.as_ref().unwrap()[0];
                    if record.offset < start {
                        continue;
                    }
                    match &record.value {
                        Some(value) => {
                            assert_eq!(*value, format!("{:>20}", record.offset));
                            found.insert(key, record.offset);
                        }
                        None => drop(found.remove(&key)),
                    }
                }
            }
            offset = data.next_offset;
        }
    }

    /// Holds what is there against the model after `done` steps, or one more.
    fn check(&mut self, done: usize) {
        let failed = self.manager().failed();
        assert!(failed.is_empty(), "{failed:?}");
        let log = self.log().unwrap();
        let models = [
            Model::after(done),
            Model::after((done + 1).min(SCRIPT.len())),
        ];
        let start = log.log_start_offset();
        let found = (log.log_end_offset(), self.fold(&log));
        let fits = models.iter().any(|model| {
            start <= model.start.max(models[0].start) && found == (model.end, model.fold(start))
        });
        assert!(
            fits,
            "after {done} steps ({:?}) there is {found:?} from {start} on, expected {:?}",
            SCRIPT.get(done),
            models.map(|model| (model.end, model.fold(start)))
        );
        assert_eq!(self.manager().uncleanable(), []);
        // It goes on.
        let (end, before) = found;
        self.run(Step::Put(&[99])).unwrap();
        self.run(Step::Compact).unwrap();
        let log = self.log().unwrap();
        let mut after = self.fold(&log);
        let stable = log.last_stable_offset();
        let last = after.remove(&99);
        assert_eq!((last, after), ((stable > end).then_some(end), before));
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn the_one_that_is_killed() {
    let (Ok(dir), Ok(at)) = (std::env::var(DIR), std::env::var(AT)) else {
        return;
    };
    let dir = Path::new(&dir);
    let mut journal = std::fs::File::create(dir.join("journal")).unwrap();
    faults::kill_at(at.parse().unwrap());
    let mut world = World::open(dir).unwrap();
    for step in SCRIPT {
        world.run(*step).unwrap();
        journal.write_all(b".").unwrap();
    }
    journal.write_all(b"!").unwrap();
}

/// Between its fork and its exec a child holds the locks of every folder that this process has open.
/// So that no other test meets that, one child does all the rest.
#[test]
fn a_crash_at_every_point_loses_nothing() {
    let name = "storage::crash_points::the_one_that_kills";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DRIVE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{told}");
    assert!(said.contains("killed at"), "{said}");
}

/// Not a test by itself: kills a process at every point, and looks at what it has left.
#[test]
fn the_one_that_kills() {
    if std::env::var(DRIVE).is_err() {
        return;
    }
    let scratch = scratch();
    let program = std::env::current_exe().unwrap();
    let begin = |at: u64| {
        let dir = scratch.path().join(at.to_string());
        std::fs::create_dir(&dir).unwrap();
        let child = std::process::Command::new(&program)
            .args(["--exact", "storage::crash_points::the_one_that_is_killed"])
            .env(DIR, &dir)
            .env(AT, at.to_string())
            .env_remove(DRIVE)
            .env("RUST_BACKTRACE", "0")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        (dir, child)
    };
    let mut running = std::collections::VecDeque::new();
    let mut points = 0;
    for at in 1.. {
        running.push_back(begin(at));
        if running.len() < 4 {
            continue;
        }
        let (dir, mut child) = running.pop_front().unwrap();
        child.wait().unwrap();
        let journal = std::fs::read(dir.join("journal")).unwrap();
        if journal.last() == Some(&b'!') {
            break;
        }
        points += 1;
        let mut world = World::open(&dir).unwrap_or_else(|e| panic!("point {points}: {e}"));
        world.check(journal.len());
        drop(world);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    for (_, mut child) in running {
        child.wait().unwrap();
    }
    assert!(points > 200, "only {points} points");
    println!("killed at {points} points");
}

#[test]
fn an_error_at_every_point_is_told_and_loses_nothing() {
    for kind in [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull] {
        for at in 0.. {
            let dir = scratch();
            let mut world = World::open(dir.path()).unwrap();
            faults::arm(at, kind);
            let mut done = 0;
            for step in SCRIPT {
                if world.manager.is_none() || world.run(*step).is_err() {
                    break;
                }
                done += 1;
            }
            if !faults::disarm() {
                assert!(faults::passed() > 100, "only {} points", faults::passed());
                break;
            }
            // The step that failed may be done in part; a restart finds which.
            world
                .reopen()
                .unwrap_or_else(|e| panic!("{kind} {at}: {e}"));
            world.check(done);
        }
    }
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}
