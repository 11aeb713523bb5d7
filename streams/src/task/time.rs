//! The event time of a task: watermarks of its inputs and their minimum.
//!
//! Every input channel (a partition of a source topic, or one upstream task seen through
//! a partition of a repartition topic) has a watermark: no record at or above it has
//! been promised yet, every record below it may be late. A channel's watermark never
//! falls. The task's watermark is the minimum over its channels that are not idle, and
//! never falls either, so that a window closed once stays closed. All of it commits with
//! the offsets and is restored before the first record.

use super::TaskId;
use crate::StreamsError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The watermark of a channel that has not said anything yet.
pub const NO_WATERMARK: i64 = i64::MIN;

/// The header that carries a task's time through a repartition topic.
pub const TIME_HEADER: &str = "thalweg.time";

/// What an upstream task says about its time to one partition of a repartition topic.
///
/// It takes effect behind the record that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeReport {
    /// Who says it.
    pub upstream: TaskId,
    /// How many tasks the upstream sub-topology has: the reader waits for all of them.
    pub tasks: i32,
    /// The upstream task's watermark.
    pub watermark: i64,
    /// Whether all inputs of the upstream task are idle.
    pub idle: bool,
}

const REPORT_VERSION: u8 = 1;
const FLAG_IDLE: u8 = 1;
const FLAG_MARKER: u8 = 2;

impl TimeReport {
    /// The header's value. A `marker` record has nothing else to say and is not shown to
    /// programs.
    pub fn encode(&self, marker: bool) -> Bytes {
        let mut out = Vec::with_capacity(16);
        out.push(REPORT_VERSION);
        out.push((u8::from(self.idle) * FLAG_IDLE) | (u8::from(marker) * FLAG_MARKER));
        codec::put_varint(&mut out, u64::from(self.upstream.sub_topology));
        codec::put_varint(&mut out, codec::zigzag(i64::from(self.upstream.partition)));
        codec::put_varint(&mut out, codec::zigzag(i64::from(self.tasks)));
        codec::put_varint(&mut out, codec::zigzag(self.watermark));
        out.into()
    }

    /// Reads a header's value: the report, and whether the record is a marker.
    pub fn decode(bytes: &[u8]) -> Result<(Self, bool), StreamsError> {
        let bad = |reason: &str| StreamsError::Format {
            what: "a watermark of a repartition topic",
            reason: reason.to_owned(),
        };
        let mut input = bytes;
        match codec::take(&mut input) {
            Some(REPORT_VERSION) => {}
            Some(version) => {
                return Err(bad(&format!(
                    "version {version} is newer than this release reads ({REPORT_VERSION})"
                )));
            }
            None => return Err(bad("it is empty")),
        }
        let mut read = || {
            let flags = codec::take(&mut input)?;
            let report = Self {
                upstream: TaskId {
                    sub_topology: u32::try_from(codec::varint(&mut input)?).ok()?,
                    partition: codec::signed(&mut input)?.try_into().ok()?,
                },
                tasks: codec::signed(&mut input)?.try_into().ok()?,
                watermark: codec::signed(&mut input)?,
                idle: flags & FLAG_IDLE != 0,
            };
            Some((report, flags & FLAG_MARKER != 0))
        };
        read().ok_or_else(|| bad("it is cut short"))
    }
}

/// The time of one input channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Channel {
    watermark: i64,
    idle: bool,
}

impl Channel {
    const NEW: Self = Self {
        watermark: NO_WATERMARK,
        idle: false,
    };
}

#[derive(Debug, Clone)]
enum SourceTime {
    /// A partition of a topic that others write: its own channel.
    Own {
        channel: Channel,
        idle_timeout: Option<Duration>,
        /// When it was last seen to have data, by the wall clock.
        active_at: Option<i64>,
    },
    /// A partition of a repartition topic: a channel for each upstream task.
    Upstream {
        /// How many tasks each sub-topology that writes the topic has; `None` until one reports.
        writers: BTreeMap<u32, Option<i32>>,
        channels: BTreeMap<TaskId, Channel>,
    },
    /// A topic that has no such partition: it has no say.
    Excluded,
}

/// The times of one task.
#[derive(Debug, Clone)]
pub struct TaskTime {
    sources: Vec<SourceTime>,
    watermark: i64,
    stream_time: i64,
    idle: bool,
}

impl Default for TaskTime {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            watermark: NO_WATERMARK,
            stream_time: NO_WATERMARK,
            idle: false,
        }
    }
}

