//! Ranges of files, sent to a socket by the kernel (`sendfile`).
//!
//! The reactor never waits for a disk: a piece that is not in the page cache is read by a thread that may block
//! before it is sent. A file that turns out shorter than it was ends the connection, since its frame has begun.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

use bytes::Buf;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream, Interest, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::frame::Parts;

/// How much is sent, or read ahead of being sent, at a time.
const PIECE: usize = 512 * 1024;

/// Bytes of a file.
#[derive(Debug, Clone)]
pub struct FileRange {
    file: Arc<File>,
    position: u64,
    len: usize,
}

impl FileRange {
    /// So many bytes from a position on; they must be there, and stay as they are.
    pub fn new(file: Arc<File>, position: u64, len: usize) -> Self {
        FileRange {
            file,
            position,
            len,
        }
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the page cache has the first piece, as far as the kernel tells without waiting.
    fn is_cached(&self) -> bool {
        let last = self.len.clamp(1, PIECE) as u64 - 1;
        [0, last].into_iter().all(|at| {
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(
                &self.file,
                &mut into,
                self.position + at,
                ReadWriteFlags::NOWAIT,
            );
            // A file system that cannot say is in memory (tmpfs), or is waited for.
            !matches!(read, Err(Errno::AGAIN))
        })
    }

    /// The next piece's bytes.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len.min(PIECE)];
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, &mut bytes, self.position)?;
        Ok(bytes)
    }

    async fn read_blocking(&self) -> io::Result<Vec<u8>> {
        let range = self.clone();
        tokio::task::spawn_blocking(move || range.read())
            .await
            .map_err(io::Error::other)?
    }

    fn advance(&mut self, count: usize) {
        self.position += count as u64;
        self.len = self.len.saturating_sub(count);
    }
}

/// Where frames are written.
pub trait Output: AsyncWrite + Unpin + Send + Sized {
    /// The socket, where bytes may go to it without passing through this output.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    /// Writes bytes that others will follow at once.
    fn write_more(&mut self, parts: &mut Parts) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            if let Some(socket) = self.socket() {
                return send_more(socket, parts).await;
            }
            self.write_all_buf(parts).await
        }
    }

    /// Writes a range of a file.
    fn write_file(&mut self, mut range: FileRange) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            if let Some(socket) = self.socket() {
                return send_file(socket, range).await;
            }
            while !range.is_empty() {
                let bytes = range.read_blocking().await?;
                self.write_all(&bytes).await?;
                range.advance(bytes.len());
            }
            Ok(())
        }
    }
}

impl Output for OwnedWriteHalf {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl Output for DuplexStream {}

impl<T: AsyncWrite + Unpin + Send> Output for WriteHalf<T> {}

async fn send_more(socket: &TcpStream, parts: &mut Parts) -> io::Result<()> {
    while parts.has_remaining() {
        let sent = socket.async_io(Interest::WRITABLE, || {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            rustix::net::send(socket, parts.chunk(), flags).map_err(io::Error::from)
        });
        let sent = sent.await?;
        parts.advance(sent);
    }
    Ok(())
}

async fn send_file(socket: &TcpStream, mut range: FileRange) -> io::Result<()> {
    while !range.is_empty() {
        if !range.is_cached() {
            // Read for the page cache's sake.
            range.read_blocking().await?;
        }
        let mut left = range.len.min(PIECE);
        while left > 0 {
            let sent = socket.async_io(Interest::WRITABLE, || {
                let mut position = range.position;
                rustix::fs::sendfile(socket, &range.file, Some(&mut position), left)
                    .map_err(io::Error::from)
            });
            let sent = sent.await?;
            if sent == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file is shorter than it was",
                ));
            }
            range.advance(sent);
            left = left.saturating_sub(sent);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    fn file(len: usize) -> (Arc<File>, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (Arc::new(file), bytes)
    }

    #[tokio::test]
    async fn a_range_goes_to_a_socket_and_to_any_other_output() {
        let (file, bytes) = file(3 * PIECE + 77);
        let range = FileRange::new(Arc::clone(&file), 5, bytes.len() - 10);
        let expected = &bytes[5..bytes.len() - 5];

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (_, mut output) = server.into_split();
        let sent = range.clone();
        let sending = tokio::spawn(async move { output.write_file(sent).await });
        let mut client = client;
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(got == expected);

        let (mut near, mut far) = tokio::io::duplex(1000);
        let sending = tokio::spawn(async move { near.write_file(range).await });
        let mut got = vec![0; expected.len()];
        far.read_exact(&mut got).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(got == expected);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let (file, _) = file(1000);
        let range = FileRange::new(Arc::clone(&file), 0, 1000);
        file.set_len(400).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (_, mut output) = server.into_split();
        let error = output.write_file(range).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
