//! The database of a task: a column family a store, and one for positions.
//!
//! There is no write-ahead log. Column families are flushed together, so that what a
//! crash leaves of them is of one moment, the positions of that moment included.

use crate::{Backend, StateError, StateRuntime, StorePosition, StoreSpec};
use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, LogLevel,
    Options, WriteBatch, WriteOptions,
};
use std::path::Path;
use std::sync::Arc;

/// The column family of positions and of the format's version.
const META: &str = "thalweg.meta";
const VERSION_KEY: &[u8] = b"version";
const VERSION: u8 = 1;

/// The database of a task.
pub(crate) struct Rocks {
    db: Arc<DB>,
    write: WriteOptions,
}

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rocks")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}

/// The options of one column family.
fn column_family_options(runtime: &StateRuntime) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(runtime.block_cache());
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(16 << 20);
    options
}

fn open_error(dir: &Path, error: &rocksdb::Error) -> StateError {
    let dir = dir.to_owned();
    let reason = error.to_string();
    match error.kind() {
        rocksdb::ErrorKind::IOError if reason.to_lowercase().contains("lock") => {
            StateError::Locked { dir }
        }
        rocksdb::ErrorKind::IOError | rocksdb::ErrorKind::Busy
            if !reason.contains("No such file or directory") =>
        {
            StateError::Open { dir, reason }
        }
        _ => StateError::Corrupted { dir, reason },
    }
}

impl Rocks {
    pub(crate) fn open(
        dir: &Path,
        runtime: &StateRuntime,
        specs: &[StoreSpec],
    ) -> Result<Self, StateError> {
        std::fs::create_dir_all(dir).map_err(|error| StateError::Open {
            dir: dir.to_owned(),
            reason: error.to_string(),
        })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_write_buffer_manager(runtime.write_buffers());
        // A process may have hundreds of tasks, and its limit of open files is one.
        options.set_max_open_files(128);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);

        let mut names = vec!["default".to_owned(), META.to_owned()];
        let stores = specs.iter().filter(|s| s.backend == Backend::RocksDb);
        names.extend(stores.map(|s| s.name.clone()));
        // Stores of an earlier shape of the topology are opened too, or RocksDB refuses.
        if dir.join("CURRENT").exists() {
            let there = DB::list_cf(&options, dir).map_err(|e| open_error(dir, &e))?;
            names.extend(there);
        }
        names.sort_unstable();
        names.dedup();
        let families = names
            .iter()
            .map(|name| ColumnFamilyDescriptor::new(name, column_family_options(runtime)));
        let db = DB::open_cf_descriptors(&options, dir, families)
            .map_err(|error| open_error(dir, &error))?;

        let mut write = WriteOptions::default();
        write.disable_wal(true);
        write.set_memtable_insert_hint_per_batch(true);
        let rocks = Self {
            db: Arc::new(db),
            write,
        };
        rocks.check_version()?;
        Ok(rocks)
    }

    fn check_version(&self) -> Result<(), StateError> {
        match self.get(META, VERSION_KEY)?.as_deref() {
            Some([version]) if *version <= VERSION => Ok(()),
            Some(other) => Err(StateError::Version {
                store: META.to_owned(),
                version: other.first().copied().unwrap_or(0),
                supported: VERSION,
            }),
            None => {
                let mut batch = self.batch();
                batch.put(META, VERSION_KEY, &[VERSION])?;
                batch.write()
            }
        }
    }

    pub(crate) fn db(&self) -> &Arc<DB> {
        &self.db
    }

    pub(crate) fn get(&self, cf: &str, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        get(&self.db, cf, key)
    }

    pub(crate) fn position(&self, store: &str) -> Result<Option<StorePosition>, StateError> {
        match self.get(META, &position_key(store))? {
            None => Ok(None),
            Some(bytes) => match StorePosition::decode(&bytes) {
                Some(position) => Ok(Some(position)),
                None => Err(StateError::Version {
                    store: store.to_owned(),
                    version: bytes.first().copied().unwrap_or(0),
                    supported: VERSION,
                }),
            },
        }
    }

    /// The key below which a window store has been expired.
    pub(crate) fn expired(&self, store: &str) -> Result<Option<Bytes>, StateError> {
        self.get(META, &expired_key(store))
    }

    /// Everything that one commit writes.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            rocks: self,
            batch: WriteBatch::default(),
        }
    }

    /// Removes everything of a store, its position first.
    pub(crate) fn wipe(&self, store: &str) -> Result<(), StateError> {
        let mut batch = self.batch();
        batch.delete(META, &position_key(store))?;
        batch.delete(META, &expired_key(store))?;
        let handle = cf(&self.db, store)?;
        let mut iter = self.db.raw_iterator_cf(handle);
        iter.seek_to_last();
        if let Some(last) = iter.key() {
            batch.delete_range(store, &[], last)?;
            batch.delete(store, last)?;
        }
        iter.status().map_err(|e| io(store, &e))?;
        batch.write()
    }

    /// Brings everything to the disk, all column families at one moment.
    pub(crate) fn flush(&self, specs: &[StoreSpec]) -> Result<(), StateError> {
        let mut handles = vec![cf(&self.db, META)?];
        for spec in specs.iter().filter(|s| s.backend == Backend::RocksDb) {
            handles.push(cf(&self.db, &spec.name)?);
        }
        self.db
            .flush_cfs_opt(&handles, &FlushOptions::default())
            .map_err(|e| io(META, &e))
    }
}

