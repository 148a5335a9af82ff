//! Requests read off a connection, byte by byte as they are.

use std::io;
use std::pin::pin;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;

use crate::received::Received;

/// Most bytes of a request's head.
const HEAD_MAX: usize = 256 << 10;
/// Most bytes of a request's body.
const BODY_MAX: usize = 256 << 20;

/// What a connection runs over.
pub(crate) enum Io {
    Tcp(TcpStream),
    Local(DuplexStream),
}

/// A request as it was read.
pub(crate) struct Request {
    /// Request line and headers, without the blank line at their end.
    head: String,
    /// The body, without its transfer encoding.
    pub(crate) body: Bytes,
    at_connection: u64,
}

impl Request {
    fn first_line(&self) -> impl Iterator<Item = &str> {
        self.head.split("\r\n").next().unwrap_or_default().split(' ')
    }

    pub(crate) fn method(&self) -> &str {
        self.first_line().next().unwrap_or_default()
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.first_line().nth(1).unwrap_or_default()
    }

    /// The path, and the query without its `?`.
    pub(crate) fn path_and_query(&self) -> (&str, &str) {
        self.target().split_once('?').unwrap_or((self.target(), ""))
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.split("\r\n").skip(1);
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
    }

    /// The first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// For the log.
    pub(crate) fn received(&self) -> Received {
        let (path, query) = self.path_and_query();
        Received {
            method: self.method().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: self.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: self.body.clone(),
            at_connection: self.at_connection,
        }
    }
}

/// A connection and what was read ahead.
pub(crate) struct Conn {
    io: Io,
    ahead: BytesMut,
    number: u64,
}

impl Conn {
    pub(crate) fn new(io: Io, number: u64) -> Self {
        Self { io, ahead: BytesMut::with_capacity(8 << 10), number }
    }

    /// The next request; `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.ahead, b"\r\n\r\n") {
                break end;
            }
            if self.ahead.len() > HEAD_MAX {
                return Err(bad("the head is too large"));
            }
            if self.fill().await? == 0 {
                return if self.ahead.is_empty() { Ok(None) } else { Err(bad("the head is cut")) };
            }
        };
        let head = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
        self.ahead.advance(end + 4);
        let mut request = Request { head, body: Bytes::new(), at_connection: self.number };
        if request.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let coding = request.header("transfer-encoding");
        request.body = if coding.is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
            self.chunked().await?
        } else {
            let length = request.header("content-length").map_or(Ok(0), str::parse);
            self.take(length.map_err(|_| bad("the content-length is no number"))?).await?
        };
        Ok(Some(request))
    }

    async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        if length > BODY_MAX {
            return Err(bad("the body is too large"));
        }
        self.ahead.reserve(length.saturating_sub(self.ahead.len()));
        while self.ahead.len() < length {
            if self.fill().await? == 0 {
                return Err(bad("the body is cut"));
            }
        }
        Ok(self.ahead.split_to(length).freeze())
    }

    async fn chunked(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk's size is no number"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            if body.len() + size > BODY_MAX {
                return Err(bad("the body is too large"));
            }
            body.extend_from_slice(&self.take(size).await?);
            self.take(2).await?;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.ahead, b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.ahead.len() > HEAD_MAX {
                return Err(bad("a line is too long"));
            }
            if self.fill().await? == 0 {
                return Err(bad("a line is cut"));
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        match &mut self.io {
            Io::Tcp(stream) => stream.read_buf(&mut self.ahead).await,
            Io::Local(stream) => stream.read_buf(&mut self.ahead).await,
        }
    }

    /// Ready when the client has left; what it sends meanwhile is kept for later. One that sends more than a request may
    /// hold counts as gone.
    pub(crate) async fn left(&mut self) {
        while self.ahead.len() <= HEAD_MAX + BODY_MAX && self.fill().await.is_ok_and(|count| count > 0) {}
    }

    /// Waits for something, unless the client leaves before; false if it does.
    pub(crate) async fn while_here(&mut self, waits: impl Future<Output = ()>) -> bool {
        let mut waits = pin!(waits);
        tokio::select! {
            biased;
            () = &mut waits => true,
            () = self.left() => false,
        }
    }

    /// Writes and flushes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.io {
            Io::Tcp(stream) => stream.write_all(bytes).await,
            Io::Local(stream) => stream.write_all(bytes).await,
        }
    }

    /// Ends with a TCP reset; inside the process, with a plain close.
    pub(crate) fn reset(self) {
        if let Io::Tcp(stream) = &self.io {
            // A close with a linger of zero is a reset.
            let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
