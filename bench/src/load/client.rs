//! One client connection: prebuilt bytes out, a light reader for what comes back.

use anyhow::{Result, bail};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What one read may bring.
const READ_MAX: usize = 16 * 1024;
/// Bytes of the end of a body that are kept to see whether it is complete.
const TAIL: usize = 16;
/// Bytes of an error's body that are kept for the message.
const SAMPLE: usize = 300;

/// A request as it stands on the wire, and how the body of a complete answer ends.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Head and body.
    pub(crate) bytes: Bytes,
    /// The end of the terminal event, or of the JSON object; at most 16 bytes.
    pub(crate) ends_with: &'static [u8],
}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; READ_MAX].into_boxed_slice() })
    }

    /// Sends the request and reads its answer to the end; returns the bytes of the body.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Result<u64> {
        let mut answer = self.begin(request).await?;
        self.finish(request, &mut answer).await
    }

    /// Sends the request and reads to the first byte of the body.
    pub(crate) async fn begin(&mut self, request: &Request) -> Result<Answer> {
        self.stream.write_all(&request.bytes).await?;
        let mut answer = Answer::default();
        while answer.body_bytes == 0 && !answer.is_complete() {
            self.read(&mut answer).await?;
        }
        Ok(answer)
    }

    /// Reads what is left of an answer, and checks that nothing is missing.
    pub(crate) async fn finish(&mut self, request: &Request, answer: &mut Answer) -> Result<u64> {
        while !answer.is_complete() {
            self.read(answer).await?;
        }
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.sample));
        }
        if !answer.tail.ends_with(request.ends_with) {
            bail!("the answer ends with {:?}", String::from_utf8_lossy(&answer.tail));
        }
        Ok(answer.body_bytes)
    }

    async fn read(&mut self, answer: &mut Answer) -> Result<()> {
        let count = self.stream.read(&mut self.buffer).await?;
        if count == 0 {
            bail!("the connection was closed within an answer");
        }
        answer.feed(&self.buffer[..count])
    }
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    state: State,
    /// The line that is being read: of the head, or a chunk's size.
    line: Vec<u8>,
    status: u16,
    body_bytes: u64,
    tail: Vec<u8>,
    sample: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Status,
    Headers(Framing),
    Counted(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Complete,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Framing {
    #[default]
    Unknown,
    Length(u64),
    Chunked,
}

impl Answer {
    fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    fn feed(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            self.state = match self.state {
                State::Complete => bail!("{} bytes after the end of an answer", data.len()),
                State::Counted(left) => match left - self.body(&mut data, left) {
                    0 => State::Complete,
                    left => State::Counted(left),
                },
                State::Chunk(left) => match left - self.body(&mut data, left) {
                    0 => State::ChunkEnd,
                    left => State::Chunk(left),
                },
                state => {
                    let Some(rest) = self.line(data) else { return Ok(()) };
                    data = rest;
                    let next = self.after_line(state)?;
                    self.line.clear();
                    next
                }
            };
        }
        Ok(())
    }

    /// Takes up to `left` bytes of the body; returns how many.
    fn body(&mut self, data: &mut &[u8], left: u64) -> u64 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        let (piece, rest) = data.split_at(count);
        *data = rest;
        self.body_bytes += piece.len() as u64;
        if self.status != 200 && self.sample.len() < SAMPLE {
            self.sample.extend_from_slice(&piece[..piece.len().min(SAMPLE)]);
        }
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        piece.len() as u64
    }

    /// Completes the line with what `data` begins with; `None` if its end is not there yet.
    fn line<'a>(&mut self, data: &'a [u8]) -> Option<&'a [u8]> {
        let Some(at) = memchr::memchr(b'\n', data) else {
            self.line.extend_from_slice(data);
            return None;
        };
        self.line.extend_from_slice(&data[..at]);
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Some(&data[at + 1..])
    }

    fn after_line(&mut self, state: State) -> Result<State> {
        let line = std::str::from_utf8(&self.line)?;
        Ok(match state {
            State::Status => {
                let Some(status) = line.split(' ').nth(1).and_then(|status| status.parse().ok()) else {
                    bail!("no status line: {line}");
                };
                self.status = status;
                State::Headers(Framing::Unknown)
            }
            State::Headers(framing) if line.is_empty() => match framing {
                Framing::Length(0) => State::Complete,
                Framing::Length(length) => State::Counted(length),
                Framing::Chunked => State::ChunkSize,
                Framing::Unknown => bail!("an answer without a length"),
            },
            State::Headers(framing) => State::Headers(header(line)?.unwrap_or(framing)),
            State::ChunkSize => match u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)? {
                0 => State::Trailers,
                size => State::Chunk(size),
            },
            State::ChunkEnd => State::ChunkSize,
            State::Trailers if line.is_empty() => State::Complete,
            other => other,
        })
    }
}

/// What a header says about the body's framing.
fn header(line: &str) -> Result<Option<Framing>> {
    let Some((name, value)) = line.split_once(':') else { bail!("no header: {line}") };
    Ok(if name.eq_ignore_ascii_case("content-length") {
        Some(Framing::Length(value.trim().parse()?))
    } else if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
        Some(Framing::Chunked)
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the answer cut into pieces of this size.
    fn read(text: &str, size: usize) -> Result<Answer> {
        let mut answer = Answer::default();
        text.as_bytes().chunks(size).try_for_each(|piece| answer.feed(piece))?;
        Ok(answer)
    }

    #[test]
    fn any_cutting_reads_the_same() {
        let counted = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789";
        let chunked =
            "HTTP/1.1 429 Slow\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x\r\n0123456789\r\n0\r\n\r\n";
        for size in 1..chunked.len() {
            let answer = read(counted, size).unwrap();
            assert_eq!((answer.is_complete(), answer.status, answer.body_bytes), (true, 200, 20), "{size}");
            assert_eq!(answer.tail, b"4567890123456789", "{size}");
            let answer = read(chunked, size).unwrap();
            assert_eq!((answer.is_complete(), answer.status, answer.body_bytes), (true, 429, 13), "{size}");
            assert_eq!(answer.sample, b"abc0123456789", "{size}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "hello\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert!(read(text, 1_000).is_err(), "{text}");
        }
        assert!(!read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", 7).unwrap().is_complete());
    }
}
