//! What a consumer's member metadata say: the topics it subscribed to.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::group::records::{Fields, GroupRecordError};
use crate::wire::Str;

/// The topics of a `ConsumerProtocolSubscription`; `None` if the bytes are something else.
pub(in crate::group) fn topics(metadata: &Bytes) -> Option<BTreeSet<Str>> {
    fn read(metadata: &Bytes) -> Result<BTreeSet<Str>, GroupRecordError> {
        let mut fields = Fields {
            buf: metadata.clone(),
        };
        if fields.i16("version")? < 0 {
            return Err(GroupRecordError::Invalid("version"));
        }
        let n = fields.i32("topics")?;
        (0..n.max(0)).map(|_| fields.str("topic")).collect()
    }
    read(metadata).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_other_bytes_are_not() {
        let raw = Bytes::from_static(&[0, 1, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a', 0xff]);
        let found: Vec<_> = topics(&raw).unwrap().into_iter().collect();
        assert_eq!(found, ["a", "b"]);
        assert!(topics(&Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff])).is_none());
        assert!(topics(&Bytes::new()).is_none());
    }
}