impl TaskTime {
    /// Adds a source whose time comes from its records. One whose idle timeout is zero
    /// (a table) never holds time back, not even while it has data.
    pub fn add_own(&mut self, idle_timeout: Option<Duration>) {
        self.sources.push(SourceTime::Own {
            channel: Channel {
                idle: idle_timeout == Some(Duration::ZERO),
                ..Channel::NEW
            },
            idle_timeout,
            active_at: None,
        });
    }

    /// Adds a source whose time comes from the tasks of the sub-topologies `writers`.
    pub fn add_upstream(&mut self, writers: impl IntoIterator<Item = u32>) {
        self.sources.push(SourceTime::Upstream {
            writers: writers.into_iter().map(|writer| (writer, None)).collect(),
            channels: BTreeMap::new(),
        });
    }

    /// Takes the say from a source whose topic has no partition for this task.
    pub fn exclude(&mut self, source: usize) {
        if let Some(time) = self.sources.get_mut(source) {
            *time = SourceTime::Excluded;
        }
    }

    /// Whether a source has no say.
    pub fn excluded(&self, source: usize) -> bool {
        matches!(self.sources.get(source), Some(SourceTime::Excluded))
    }

    /// The task's watermark.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The greatest timestamp seen.
    pub fn stream_time(&self) -> i64 {
        self.stream_time
    }

    /// Whether all channels are idle.
    pub fn idle(&self) -> bool {
        self.idle
    }

    /// A source's own watermark: the minimum over its channels that are not idle.
    pub fn source_watermark(&self, source: usize) -> i64 {
        match self.sources.get(source) {
            Some(source) => source.bounds().low.unwrap_or(NO_WATERMARK),
            None => NO_WATERMARK,
        }
    }

    /// A record of this timestamp has been taken.
    pub fn record(&mut self, timestamp: i64) {
        self.stream_time = self.stream_time.max(timestamp);
    }

    /// Raises the watermark of a source that takes its time from its records. For a
    /// repartition source nothing happens: its time comes from upstream.
    pub fn observe(&mut self, source: usize, watermark: i64) {
        if let Some(SourceTime::Own {
            channel,
            idle_timeout,
            ..
        }) = self.sources.get_mut(source)
            && (watermark > channel.watermark || channel.idle)
        {
            channel.watermark = channel.watermark.max(watermark);
            channel.idle = *idle_timeout == Some(Duration::ZERO);
            self.settle();
        }
    }

    /// Takes in what an upstream task said.
    pub fn report(&mut self, source: usize, report: &TimeReport) {
        let Some(SourceTime::Upstream { writers, channels }) = self.sources.get_mut(source) else {
            return;
        };
        let tasks = writers.insert(report.upstream.sub_topology, Some(report.tasks));
        let known = channels.get(&report.upstream).copied();
        let before = known.unwrap_or(Channel::NEW);
        let after = Channel {
            watermark: before.watermark.max(report.watermark),
            idle: report.idle,
        };
        channels.insert(report.upstream, after);
        // Raising a channel that is not the lowest changes nothing for the task.
        let active = !before.idle && !after.idle;
        let higher = known.is_some() && active && before.watermark > self.watermark;
        if !higher || tasks != Some(Some(report.tasks)) {
            self.settle();
        }
    }

    /// A source has data at hand: it is not idle, and its idle timeout starts anew.
    pub fn active(&mut self, source: usize, wall_clock: i64) {
        if let Some(SourceTime::Own {
            channel,
            active_at,
            idle_timeout,
        }) = self.sources.get_mut(source)
        {
            *active_at = Some(wall_clock);
            channel.idle = *idle_timeout == Some(Duration::ZERO);
        }
    }

    /// Sources without data for their idle timeout become idle. Returns whether the
    /// task's watermark or idleness has changed.
    pub fn tick(&mut self, wall_clock: i64) -> bool {
        let before = (self.watermark, self.idle);
        for source in &mut self.sources {
            if let SourceTime::Own {
                channel,
                idle_timeout: Some(timeout),
                active_at,
            } = source
            {
                let active_at = *active_at.get_or_insert(wall_clock);
                let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
                if wall_clock.saturating_sub(active_at) >= timeout {
                    channel.idle = true;
                }
            }
        }
        self.settle();
        before != (self.watermark, self.idle)
    }

