//! Puts a compacted segment in the place of those it was made from, whole or not at all.
//!
//! The new files are written and fsynced under names that end with `.cleaned`, then renamed to
//! `.swap`, the log's last: that rename decides. Before it, a crash leaves `.cleaned` files, which
//! the next open deletes; after it, the next open finishes: the old segments go, the `.swap` files
//! get their names, the log's last again. Each step can be done twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::dir::LogDir;
use super::super::error::{StorageError, StorageResult};
use super::super::files::{
    CLEANED_SUFFIX, GAPS_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, SWAP_SUFFIX, TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX, create_empty, offset_file, offset_of, remove_if_there, rename,
    rename_if_there, sync_dir,
};
use super::super::gaps::Gaps;

/// What a segment may have beside its log.
const SIDES: [&str; 4] = [
    INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
    GAPS_SUFFIX,
];

fn named(folder: &Path, base: i64, kind: &str, state: &str) -> std::path::PathBuf {
    offset_file(folder, base, &format!("{kind}{state}"))
}

/// Deletes the files of a segment that was not put in place.
pub(crate) fn discard(folder: &Path, base: i64) -> StorageResult<()> {
    for state in [CLEANED_SUFFIX, SWAP_SUFFIX] {
        // The log's `.swap` would mean that it was put in place.
        remove_if_there(&named(folder, base, LOG_SUFFIX, state))?;
    }
    for kind in SIDES {
        for state in [CLEANED_SUFFIX, SWAP_SUFFIX] {
            remove_if_there(&named(folder, base, kind, state))?;
        }
    }
    Ok(())
}

/// Decides: from here on the new segment counts. Everything of it must be on disk.
pub(crate) fn commit(folder: &Path, base: i64) -> StorageResult<()> {
    // Without aborted transactions there is no index of them. An empty one replaces that of the
    // old segment, so that every file has its successor.
    let aborted = named(folder, base, TXN_INDEX_SUFFIX, CLEANED_SUFFIX);
    if !aborted.exists() {
        create_empty(&aborted)?;
    }
    for kind in SIDES {
        rename_if_there(
            &named(folder, base, kind, CLEANED_SUFFIX),
            &named(folder, base, kind, SWAP_SUFFIX),
        )?;
    }
    sync_dir(folder)?;
    rename(
        &named(folder, base, LOG_SUFFIX, CLEANED_SUFFIX),
        &named(folder, base, LOG_SUFFIX, SWAP_SUFFIX),
    )?;
    sync_dir(folder)
}

/// Deletes the segments the new one stands for, and gives it their name. With `later`, their files
/// stay under other names for so many milliseconds.
pub(crate) fn finish(
    folder: &Path,
    base: i64,
    old: &[i64],
    later: Option<(&LogDir, i64)>,
) -> StorageResult<()> {
    for other in old.iter().rev() {
        for kind in std::iter::once(LOG_SUFFIX).chain(SIDES) {
            let path = offset_file(folder, *other, kind);
            match later {
                Some((dir, delay_ms)) if delay_ms > 0 => dir.delete_file(&path, delay_ms)?,
                // The new one's go over those of its own name.
                _ if *other == base => {}
                _ => remove_if_there(&path)?,
            }
        }
    }
    for kind in SIDES {
        rename_if_there(
            &named(folder, base, kind, SWAP_SUFFIX),
            &offset_file(folder, base, kind),
        )?;
    }
    sync_dir(folder)?;
    rename(
        &named(folder, base, LOG_SUFFIX, SWAP_SUFFIX),
        &offset_file(folder, base, LOG_SUFFIX),
    )?;
    sync_dir(folder)
}

/// When a log is opened: finishes what was decided, and deletes what was not.
pub(crate) fn recover(folder: &Path) -> StorageResult<()> {
    let error = |e| StorageError::io("list", folder, e);
    let (mut decided, mut left, mut logs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(base) = offset_of(name, LOG_SUFFIX) {
            logs.insert(base);
        } else if let Some(name) = name.strip_suffix(SWAP_SUFFIX) {
            match offset_of(name, LOG_SUFFIX) {
                Some(base) => drop(decided.insert(base)),
                None => left.extend(SIDES.iter().find_map(|kind| offset_of(name, kind))),
            }
        } else if let Some(name) = name.strip_suffix(CLEANED_SUFFIX) {
            let kinds = std::iter::once(LOG_SUFFIX).chain(SIDES);
            left.extend(kinds.into_iter().find_map(|kind| offset_of(name, kind)));
        }
    }
    for base in left.difference(&decided) {
        tracing::info!(folder = %folder.display(), base, "a compaction that was cut short is undone");
        discard(folder, *base)?;
    }
    for base in decided {
        let swapped = named(folder, base, GAPS_SUFFIX, SWAP_SUFFIX);
        let placed = offset_file(folder, base, GAPS_SUFFIX);
        let gaps = match Gaps::load(&swapped, base)? {
            Some(gaps) => Some(gaps),
            None => Gaps::load(&placed, base)?,
        };
        let Some(gaps) = gaps else {
            return Err(StorageError::BadFile {
                path: named(folder, base, LOG_SUFFIX, SWAP_SUFFIX),
                reason: "the list of gaps is missing that must come with it".to_owned(),
            });
        };
        let old: Vec<_> = logs
            .range(base..gaps.end_offset().max(base + 1))
            .copied()
            .collect();
        tracing::info!(folder = %folder.display(), base, end = gaps.end_offset(),
            "a compaction that was cut short is finished");
        finish(folder, base, &old, None)?;
    }
    Ok(())
}
