//! The directory of a job: one process at a time, with an identity that outlives it.
//!
//! The process id names the group's static members, so that a process killed and started
//! again takes its tasks over at once.

use crate::StreamsError;
use crate::task::TaskId;
use parking_lot::Mutex;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use thalweg_state::StateError;
use uuid::Uuid;

/// The locked directory of a job.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    process_id: Uuid,
    lock: Mutex<Option<File>>,
}

impl StateDir {
    /// Makes and locks the directory of the job.
    pub(crate) fn open(state_dir: &Path, application_id: &str) -> Result<Self, StreamsError> {
        let path = state_dir.join(application_id);
        let failed = |error: std::io::Error| StateError::Open {
            dir: path.clone(),
            reason: format!("{error}; give a `state.dir` that can be written"),
        };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(".lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked { dir: path }.into()),
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        let process_id = process_id(&path).map_err(failed)?;
        Ok(Self {
            path,
            process_id,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Gives the directory back: another start may have it.
    pub(crate) fn release(&self) {
        self.lock.lock().take();
    }

    /// Which process this is, over restarts.
    pub(crate) fn process_id(&self) -> Uuid {
        self.process_id
    }

    /// Where a task keeps its stores.
    pub(crate) fn task_dir(&self, task: TaskId) -> PathBuf {
        self.path.join(task.to_string()).join("rocksdb")
    }

    /// The tasks that have left state here.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return Vec::new();
        };
        let mut tasks: Vec<TaskId> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        tasks.sort_unstable();
        tasks
    }
}

/// Reads the process id, or makes one and writes it whole or not at all.
fn process_id(path: &Path) -> std::io::Result<Uuid> {
    let file = path.join("process.id");
    if let Ok(text) = std::fs::read_to_string(&file)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    let id = Uuid::new_v4();
    let new = path.join("process.id.new");
    let mut out = File::create(&new)?;
    writeln!(out, "{id}")?;
    out.sync_all()?;
    std::fs::rename(&new, &file)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_id_and_its_directory_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path(), "app").unwrap();
        let error = StateDir::open(dir.path(), "app").unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        assert!(StateDir::open(dir.path(), "other").is_ok());
        let id = first.process_id();
        let task = TaskId {
            sub_topology: 1,
            partition: 12,
        };
        std::fs::create_dir_all(first.task_dir(task)).unwrap();
        drop(first);
        let again = StateDir::open(dir.path(), "app").unwrap();
        assert_eq!(again.process_id(), id);
        assert_eq!(again.tasks(), [task]);
    }
}
