//! How aggregate states are written: integers as zigzag varints, floats as their bits,
//! bytes with their length in front. Reading checks every bound.

use crate::operators::OperatorError;

/// Appends a signed integer.
pub(super) fn put_int(value: i128, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 127)) as u128;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a float.
pub(super) fn put_float(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

/// Appends bytes, or that there are none.
pub(super) fn put_bytes(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => put_int(-1, out),
        Some(bytes) => {
            put_int(bytes.len() as i128, out);
            out.extend_from_slice(bytes);
        }
    }
}

/// Reads what the functions above wrote.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// A signed integer.
    pub(super) fn int(&mut self) -> Result<i128, OperatorError> {
        let mut value = 0u128;
        for shift in (0..19).map(|i| i * 7) {
            let (byte, rest) = self
                .0
                .split_first()
                .ok_or(OperatorError::State("cut short"))?;
            self.0 = rest;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i128 ^ -((value & 1) as i128));
            }
        }
        Err(OperatorError::State("an integer without an end"))
    }

    /// A signed integer of 64 bits.
    pub(super) fn int64(&mut self) -> Result<i64, OperatorError> {
        i64::try_from(self.int()?).map_err(|_| OperatorError::State("an integer out of range"))
    }

    /// A float.
    pub(super) fn float(&mut self) -> Result<f64, OperatorError> {
        let (bits, rest) = self
            .0
            .split_first_chunk()
            .ok_or(OperatorError::State("cut short"))?;
        self.0 = rest;
        Ok(f64::from_bits(u64::from_be_bytes(*bits)))
    }

    /// Bytes, or none.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, OperatorError> {
        let length = self.int64()?;
        if length < 0 {
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(OperatorError::State("cut short"))?;
        self.0 = rest;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back(ints in proptest::collection::vec(any::<i128>(), 0..5), f in any::<u64>(),
                            bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))) {
            let mut out = Vec::new();
            ints.iter().for_each(|i| put_int(*i, &mut out));
            put_float(f64::from_bits(f), &mut out);
            put_bytes(bytes.as_deref(), &mut out);
            let mut input = Input(&out);
            for i in &ints {
                prop_assert_eq!(input.int().unwrap(), *i);
            }
            prop_assert_eq!(input.float().unwrap().to_bits(), f);
            prop_assert_eq!(input.bytes().unwrap(), bytes.as_deref());
            prop_assert!(input.0.is_empty());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut input = Input(&bytes);
            while input.int().is_ok() && input.bytes().is_ok() && input.float().is_ok() {}
        }
    }
}