    /// Whether a source may become idle as time passes.
    pub(crate) fn waits_for_idle(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(
                source,
                SourceTime::Own { channel, idle_timeout: Some(_), .. } if !channel.idle
            )
        })
    }

    fn settle(&mut self) {
        let mut bounds = Bounds::default();
        for source in &self.sources {
            bounds.join(source.bounds());
        }
        self.idle = !bounds.active && bounds.high.is_some();
        let next = match (bounds.active, bounds.low, bounds.high) {
            (true, Some(low), _) => low,
            // Nobody holds time back any more: what the furthest has promised stands.
            (false, _, Some(high)) => high,
            _ => NO_WATERMARK,
        };
        self.watermark = self.watermark.max(next);
    }

    /// The time of one source and of the task, to be committed with the source's offset.
    /// Never longer than `limit` bytes: of too many upstream channels only the lowest
    /// watermark is kept, which is late but never wrong.
    pub fn encode(&self, source: usize, limit: usize) -> String {
        let Some(time) = self.sources.get(source) else {
            return String::new();
        };
        for coarse in [0, 8, 16, u32::MAX] {
            let text = codec::to_text(&self.encode_bytes(time, coarse));
            if text.len() <= limit {
                return text;
            }
        }
        String::new()
    }

    fn encode_bytes(&self, source: &SourceTime, coarse: u32) -> Vec<u8> {
        let mut out = vec![METADATA_VERSION];
        codec::put_varint(&mut out, codec::zigzag(self.watermark));
        codec::put_varint(&mut out, codec::zigzag(self.stream_time));
        match source {
            SourceTime::Own { channel, .. } => {
                out.push(u8::from(channel.idle));
                codec::put_varint(&mut out, codec::zigzag(channel.watermark));
            }
            SourceTime::Upstream { writers, channels } if coarse < u32::MAX => {
                codec::put_varint(&mut out, writers.len() as u64);
                let known = |c: &&Channel| c.watermark != NO_WATERMARK;
                let base = channels.values().filter(known).map(|c| c.watermark).min();
                let base = base.unwrap_or(0);
                codec::put_varint(&mut out, codec::zigzag(base));
                out.push(coarse as u8);
                for (writer, tasks) in writers {
                    codec::put_varint(&mut out, u64::from(*writer));
                    let tasks = tasks.unwrap_or(0).max(0);
                    codec::put_varint(&mut out, u64::from(tasks.unsigned_abs()));
                    for partition in 0..tasks {
                        let id = TaskId {
                            sub_topology: *writer,
                            partition,
                        };
                        // 0: not heard of; 1: heard of, without a watermark; else the
                        // distance from the base, each doubled with the idle flag.
                        let (distance, idle) = match channels.get(&id) {
                            None => (0, false),
                            Some(c) if c.watermark == NO_WATERMARK => (1, c.idle),
                            Some(c) => {
                                let distance = c.watermark.wrapping_sub(base) as u64;
                                ((distance >> coarse).saturating_add(2), c.idle)
                            }
                        };
                        let word = distance.saturating_mul(2) | u64::from(idle);
                        codec::put_varint(&mut out, word);
                    }
                }
            }
            SourceTime::Upstream { .. } | SourceTime::Excluded => {}
        }
        out
    }

    /// Takes back what [`encode`](Self::encode) wrote, before any record. Nothing falls
    /// that has risen, so that the order of the sources does not matter.
    pub fn restore(&mut self, source: usize, metadata: &str) -> Result<(), StreamsError> {
        if metadata.is_empty() {
            return Ok(());
        }
        let bad = |reason: String| StreamsError::Format {
            what: "the times committed with an offset",
            reason,
        };
        let bytes = codec::from_text(metadata)
            .ok_or_else(|| bad("another program has committed here".to_owned()))?;
        let mut input = bytes.as_slice();
        match codec::take(&mut input) {
            Some(METADATA_VERSION) => {}
            Some(version) => {
                return Err(bad(format!(
                    "version {version} is newer than this release reads ({METADATA_VERSION})"
                )));
            }
            None => return Err(bad("it is empty".to_owned())),
        }
        let time = self.sources.get_mut(source);
        let read = Self::restore_source(time, &mut input)
            .ok_or_else(|| bad("it is cut short".to_owned()))?;
        self.watermark = self.watermark.max(read.0);
        self.stream_time = self.stream_time.max(read.1);
        self.settle();
        Ok(())
    }

    fn restore_source(source: Option<&mut SourceTime>, input: &mut &[u8]) -> Option<(i64, i64)> {
        let watermark = codec::signed(input)?;
        let stream_time = codec::signed(input)?;
        match source {
            Some(SourceTime::Own { channel, .. }) => {
                channel.idle = codec::take(input)? != 0;
                channel.watermark = codec::signed(input)?;
            }
            Some(SourceTime::Upstream { writers, channels }) if !input.is_empty() => {
                let count = codec::varint(input)?;
                let base = codec::signed(input)?;
                let coarse = u32::from(codec::take(input)?);
                for _ in 0..count {
                    let writer = u32::try_from(codec::varint(input)?).ok()?;
                    let tasks = i32::try_from(codec::varint(input)?).ok()?;
                    if tasks > 0 {
                        writers.insert(writer, Some(tasks));
                    }
                    for partition in 0..tasks {
                        let word = codec::varint(input)?;
                        let id = TaskId {
                            sub_topology: writer,
                            partition,
                        };
                        let watermark = match word >> 1 {
                            0 => continue,
                            1 => NO_WATERMARK,
                            distance => {
                                let distance = distance.saturating_sub(2).checked_shl(coarse)?;
                                base.saturating_add_unsigned(distance)
                            }
                        };
                        let idle = word & 1 != 0;
                        channels.insert(id, Channel { watermark, idle });
                    }
                }
            }
            _ => {}
        }
        Some((watermark, stream_time))
    }
}

