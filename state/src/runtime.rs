//! What the stores of a process share: one block cache, one limit for memtables, one
//! limit for what the tasks' caches keep.

use rocksdb::{Cache, WriteBufferManager};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The sizes that the stores of a process share.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// The block cache, memtables included, in bytes.
    pub block_cache_bytes: usize,
    /// All memtables together, in bytes.
    pub write_buffer_bytes: usize,
    /// The committed entries that the tasks' caches keep for reads, together, in bytes.
    pub read_cache_bytes: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 128 << 20,
            write_buffer_bytes: 64 << 20,
            read_cache_bytes: 64 << 20,
        }
    }
}

struct Shared {
    block_cache: Cache,
    write_buffers: WriteBufferManager,
    read_cache_bytes: usize,
    tasks: AtomicUsize,
}

/// What the stores of a process share; clones are handles on the same.
#[derive(Clone)]
pub struct StateRuntime {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for StateRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateRuntime")
            .field("tasks", &self.shared.tasks)
            .finish_non_exhaustive()
    }
}

impl Default for StateRuntime {
    fn default() -> Self {
        Self::new(&StateOptions::default())
    }
}

impl StateRuntime {
    /// Caches of these sizes.
    pub fn new(options: &StateOptions) -> Self {
        let block_cache = Cache::new_lru_cache(options.block_cache_bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            options.write_buffer_bytes,
            false,
            block_cache.clone(),
        );
        Self {
            shared: Arc::new(Shared {
                block_cache,
                write_buffers,
                read_cache_bytes: options.read_cache_bytes,
                tasks: AtomicUsize::new(0),
            }),
        }
    }

    /// The caches of this process, of the default sizes, made when first asked for.
    pub fn of_process() -> Self {
        static SHARED: OnceLock<StateRuntime> = OnceLock::new();
        SHARED.get_or_init(Self::default).clone()
    }

    pub(crate) fn block_cache(&self) -> &Cache {
        &self.shared.block_cache
    }

    pub(crate) fn write_buffers(&self) -> &WriteBufferManager {
        &self.shared.write_buffers
    }

    /// Counts a task in, until the ticket is dropped.
    pub(crate) fn join(&self) -> Ticket {
        self.shared.tasks.fetch_add(1, Ordering::Relaxed);
        Ticket(self.clone())
    }
}

/// A task's share of the caches.
#[derive(Debug)]
pub(crate) struct Ticket(StateRuntime);

impl Ticket {
    /// How much a task may keep in its caches for reads.
    pub(crate) fn clean_limit(&self) -> usize {
        let shared = &self.0.shared;
        shared.read_cache_bytes / shared.tasks.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.shared.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}
