//! Questions on all four wires, and their answers.

use super::{CLIENT_KEY, MODEL, send, try_send};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A client's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Messages,
    Chat,
    Responses,
    Gemini,
}

pub(crate) const WIRES: [Wire; 4] = [Wire::Messages, Wire::Chat, Wire::Responses, Wire::Gemini];

/// A question that is not sent yet.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    address: SocketAddr,
    wire: Wire,
    text: String,
    model: String,
    key: String,
    max: Option<u64>,
    headers: Vec<(&'static str, String)>,
}

impl Ask {
    /// A question as chat completions are asked.
    pub(crate) fn at(address: SocketAddr, text: &str) -> Self {
        Self::on(address, Wire::Chat, text)
    }

    pub(crate) fn on(address: SocketAddr, wire: Wire, text: &str) -> Self {
        let (model, key) = (MODEL.to_owned(), CLIENT_KEY.to_owned());
        Self { address, wire, text: text.to_owned(), model, key, max: None, headers: Vec::new() }
    }

    pub(crate) fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Asks for no more than so many tokens.
    pub(crate) fn max(self, tokens: u64) -> Self {
        Self { max: Some(tokens), ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn request(&self, stream: bool) -> Request<Full<Bytes>> {
        let Self { wire, text, model, key, .. } = self;
        let turn = json!([{"role": "user", "content": text}]);
        let (path, mut body, (name, value)) = match wire {
            Wire::Messages => (
                "/v1/messages".to_owned(),
                json!({"model": model, "max_tokens": 100, "stream": stream, "messages": turn}),
                ("x-api-key", key.clone()),
            ),
            Wire::Chat => (
                "/v1/chat/completions".to_owned(),
                json!({"model": model, "stream": stream, "messages": turn}),
                ("authorization", format!("Bearer {key}")),
            ),
            Wire::Responses => (
                "/v1/responses".to_owned(),
                json!({"model": model, "stream": stream, "input": turn}),
                ("authorization", format!("Bearer {key}")),
            ),
            Wire::Gemini => (
                format!(
                    "/v1beta/models/{model}:{}",
                    if stream { "streamGenerateContent?alt=sse" } else { "generateContent" }
                ),
                json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
                ("x-goog-api-key", key.clone()),
            ),
        };
        match (self.max, wire) {
            (None, _) => {}
            (Some(max), Wire::Messages) => body["max_tokens"] = max.into(),
            (Some(max), Wire::Chat) => body["max_completion_tokens"] = max.into(),
            (Some(max), Wire::Responses) => body["max_output_tokens"] = max.into(),
            (Some(max), Wire::Gemini) => body["generationConfig"] = json!({ "maxOutputTokens": max }),
        }
        let mut request = Request::post(path).header("host", "gateway").header(name, value);
        request = request.header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Full::from(body.to_string())).unwrap()
    }

    /// Asks for a stream and waits for its head.
    pub(crate) async fn open(self) -> Open {
        self.send(true).await
    }

    /// Asks for a stream and reads it to its end.
    pub(crate) async fn stream(self) -> Reply {
        self.send(true).await.rest().await
    }

    /// Asks for a whole answer and waits for its head.
    pub(crate) async fn begin_whole(self) -> Open {
        self.send(false).await
    }

    /// Asks for a whole answer.
    pub(crate) async fn whole(self) -> Reply {
        self.send(false).await.rest().await
    }

    /// Asks a gateway that may be gone, and reads what comes to its end.
    pub(crate) async fn try_ask(self, stream: bool) -> Option<Reply> {
        let response = try_send(self.address, self.request(stream)).await?;
        Some(self.opened(response).rest().await)
    }

    async fn send(self, stream: bool) -> Open {
        let response = send(self.address, self.request(stream)).await;
        self.opened(response)
    }

    fn opened(self, response: Response<Incoming>) -> Open {
        let (parts, body) = response.into_parts();
        Open { wire: self.wire, status: parts.status.as_u16(), headers: parts.headers, body, bytes: BytesMut::new() }
    }
}

/// An answer that is being read; dropping it is leaving.
pub(crate) struct Open {
    wire: Wire,
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Incoming,
    bytes: BytesMut,
}

impl Open {
    /// Reads a little.
    pub(crate) async fn next(&mut self) {
        if let Some(Ok(frame)) = self.body.frame().await {
            self.bytes.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Reads until these words have come.
    pub(crate) async fn until(&mut self, words: &str) {
        while !String::from_utf8_lossy(&self.bytes).contains(words) {
            let frame = self.body.frame().await.expect("the stream goes on").expect("the stream is whole");
            self.bytes.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Reply {
        let mut broke = false;
        while let Some(frame) = self.body.frame().await {
            match frame {
                Ok(frame) => self.bytes.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => broke = true,
            }
        }
        Reply { wire: self.wire, status: self.status, headers: self.headers, bytes: self.bytes.freeze(), broke }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    wire: Wire,
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// The connection was cut.
    pub(crate) broke: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The text that the model said, from a stream or a whole answer.
    pub(crate) fn text(&self) -> String {
        let body = std::str::from_utf8(&self.bytes).unwrap();
        let events: Vec<Value> =
            body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        if events.is_empty() {
            return self.said(&serde_json::from_str(body).unwrap_or_default());
        }
        events.iter().map(|event| self.piece(event)).collect()
    }

    fn piece(&self, event: &Value) -> String {
        let piece = match self.wire {
            Wire::Messages => &event["delta"]["text"],
            Wire::Chat => &event["choices"][0]["delta"]["content"],
            Wire::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
            Wire::Responses => &Value::Null,
            Wire::Gemini => &event["candidates"][0]["content"]["parts"][0]["text"],
        };
        piece.as_str().unwrap_or_default().to_owned()
    }

    fn said(&self, body: &Value) -> String {
        let text = match self.wire {
            Wire::Messages => &body["content"][0]["text"],
            Wire::Chat => &body["choices"][0]["message"]["content"],
            Wire::Responses => &body["output"][0]["content"][0]["text"],
            Wire::Gemini => &body["candidates"][0]["content"]["parts"][0]["text"],
        };
        text.as_str().unwrap_or_default().to_owned()
    }
}
