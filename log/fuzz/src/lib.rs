//! What the fuzz targets of the log share.

pub mod targets;
