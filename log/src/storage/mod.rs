//! Segments, their indexes, the partition log, recovery and retention.