/// One write of everything that belongs together.
pub(crate) struct Batch<'a> {
    rocks: &'a Rocks,
    batch: WriteBatch,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, store: &str, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.batch.put_cf(cf(&self.rocks.db, store)?, key, value);
        Ok(())
    }

    pub(crate) fn delete(&mut self, store: &str, key: &[u8]) -> Result<(), StateError> {
        self.batch.delete_cf(cf(&self.rocks.db, store)?, key);
        Ok(())
    }

    pub(crate) fn delete_range(
        &mut self,
        store: &str,
        from: &[u8],
        to: &[u8],
    ) -> Result<(), StateError> {
        self.batch
            .delete_range_cf(cf(&self.rocks.db, store)?, from, to);
        Ok(())
    }

    pub(crate) fn entries<'e>(
        &mut self,
        store: &str,
        entries: impl IntoIterator<Item = &'e (Bytes, Option<Bytes>)>,
    ) -> Result<(), StateError> {
        let handle = cf(&self.rocks.db, store)?;
        for (key, value) in entries {
            match value {
                Some(value) => self.batch.put_cf(handle, key, value),
                None => self.batch.delete_cf(handle, key),
            }
        }
        Ok(())
    }

    /// Drops every window below `end`, and remembers it.
    pub(crate) fn expire(&mut self, store: &str, end: &[u8]) -> Result<(), StateError> {
        self.delete_range(store, &[], end)?;
        match self.rocks.expired(store)? {
            Some(before) if before.as_ref() >= end => Ok(()),
            _ => self.put(META, &expired_key(store), end),
        }
    }

    pub(crate) fn position(
        &mut self,
        store: &str,
        position: &StorePosition,
    ) -> Result<(), StateError> {
        self.put(META, &position_key(store), &position.encode())
    }

    pub(crate) fn write(self) -> Result<(), StateError> {
        self.rocks
            .db
            .write_opt(self.batch, &self.rocks.write)
            .map_err(|e| io(META, &e))
    }
}

fn position_key(store: &str) -> Vec<u8> {
    [b"position/", store.as_bytes()].concat()
}

fn expired_key(store: &str) -> Vec<u8> {
    [b"expired/", store.as_bytes()].concat()
}

pub(crate) fn cf<'a>(db: &'a DB, name: &str) -> Result<&'a rocksdb::ColumnFamily, StateError> {
    db.cf_handle(name).ok_or_else(|| StateError::Io {
        store: name.to_owned(),
        reason: "it has no column family".to_owned(),
    })
}

pub(crate) fn get(db: &DB, store: &str, key: &[u8]) -> Result<Option<Bytes>, StateError> {
    let value = db
        .get_pinned_cf(cf(db, store)?, key)
        .map_err(|e| io(store, &e))?;
    Ok(value.map(|value| Bytes::copy_from_slice(&value)))
}

pub(crate) fn io(store: &str, error: &rocksdb::Error) -> StateError {
    StateError::Io {
        store: store.to_owned(),
        reason: error.to_string(),
    }
}
