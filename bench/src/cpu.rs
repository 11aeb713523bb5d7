//! CPU time of this process, to say what a record costs and not only how fast it went.

use std::time::Instant;

/// Wall and CPU time since a start.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    wall: Instant,
    cpu: f64,
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of CPU over all threads of this process, user and system.
    pub cpu: f64,
}

impl Stopwatch {
    /// Starts.
    pub fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    /// What it took so far.
    pub fn took(&self) -> Took {
        Took {
            wall: self.wall.elapsed().as_secs_f64(),
            cpu: cpu_seconds() - self.cpu,
        }
    }
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    of_process("self", Children::Without)
}

/// Whether the children that have ended, and were waited for, count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    With,
    Without,
}

/// CPU seconds of a process so far, user and system, or 0 where the system does not tell.
pub fn of_process(process: &str, children: Children) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // Fields 14 to 17, counted behind the name in brackets, in ticks of 1/100 s.
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(if children == Children::With { 4 } else { 2 })
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}
