//! Progress of long work, shown on standard error where a person looks at it: a terminal
//! gets a bar, a file or a pipe gets nothing.

use indicatif::{ProgressBar, ProgressStyle};

use crate::{ConnectorHandle, ConnectorState};

/// A bar that counts `unit` up to `total`, or spins where there is no total.
pub fn progress_bar(label: impl Into<String>, total: Option<u64>, unit: Unit) -> ProgressBar {
    let template = match (unit, total.is_some()) {
        (Unit::Bytes, true) => "{msg:<24} {wide_bar} {bytes}/{total_bytes} {eta:>4}",
        (Unit::Bytes, false) => "{msg:<24} {spinner} {bytes} {bytes_per_sec}",
        (Unit::Records, true) => "{msg:<24} {wide_bar} {human_pos}/{human_len} {per_sec:>14}",
        (Unit::Records, false) => "{msg:<24} {spinner} {human_pos} {per_sec:>14}",
    };
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    // The templates are fixed; one that does not parse falls back to the plain style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(label.into());
    bar
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, in KiB and MiB.
    Bytes,
    /// Records.
    Records,
}

/// Shows how far a bounded source is until it has settled, and its last state.
pub async fn show_source(handle: &ConnectorHandle) -> ConnectorState {
    let mut status = handle.watch();
    let total = status.borrow().total_bytes;
    let bar = progress_bar(handle.name(), total, Unit::Bytes);
    loop {
        let now = status.borrow_and_update().clone();
        if let Some(total) = now.total_bytes {
            bar.set_length(total);
        }
        bar.set_position(now.bytes);
        if now.state.is_final() || status.changed().await.is_err() {
            bar.finish_and_clear();
            return now.state;
        }
    }
}