const METADATA_VERSION: u8 = 1;

/// What the channels of a source, or of a task, allow.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    /// Whether any channel is not idle.
    active: bool,
    /// The minimum over the channels that are not idle; `None` without such.
    low: Option<i64>,
    /// The maximum over all channels.
    high: Option<i64>,
}

impl Bounds {
    fn add(&mut self, channel: Channel) {
        self.high = Some(
            self.high
                .map_or(channel.watermark, |h| h.max(channel.watermark)),
        );
        if !channel.idle {
            self.active = true;
            self.low = Some(
                self.low
                    .map_or(channel.watermark, |l| l.min(channel.watermark)),
            );
        }
    }

    fn join(&mut self, other: Self) {
        self.active |= other.active;
        self.low = match (self.low, other.low) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.high = self.high.max(other.high);
    }
}

impl SourceTime {
    fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        match self {
            Self::Excluded => {}
            Self::Own { channel, .. } => bounds.add(*channel),
            Self::Upstream { writers, channels } => {
                // The channels are those of the writers: fewer than all tasks is not all.
                let all = writers
                    .values()
                    .try_fold(0, |sum, tasks| Some(sum + i64::from((*tasks)?)));
                if all.is_none_or(|all| (channels.len() as i64) < all) {
                    bounds.add(Channel::NEW);
                    return bounds;
                }
                for channel in channels.values() {
                    bounds.add(*channel);
                }
            }
        }
        bounds
    }
}

/// Variable-length integers, and bytes as text.
mod codec {
    pub(super) fn zigzag(value: i64) -> u64 {
        ((value << 1) ^ (value >> 63)) as u64
    }

    pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    pub(super) fn take(input: &mut &[u8]) -> Option<u8> {
        let (first, rest) = input.split_first()?;
        *input = rest;
        Some(*first)
    }

    pub(super) fn varint(input: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = take(input)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(input: &mut &[u8]) -> Option<i64> {
        let value = varint(input)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// Base64 in its URL-safe alphabet, without padding.
    pub(super) fn to_text(bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let word = (0..3).fold(0u32, |word, i| {
                (word << 8) | u32::from(chunk.get(i).copied().unwrap_or(0))
            });
            for i in 0..=chunk.len() {
                let index = (word >> (18 - 6 * i)) & 0x3f;
                out.push(char::from(
                    ALPHABET.get(index as usize).copied().unwrap_or(b'A'),
                ));
            }
        }
        out
    }

    pub(super) fn from_text(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len() * 3 / 4);
        for chunk in text.as_bytes().chunks(4) {
            let mut word = 0u32;
            for i in 0..4 {
                let digit = match chunk.get(i) {
                    Some(byte) => ALPHABET.iter().position(|b| b == byte)?,
                    None => 0,
                };
                word = (word << 6) | u32::try_from(digit).ok()?;
            }
            let [_, bytes @ ..] = word.to_be_bytes();
            out.extend(bytes.iter().take(chunk.len().checked_sub(1)?));
        }
        Some(out)
    }
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
