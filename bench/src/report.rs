//! Several runs of a piece of work, as one line: the median rate, what a record costs, and
//! the ratio to a limit or a peer measured in turn with it.

use crate::cpu::Took;

/// Runs of one piece of work.
#[derive(Debug, Clone)]
pub struct Runs {
    name: String,
    records: u64,
    bytes: u64,
    took: Vec<Took>,
}

impl Runs {
    /// Work on so many records and bytes a run.
    pub fn new(name: impl Into<String>, records: u64, bytes: u64) -> Self {
        Self {
            name: name.into(),
            records,
            bytes,
            took: Vec::new(),
        }
    }

    /// Adds a run.
    pub fn push(&mut self, took: Took) {
        self.took.push(took);
    }

    /// Median records a second on the clock.
    pub fn rate(&self) -> f64 {
        self.records as f64 / median(self.took.iter().map(|took| took.wall))
    }

    /// Median records a CPU second.
    pub fn rate_per_cpu(&self) -> f64 {
        self.records as f64 / median(self.took.iter().map(|took| took.cpu.max(0.01)))
    }

    /// The line: name, thousand records/s, MB/s, thousand records per CPU-second, and the
    /// rate as a ratio to `peer`'s.
    pub fn line(&self, peer: Option<&Runs>) -> String {
        let wall = median(self.took.iter().map(|took| took.wall));
        let slowest = self.took.iter().map(|took| took.wall).fold(0.0, f64::max);
        let mut line = format!(
            "{:<34} {:>9.0} k/s {:>8.1} MB/s {:>9.0} k/CPU-s  worst run {:>4.0}%",
            self.name,
            self.rate() / 1e3,
            self.bytes as f64 / wall / 1e6,
            self.rate_per_cpu() / 1e3,
            100.0 * wall / slowest,
        );
        if let Some(peer) = peer {
            line.push_str(&format!(
                "  {:>6.3}x {} ({:.3}x per CPU)",
                self.rate() / peer.rate(),
                peer.name,
                self.rate_per_cpu() / peer.rate_per_cpu()
            ));
        }
        line
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => f64::NAN,
        values => values.get(values.len() / 2).copied().unwrap_or(f64::NAN),
    }
}
