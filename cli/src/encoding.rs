//! Bytes as text: as they are, in hexadecimal, or in base64.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

/// How keys and values that are bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Encoding {
    /// The bytes as they are
    #[default]
    Text,
    /// Hexadecimal digits
    Hex,
    /// Base64 with padding
    Base64,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Encoding {
    /// The bytes to print.
    pub fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Text => bytes.to_vec(),
            Self::Hex => bytes
                .iter()
                .flat_map(|b| format!("{b:02x}").into_bytes())
                .collect(),
            Self::Base64 => base64(bytes),
        }
    }

    /// The bytes that a text stands for.
    pub fn decode(self, text: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Text => Ok(text.to_vec()),
            Self::Hex => from_hex(text)
                .with_context(|| format!("{:?} is not hexadecimal", String::from_utf8_lossy(text))),
            Self::Base64 => from_base64(text)
                .with_context(|| format!("{:?} is not base64", String::from_utf8_lossy(text))),
        }
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 4];
        for (at, byte) in chunk.iter().enumerate() {
            group[at + 1] = *byte;
        }
        let bits = u32::from_be_bytes(group);
        for at in 0..4 {
            if at > chunk.len() {
                out.push(b'=');
            } else {
                out.push(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]);
            }
        }
    }
    out
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"="));
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for byte in bare.unwrap_or(text) {
        let value = ALPHABET.iter().position(|a| a == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 255) as u8);
        }
    }
    Some(out)
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", &[0, 255, 128, 7]] {
            for encoding in [Encoding::Text, Encoding::Hex, Encoding::Base64] {
                let text = encoding.encode(bytes);
                assert_eq!(encoding.decode(&text).unwrap(), bytes, "{encoding:?}");
            }
        }
        assert_eq!(Encoding::Base64.encode(b"foob"), b"Zm9vYg==");
        assert_eq!(Encoding::Hex.encode(&[1, 171]), b"01ab");
        for (encoding, bad) in [
            (Encoding::Hex, "abc"),
            (Encoding::Hex, "zz"),
            (Encoding::Base64, "ab"),
            (Encoding::Base64, "a*b="),
        ] {
            assert!(encoding.decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
