//! A client of another make: hyper's, over a connection inside the process or a socket.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use testkit::{Upstream, Wire};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

pub(crate) const WIRES: [Wire; 4] = [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini];

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Whole,
    Stream,
}

pub(crate) const MODES: [Mode; 2] = [Mode::Whole, Mode::Stream];

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    tasks: JoinSet<hyper::Result<()>>,
}

/// An answer, or what came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body came to its proper end.
    pub is_whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The events of a stream: names and data.
    pub(crate) fn events(&self) -> Vec<(Option<String>, Value)> {
        events(self.text())
    }
}

/// Every event with its name; data that is no JSON is a string.
pub(crate) fn events(stream: &str) -> Vec<(Option<String>, Value)> {
    let stream = stream.replace("\r\n", "\n");
    let blocks = stream.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = field("data: ").unwrap_or_else(|| panic!("no data in {block:?}"));
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (field("event: ").map(str::to_owned), data)
        })
        .collect()
}

impl Client {
    pub(crate) async fn new(upstream: &Upstream) -> Self {
        Self::over(upstream.connect()).await
    }

    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Self { sender, tasks }
    }

    /// The head of an answer; its body is yet to come.
    pub(crate) async fn begin(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        Ok(read(self.begin(request).await?).await)
    }

    /// The connection's end, as the client saw it.
    pub(crate) async fn end(mut self) -> hyper::Result<()> {
        drop(self.sender);
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

/// Reads an answer to its end, be it a good one or not.
pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let is_whole = loop {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    Answer { status: head.status.as_u16(), headers: head.headers, body: bytes.into(), is_whole }
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("host", "upstream").header("content-type", "application/json");
    request.body(Full::new(body.into())).unwrap()
}

pub(crate) fn without_body(method: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).header("host", "upstream").body(Full::default()).unwrap()
}

/// Where a wire is asked, and what for; `words` are the user's.
pub(crate) fn ask(wire: Wire, mode: Mode, words: &str) -> Request<Full<Bytes>> {
    let (path, body) = asked(wire, mode, words);
    post(path, body.to_string())
}

pub(crate) fn asked(wire: Wire, mode: Mode, words: &str) -> (&'static str, Value) {
    let stream = mode == Mode::Stream;
    let said = json!([{ "role": "user", "content": words }]);
    match wire {
        Wire::Anthropic => {
            ("/v1/messages", json!({ "model": "m", "max_tokens": 9, "stream": stream, "messages": said }))
        }
        Wire::Chat => {
            let options = json!({ "include_usage": true });
            (
                "/v1/chat/completions",
                json!({ "model": "m", "stream": stream, "stream_options": options, "messages": said }),
            )
        }
        Wire::Responses => ("/v1/responses", json!({ "model": "m", "stream": stream, "input": said })),
        Wire::Gemini => {
            let path = match mode {
                Mode::Stream => "/v1beta/models/m:streamGenerateContent?alt=sse",
                Mode::Whole => "/v1beta/models/m:generateContent",
            };
            (path, json!({ "contents": [{ "role": "user", "parts": [{ "text": words }] }] }))
        }
    }
}

/// One exchange on a connection of its own.
pub(crate) async fn exchange(upstream: &Upstream, request: Request<Full<Bytes>>) -> Answer {
    Client::new(upstream).await.send(request).await.unwrap()
}
