//! The points at which a crash or an error can be put, before each change of the disk.
//!
//! Outside of this crate's tests nothing of it is compiled. A test says at which of the points that
//! its thread comes by (or, for a process that is to be killed, any thread) what happens.

use std::io;

/// What changes the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A file or folder is made.
    Create,
    /// Bytes are written.
    Write,
    /// A file or folder is fsynced.
    Sync,
    /// A file or folder gets another name.
    Rename,
    /// A file is cut off.
    Truncate,
    /// A file is removed.
    Unlink,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_: Point) -> io::Result<()> {
    Ok(())
}

/// How many bytes of a write of `len` are done before the process is killed in it.
#[cfg(test)]
pub(crate) use injected::{arm, disarm, kill_at, passed, point, torn};

#[cfg(test)]
mod injected {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Point, io};

    thread_local! {
        static PASSED: Cell<u64> = const { Cell::new(0) };
        static ARMED: Cell<Option<(u64, io::ErrorKind)>> = const { Cell::new(None) };
    }

    static KILL_AT: AtomicU64 = AtomicU64::new(u64::MAX);
    static ALL_PASSED: AtomicU64 = AtomicU64::new(0);

    /// The `n`-th point from here on, of this thread, fails once.
    pub(crate) fn arm(n: u64, kind: io::ErrorKind) {
        PASSED.set(0);
        ARMED.set(Some((n, kind)));
    }

    /// Nothing fails any more; whether something has.
    pub(crate) fn disarm() -> bool {
        ARMED.take().is_none()
    }

    /// Points of this thread since [`arm`].
    pub(crate) fn passed() -> u64 {
        PASSED.get()
    }

    /// The process is killed at the `n`-th point.
    pub(crate) fn kill_at(n: u64) {
        KILL_AT.store(n, Ordering::SeqCst);
    }

    pub(crate) fn point(point: Point) -> io::Result<()> {
        if point != Point::Write && ALL_PASSED.fetch_add(1, Ordering::SeqCst) + 1 == due() {
            std::process::abort();
        }
        PASSED.set(PASSED.get() + 1);
        if let Some((n, kind)) = ARMED.get()
            && PASSED.get() > n
            && (kind != io::ErrorKind::StorageFull || matches!(point, Point::Write | Point::Create))
        {
            ARMED.set(None);
            return Err(kind.into());
        }
        Ok(())
    }

    fn due() -> u64 {
        KILL_AT.load(Ordering::SeqCst)
    }

    /// In a process that is to be killed: whether to be so after a part of this write.
    pub(crate) fn torn() -> bool {
        ALL_PASSED.fetch_add(1, Ordering::SeqCst) + 1 == due()
    }
}
