//! The routes beside chat: text completions, pictures, sound, verdicts and rankings.

use hyper::Request;
use serde_json::{Value, json};
use testkit::Upstream;

use crate::client::{Answer, exchange, post};

async fn asked(path: &str, body: &Value) -> Answer {
    exchange(&Upstream::local(), post(path, body.to_string())).await
}

/// A form's answer: fields, and a file under `file`.
async fn uploaded(path: &str, file: &str, fields: &[(&str, &str)]) -> Answer {
    let part = |(name, value): &(&str, &str)| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let head = format!("--B\r\nContent-Disposition: form-data; name=\"{file}\"; filename=\"f\"\r\n\r\n");
    let body = format!("{}{head}\u{1}\r\n--\r\n--B--\r\n", fields.iter().map(part).collect::<String>());
    let request = Request::post(path).header("content-type", "multipart/form-data; boundary=B");
    exchange(&Upstream::local(), request.body(bytes::Bytes::from(body).into()).unwrap()).await
}

#[tokio::test]
async fn a_text_completion_streamed_adds_up_to_the_whole() {
    let body = json!({ "model": "m", "prompt": ["[[say all aboard the night train]]"] });
    let whole = asked("/v1/completions", &body).await.json();
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["text"]),
        (&json!("text_completion"), &json!("all aboard the night train"))
    );
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({ "include_usage": true });
    let events = asked("/v1/completions", &streamed).await.events();
    let said: String = events.iter().filter_map(|(_, event)| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, "all aboard the night train");
    assert_eq!(events.last().unwrap().1, json!("[DONE]"));
    let usage = |usage: &Value| usage["completion_tokens"].as_u64();
    assert_eq!(usage(&events[events.len() - 2].1["usage"]), usage(&whole["usage"]));
}

#[tokio::test]
async fn pictures_come_by_number_or_piece_by_piece() {
    let whole = asked("/v1/images/generations", &json!({ "model": "m", "prompt": "a cat", "n": 2 })).await.json();
    assert_eq!((whole["data"].as_array().unwrap().len(), &whole["usage"]["output_tokens"]), (2, &json!(544)));
    let fields = [("model", "m"), ("stream", "true"), ("partial_images", "2")];
    let events = uploaded("/v1/images/edits", "image", &fields).await.events();
    let names: Vec<&str> = events.iter().filter_map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names, ["image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"]);
    assert!(events.iter().all(|(name, data)| data["type"] == name.as_deref().unwrap() && data["b64_json"].is_string()));
    assert_eq!(events[2].1["usage"]["output_tokens"], 272);
}

#[tokio::test]
async fn sound_is_spoken_and_heard() {
    let answer = asked("/v1/audio/speech", &json!({ "model": "m", "input": "hello", "voice": "alloy" })).await;
    assert!(answer.body.ends_with(b"hello") && answer.header("content-type") == Some("audio/mpeg"));
    let body = json!({ "model": "m", "input": "hello", "stream_format": "sse" });
    let events = asked("/v1/audio/speech", &body).await.events();
    assert!(events[0].1["audio"].is_string() && events[1].1["usage"]["output_tokens"].is_u64(), "{events:?}");

    let path = "/v1/audio/transcriptions";
    let prompt = ("prompt", "[[say all aboard the night train]]");
    let whole = uploaded(path, "file", &[("model", "m"), prompt]).await.json();
    assert_eq!((&whole["text"], &whole["usage"]["type"]), (&json!("all aboard the night train"), &json!("tokens")));
    let events = uploaded(path, "file", &[("model", "m"), ("stream", "true"), prompt]).await.events();
    let said: String = events.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
    assert_eq!((said.as_str(), &events.last().unwrap().1["text"]), ("all aboard the night train", &whole["text"]));
    for (format, begins) in [("text", "all aboard"), ("srt", "1\n"), ("vtt", "WEBVTT"), ("verbose_json", "{")] {
        let answer = uploaded(path, "file", &[("response_format", format), prompt]).await;
        assert!(answer.text().starts_with(begins) && answer.text().contains("the night train"), "{format}");
    }
}

#[tokio::test]
async fn verdicts_and_rankings_answer_each_entry() {
    let verdicts = asked("/v1/moderations", &json!({ "model": "m", "input": ["a", "b"] })).await.json();
    assert_eq!(verdicts["results"].as_array().unwrap().len(), 2);
    let body = json!({ "model": "m", "query": "q", "documents": ["a", "b", "c"], "top_n": 2 });
    let ranking = asked("/v1/rerank", &body).await.json();
    assert_eq!(
        (ranking["results"].as_array().unwrap().len(), &ranking["results"][1]["relevance_score"]),
        (2, &json!(0.25))
    );
}

#[tokio::test]
async fn every_route_can_be_led_into_an_error() {
    let error = "[[error rate_limited]]";
    for (path, field) in [
        ("/v1/completions", "prompt"),
        ("/v1/embeddings", "input"),
        ("/v1/images/generations", "prompt"),
        ("/v1/audio/speech", "input"),
        ("/v1/moderations", "input"),
        ("/v1/rerank", "query"),
    ] {
        let answer = asked(path, &json!({ "model": "m", field: error })).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")), "{path}");
    }
    assert_eq!(uploaded("/v1/audio/translations", "file", &[("prompt", error)]).await.status, 429);
}
