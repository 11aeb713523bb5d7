//! Control records: the markers that end transactions.

use std::fmt;

use bytes::Buf as _;
use thalweg_log::record::Record;

/// What a control record says. Of a type that is unknown its number is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    kind: Option<i16>,
    /// The epoch of the coordinator that wrote it.
    pub coordinator_epoch: Option<i32>,
}

impl Marker {
    pub fn of(record: &Record) -> Self {
        let mut key = record.key.clone().unwrap_or_default();
        let mut value = record.value.clone().unwrap_or_default();
        // Each begins with a version.
        let kind = key.try_get_i16().and_then(|_| key.try_get_i16()).ok();
        let epoch = value.try_get_i16().and_then(|_| value.try_get_i32()).ok();
        Self {
            kind,
            coordinator_epoch: epoch.filter(|_| matches!(kind, Some(0 | 1))),
        }
    }

    /// The type's name.
    pub fn name(&self) -> String {
        match self.kind {
            Some(0) => "ABORT".to_owned(),
            Some(1) => "COMMIT".to_owned(),
            Some(other) => other.to_string(),
            None => "UNKNOWN".to_owned(),
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(0 | 1) => write!(f, "endTxnMarker: {}", self.name())?,
            Some(other) => return write!(f, "controlType: {other}"),
            None => return f.write_str("a control record without a type"),
        }
        match self.coordinator_epoch {
            Some(epoch) => write!(f, " coordinatorEpoch: {epoch}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn said(key: &'static [u8], value: &'static [u8]) -> String {
        let record = Record {
            offset: 0,
            timestamp: 0,
            key: Some(Bytes::from_static(key)),
            value: Some(Bytes::from_static(value)),
            headers: Vec::new(),
        };
        Marker::of(&record).to_string()
    }

    #[test]
    fn markers_are_told_as_kafka_tells_them() {
        let commit = said(&[0, 0, 0, 1], &[0, 0, 0, 0, 0, 7]);
        assert_eq!(commit, "endTxnMarker: COMMIT coordinatorEpoch: 7");
        assert_eq!(said(&[0, 0, 0, 0], &[0]), "endTxnMarker: ABORT");
        assert_eq!(said(&[0, 0, 0, 4], &[]), "controlType: 4");
        assert_eq!(said(&[0], &[]), "a control record without a type");
    }
}
