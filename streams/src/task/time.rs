//! The event time of a task: watermarks of its inputs and their minimum.
//!
//! Every input channel (a partition of a source topic, or one upstream task seen through
//! a partition of a repartition topic) has a watermark: no record at or above it has
//! been promised yet, every record below it may be late. A channel's watermark never
//! falls. The task's watermark is the minimum over its channels that are not idle, and
//! never falls either, so that a window closed once stays closed. All of it commits with
//! the offsets and is restored before the first record.
