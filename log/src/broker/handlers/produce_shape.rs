//! What can be said of produced bytes before anything is looked up: whether they are one record batch of the
//! present format.
//!
//! Kafka's order is kept: framing that cannot be right refuses the whole request, and the shape of each
//! partition's bytes is judged before the transaction and the `acks`.

use bytes::Bytes;

use crate::record::{BATCH_OVERHEAD, BatchHeader, Compression};
use crate::wire::ErrorCode;

/// Bytes up to the magic and with it.
const THROUGH_MAGIC: usize = 17;
/// The smallest message of the oldest format, without its offset and its length.
const SMALLEST: i32 = 14;

/// A batch, and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The first batch that is wholly there, and what follows it.
///
/// # Errors
/// [`ErrorCode::CorruptMessage`] if the framing cannot be right.
fn first(bytes: &[u8]) -> Result<Option<Split<'_>>, ErrorCode> {
    let Some(length) = bytes.get(8..BATCH_OVERHEAD) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length.try_into().unwrap_or_default());
    if length < SMALLEST {
        return Err(ErrorCode::CorruptMessage);
    }
    let Some(magic) = bytes.get(THROUGH_MAGIC - 1) else {
        return Ok(None);
    };
    if *magic > 2 {
        return Err(ErrorCode::CorruptMessage);
    }
    let size = BATCH_OVERHEAD.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    Ok(bytes.split_at_checked(size))
}

/// The fields of the first batch, if it is one of the present format; they may contradict one another.
///
/// # Errors
/// [`ErrorCode::CorruptMessage`], for the whole request.
pub(crate) fn first_header(records: Option<&Bytes>) -> Result<Option<BatchHeader>, ErrorCode> {
    let found = first(records.map_or(&[][..], |records| records))?;
    Ok(found.and_then(|(batch, _)| BatchHeader::peek(batch)))
}

/// Whether the bytes are exactly one batch that clients of this version may send.
///
/// # Errors
/// The code for the partition, and what is wrong.
pub(crate) fn check(
    version: i16,
    records: Option<&Bytes>,
) -> Result<(), (ErrorCode, &'static str)> {
    const FRAMING: &str = "the length or the magic byte of the batch cannot be right";
    const ONE: (ErrorCode, &str) = (
        ErrorCode::InvalidRecord,
        "a partition is sent exactly one whole record batch in a request",
    );
    let corrupt = |code| (code, FRAMING);
    let found = first(records.map_or(&[][..], |records| records)).map_err(corrupt)?;
    let (batch, rest) = found.ok_or(ONE)?;
    if batch.get(THROUGH_MAGIC - 1) != Some(&2) {
        return Err((
            ErrorCode::InvalidRecord,
            "only record batches (v2) are taken, which every client since Kafka 0.11 writes",
        ));
    }
    let header = BatchHeader::peek(batch).ok_or((ErrorCode::CorruptMessage, FRAMING))?;
    // Clients know zstd since version 7 of the request.
    if version < 7 && header.compression() == Compression::Zstd {
        return Err((
            ErrorCode::UnsupportedCompressionType,
            "zstd is taken from version 7 of the request on",
        ));
    }
    match first(rest).map_err(corrupt)? {
        Some(_) => Err(ONE),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn batch(codec: Compression) -> Bytes {
        let mut batch = BatchBuilder::new(codec);
        batch.append(1, Some(b"k"), Some(b"v"), &[]).unwrap();
        batch.build().unwrap()
    }

    fn code(version: i16, records: Option<&Bytes>) -> Result<(), ErrorCode> {
        check(version, records).map_err(|(code, _)| code)
    }

    fn with(at: usize, bytes: &[u8]) -> Bytes {
        let mut changed = batch(Compression::None).to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed.into()
    }

    #[test]
    fn one_batch_is_wanted() {
        let one = batch(Compression::None);
        let two = Bytes::from([&one[..], &one[..]].concat());
        assert_eq!(code(13, Some(&one)), Ok(()));
        for bad in [
            None,
            Some(&Bytes::new()),
            Some(&two),
            Some(&one.slice(..40)),
        ] {
            assert_eq!(code(13, bad), Err(ErrorCode::InvalidRecord));
        }
        assert_eq!(
            code(13, Some(&with(16, &[1]))),
            Err(ErrorCode::InvalidRecord)
        );
    }

    #[test]
    fn framing_that_cannot_be_right_is_corrupt() {
        for bad in [
            with(8, &5_i32.to_be_bytes()),
            with(8, &(-1_i32).to_be_bytes()),
            with(16, &[9]),
        ] {
            assert_eq!(code(13, Some(&bad)), Err(ErrorCode::CorruptMessage));
            assert_eq!(first_header(Some(&bad)), Err(ErrorCode::CorruptMessage));
        }
        let short = with(8, &20_i32.to_be_bytes());
        assert_eq!(code(13, Some(&short)), Err(ErrorCode::CorruptMessage));
        // A length beyond the bytes is no batch at all.
        let long = with(8, &(1_i32 << 30).to_be_bytes());
        assert_eq!(code(13, Some(&long)), Err(ErrorCode::InvalidRecord));
        assert_eq!(first_header(Some(&long)), Ok(None));
    }

    #[test]
    fn old_versions_know_no_zstd() {
        let zstd = batch(Compression::Zstd);
        assert_eq!(
            code(6, Some(&zstd)),
            Err(ErrorCode::UnsupportedCompressionType)
        );
        assert_eq!(code(7, Some(&zstd)), Ok(()));
    }

    #[test]
    fn fields_are_read_though_they_contradict_one_another() {
        let header = first_header(Some(&with(57, &(-1_i32).to_be_bytes()))).unwrap();
        assert_eq!(header.unwrap().records_count, -1);
    }
}
