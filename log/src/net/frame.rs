//! Frames: a 32-bit length, then that many bytes.
//!
//! Memory for a frame is taken as its bytes arrive, never because its length says so. Payloads of some size
//! are written from where they lie, not copied into the frame.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::NetError;
use super::file::{FileRange, Output};
use crate::wire::codec::{Encoder, Part, Version};
use crate::wire::{Problem, Request, RequestHeader, Response, ResponseHeader, WireError};

/// The least room to read into.
const READ_CHUNK: usize = 16 * 1024;

/// How much room a frame gets at once; a longer one grows as its bytes arrive.
const READ_AHEAD: usize = 1024 * 1024;

/// Byte strings from this length on are written from where they lie.
const SHARE_FROM: usize = 1024;

/// Reads frames from a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    buffer: BytesMut,
    limit: usize,
    setting: &'static str,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames of at most `limit` bytes, which `setting` sets.
    pub fn new(input: R, limit: usize, setting: &'static str) -> Self {
        FrameReader {
            input,
            buffer: BytesMut::new(),
            limit,
            setting,
        }
    }

    /// The next frame without its length, or `None` at an end between frames.
    ///
    /// It may be dropped while it waits: bytes already read are kept for the next call.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NetError> {
        let length = loop {
            if let Some(prefix) = self.buffer.first_chunk::<4>() {
                break i32::from_be_bytes(*prefix);
            }
            self.buffer.reserve(READ_CHUNK);
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(NetError::Truncated {
                        missing: 4 - self.buffer.len(),
                    })
                };
            }
        };
        let length = usize::try_from(length).map_err(|_| NetError::NegativeLength(length))?;
        if length > self.limit {
            return Err(NetError::TooLong {
                length,
                limit: self.limit,
                setting: self.setting,
            });
        }
        let end = length + 4;
        while self.buffer.len() < end {
            let missing = end - self.buffer.len();
            // Double what is there, within bounds, so that growing copies each byte once on average.
            let room = missing.min(self.buffer.len().max(READ_AHEAD));
            self.buffer.reserve(room);
            if self.fill().await? == 0 {
                return Err(NetError::Truncated { missing });
            }
        }
        let mut frame = self.buffer.split_to(end);
        frame.advance(4);
        Ok(Some(frame.freeze()))
    }

    async fn fill(&mut self) -> Result<usize, NetError> {
        self.input
            .read_buf(&mut self.buffer)
            .await
            .map_err(NetError::io("read from the connection"))
    }
}

/// A frame as a list of parts, to be written one after the other. The first part begins with the length.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Parts {
    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining += part.len();
            self.parts.push_back(part);
        }
    }

    /// The parts.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// Appends another frame, so that both are written at once.
    pub fn append(&mut self, mut other: Parts) {
        self.parts.append(&mut other.parts);
        self.remaining += other.remaining;
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(front) = self.parts.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

/// Writes frames to a byte stream.
#[derive(Debug)]
pub struct FrameWriter<W> {
    output: W,
}

/// A frame some of whose bytes lie in files.
#[derive(Debug, Default)]
pub struct Frame {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Parts(Parts),
    File(FileRange),
}

impl Frame {
    /// Puts the length in front, and the files where the parts say that something lies elsewhere.
    fn framed(parts: Vec<Part>, files: Vec<FileRange>) -> Result<Frame, WireError> {
        let length: usize = parts
            .iter()
            .map(|part| match part {
                Part::Bytes(bytes) => bytes.len(),
                Part::Elsewhere(length) => *length,
            })
            .sum();
        let Ok(prefix) = i32::try_from(length) else {
            let max = i32::MAX as usize;
            return Err(WireError::in_message(
                "frame",
                Problem::TooLong { length, max },
            ));
        };
        let mut files = files.into_iter();
        let mut frame = Frame::default();
        let mut bytes = Parts::default();
        bytes.push(Bytes::copy_from_slice(&prefix.to_be_bytes()));
        for part in parts {
            match part {
                Part::Bytes(part) => bytes.push(part),
                Part::Elsewhere(_) => {
                    frame.pieces.push(Piece::Parts(std::mem::take(&mut bytes)));
                    frame.pieces.extend(files.next().map(Piece::File));
                }
            }
        }
        frame.pieces.push(Piece::Parts(bytes));
        Ok(frame)
    }

    /// The frame when no part of it lies in a file.
    fn into_parts(self) -> Parts {
        let mut all = Parts::default();
        for piece in self.pieces {
            if let Piece::Parts(parts) = piece {
                all.append(parts);
            }
        }
        all
    }
}

impl<W: Output> FrameWriter<W> {
    /// Writes a frame; what lies in files goes straight from there where the output can do that.
    pub async fn write_frame(&mut self, frame: Frame) -> Result<(), NetError> {
        let last = frame.pieces.len().saturating_sub(1);
        for (at, piece) in frame.pieces.into_iter().enumerate() {
            match piece {
                Piece::Parts(parts) if at == last => self.write(parts).await?,
                Piece::Parts(mut parts) => self
                    .output
                    .write_more(&mut parts)
                    .await
                    .map_err(NetError::io("write to the connection"))?,
                Piece::File(range) => self
                    .output
                    .write_file(range)
                    .await
                    .map_err(NetError::io("send records from their file"))?,
            }
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer.
    pub fn new(output: W) -> Self {
        FrameWriter { output }
    }

    /// Writes a frame, or several that were put together.
    pub async fn write(&mut self, mut frame: Parts) -> Result<(), NetError> {
        let doing = "write to the connection";
        self.output
            .write_all_buf(&mut frame)
            .await
            .map_err(NetError::io(doing))?;
        self.output.flush().await.map_err(NetError::io(doing))
    }

    /// Says that nothing more will be written.
    pub async fn shutdown(&mut self) -> Result<(), NetError> {
        self.output
            .shutdown()
            .await
            .map_err(NetError::io("close the connection"))
    }
}

fn encoder() -> Encoder {
    let flexible = false;
    Encoder::vectored(
        Version {
            number: 0,
            flexible,
        },
        SHARE_FROM,
    )
}

/// The frame of a request.
pub fn request_frame(header: &RequestHeader, request: &Request) -> Result<Parts, WireError> {
    let mut encoder = encoder();
    header.encode(&mut encoder)?;
    request.encode_to(&mut encoder, header.version)?;
    Ok(Frame::framed(encoder.into_parts(), Vec::new())?.into_parts())
}

/// The frame of a response to a request with this header, in the request's version.
pub fn response_frame(request: &RequestHeader, response: &Response) -> Result<Parts, WireError> {
    Ok(response_frame_with(request, response, Vec::new())?.into_parts())
}

/// The same; nullable byte strings of the response that are null are filled from the files, in order.
pub fn response_frame_with(
    request: &RequestHeader,
    response: &Response,
    files: Vec<FileRange>,
) -> Result<Frame, WireError> {
    let mut encoder = encoder().filling(files.iter().map(FileRange::len));
    let header = ResponseHeader {
        correlation_id: request.correlation_id,
        ..ResponseHeader::default()
    };
    header.encode(&mut encoder, request.api, request.version)?;
    response.encode_to(&mut encoder, request.version)?;
    Frame::framed(encoder.into_parts(), files)
}
