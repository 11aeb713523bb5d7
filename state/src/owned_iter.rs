//! A RocksDB iterator that owns its database.
//!
//! The iterator of the `rocksdb` crate borrows the database, so a cursor that is kept
//! between two calls could not hold one. It reads the store as it was when it was opened.

use rocksdb::{DB, DBRawIterator, ReadOptions};
use std::sync::Arc;

/// An iterator and the database it reads, which lives as long as it does.
pub(crate) struct OwnedIter {
    // Dropped before `_db`: fields are dropped in the order of their declaration.
    iter: DBRawIterator<'static>,
    _db: Arc<DB>,
}

impl OwnedIter {
    /// Opens an iterator on the column family `cf`; `None` if there is none of that name.
    #[allow(
        unsafe_code,
        reason = "the iterator borrows a database that the same value keeps alive behind an Arc"
    )]
    pub(crate) fn open(db: &Arc<DB>, cf: &str, options: ReadOptions) -> Option<Self> {
        let handle = db.cf_handle(cf)?;
        let iter: DBRawIterator<'_> = db.raw_iterator_cf_opt(handle, options);
        // SAFETY: the lifetime stands for the database alone (the crate keeps no other
        // borrow: the read options are owned by the iterator and the column family handle
        // is not kept). The database lives in an `Arc` whose clone is stored beside the
        // iterator and is dropped after it, its address does not change when this value
        // moves, and the iterator is reached only through `&self` and `&mut self`, so the
        // stretched lifetime is never visible outside.
        let iter =
            unsafe { std::mem::transmute::<DBRawIterator<'_>, DBRawIterator<'static>>(iter) };
        Some(Self {
            iter,
            _db: Arc::clone(db),
        })
    }

    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.iter.seek(key);
    }

    pub(crate) fn seek_to_first(&mut self) {
        self.iter.seek_to_first();
    }

    pub(crate) fn next(&mut self) {
        self.iter.next();
    }

    /// The entry the iterator stands on.
    pub(crate) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.iter.item()
    }

    /// What ended the iterator, if not the end of the data.
    pub(crate) fn status(&self) -> Result<(), rocksdb::Error> {
        self.iter.status()
    }
}

impl std::fmt::Debug for OwnedIter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnedIter").finish_non_exhaustive()
    }
}
