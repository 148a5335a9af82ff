//! Pictures and sound: forms that keep their bytes, answers that are no text, and streams with a last event of their own.

use crate::support::{Builder, CLIENT_KEY, MODEL, gateway, read, request, scripted};
use bytes::Bytes;
use domain::{
    format::{ApiFormat, Feature, RequestType, Status, UsageSource},
    money::NanoUsd,
    price::TokenCounts,
};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use testkit::{Reply, Upstream};

const BOUNDARY: &str = "----form7MA4YWxk";

/// A form of these parts: headers beside the name, and value.
fn form(parts: &[(&str, &[u8])]) -> Bytes {
    let mut body = Vec::new();
    for (head, value) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

fn upload(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("authorization", format!("Bearer {CLIENT_KEY}"))
        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(Full::new(body.into()))
        .unwrap()
}

const PICTURE: (&str, &[u8]) =
    ("name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: image/png", b"\x89PNG\r\n\x1a\n\0\xff--");
const SOUND: (&str, &[u8]) = ("name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg", b"ID3\0\r\n\xff\xfb");
const NAME: (&str, &[u8]) = ("name=\"model\"", MODEL.as_bytes());
const SENT_NAME: (&str, &[u8]) = ("name=\"model\"", b"up-0");

fn answer(kind: &str, body: impl Into<Bytes>) -> Reply {
    Reply::raw(200, &[("content-type", kind)], body)
}

/// Each request has a price of its own, as pictures and sound mostly do.
fn priced(upstream: &Upstream) -> Builder {
    let price = |builder: &mut Builder| builder.parts.global_models[0].price_per_request = Some(NanoUsd(7));
    gateway().upstream(ApiFormat::OpenAi, upstream).with(price)
}

fn counts(input: u64, output: u64) -> TokenCounts {
    TokenCounts { input, output, ..TokenCounts::default() }
}

#[tokio::test(start_paused = true)]
async fn a_form_keeps_its_bytes_but_for_the_model() {
    let edited = r#"{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"output_tokens":90,"total_tokens":140}}"#;
    let heard = r#"{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":4,"total_tokens":18}}"#;
    let timed = r#"{"text":"hello","usage":{"type":"duration","seconds":3}}"#;
    let subtitles = "1\n00:00:00,000 --> 00:00:01,000\nhello\n";
    let (tokens, none) = (UsageSource::Upstream, UsageSource::None);
    let prompt: (&str, &[u8]) = ("name=\"prompt\"", b"a hat");
    let json = "application/json";
    for (path, parts, kind, body, request_type, metered) in [
        ("images/edits", [PICTURE, NAME, prompt], json, edited, RequestType::Image, (counts(50, 90), tokens)),
        ("audio/transcriptions", [SOUND, NAME, prompt], json, heard, RequestType::Audio, (counts(14, 4), tokens)),
        ("audio/transcriptions", [NAME, SOUND, prompt], json, timed, RequestType::Audio, (counts(0, 0), none)),
        (
            "audio/translations",
            [prompt, SOUND, NAME],
            "text/plain",
            subtitles,
            RequestType::Audio,
            (counts(0, 0), none),
        ),
    ] {
        let upstream = scripted([answer(kind, body)]);
        let gw = priced(&upstream).start();
        let path = format!("/v1/{path}");
        let got = gw.send(upload(&path, form(&parts))).await;
        assert_eq!(
            (got.status.as_u16(), got.text().as_str(), got.header("content-type")),
            (200, body, Some(kind)),
            "{path}"
        );
        let sent = &upstream.requests()[0];
        let renamed = parts.map(|part| if part == NAME { SENT_NAME } else { part });
        assert_eq!((sent.path.as_str(), &sent.body), (path.as_str(), &form(&renamed)));
        assert_eq!(sent.header("content-type"), Some(&*format!("multipart/form-data; boundary={BOUNDARY}")));
        let usage = gw.settled().usage;
        assert_eq!((usage.request_type, usage.status), (request_type, Status::Completed), "{path}");
        assert_eq!((usage.tokens, usage.usage_source), metered, "{path}");
        assert_eq!((usage.cost.request, usage.metadata.edits), (NanoUsd(7), vec!["model".to_owned()]), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_without_a_model_names_the_vendors_default() {
    let upstream = scripted([answer("application/json", r#"{"data":[]}"#)]);
    let gw = priced(&upstream).with(|builder| builder.parts.global_models[0].name = "dall-e-2".to_owned()).start();
    let got = gw.send(upload("/v1/images/edits", form(&[PICTURE]))).await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text());
    assert_eq!(upstream.requests()[0].body, form(&[SENT_NAME, PICTURE]));

    let got = gw.send(upload("/v1/audio/transcriptions", form(&[SOUND]))).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some("model")));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_may_have_parts_of_a_form_taken_out() {
    let upstream = scripted([answer("application/json", r#"{"data":[]}"#)]);
    let strips = |builder: &mut Builder| {
        builder.parts.endpoints[0].config.strip_params = vec!["user".to_owned(), "model".to_owned()];
    };
    let gw = priced(&upstream).with(strips).start();
    let user: (&str, &[u8]) = ("name=\"user\"", b"ann");
    gw.send(upload("/v1/images/edits", form(&[user, PICTURE, NAME, user]))).await;
    assert_eq!(upstream.requests()[0].body, form(&[PICTURE, SENT_NAME]));
}

#[tokio::test(start_paused = true)]
async fn a_form_that_two_would_read_differently_goes_nowhere() {
    let upstream = scripted([]);
    let gw = priced(&upstream).start();
    let good = form(&[SOUND, NAME]);
    let twice = upload("/v1/audio/transcriptions", form(&[NAME, SOUND, ("name=\"model\"", b"other")]));
    let cut = upload("/v1/audio/transcriptions", good.slice(..good.len() - 6));
    let mut typed = upload("/v1/audio/transcriptions", good);
    typed.headers_mut().append("content-type", "application/json".parse().unwrap());
    for (request, param) in [(twice, Some("model")), (cut, None), (typed, Some("content-type"))] {
        let got = gw.send(request).await;
        assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, param), "{}", got.text());
    }
    assert!(upstream.requests().is_empty() && gw.kept.opened.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pictures_to_edit_may_come_as_json_and_need_no_eyes() {
    let upstream = scripted([answer("application/json", r#"{"data":[]}"#)]);
    let blind = |builder: &mut Builder| {
        builder.parts.models[0].supports.insert(Feature::Vision, false);
    };
    let gw = priced(&upstream).with(blind).quota(NanoUsd(1_000_000_000)).start();
    let body = json!({ "model": MODEL, "prompt": "a hat", "images": [{ "image_url": "data:image/png;base64,AAAA" }] });
    let got = gw.post("/v1/images/edits", &body).await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text());
    // Half a token for each byte of the prompt, 64 for it, the setting's for the picture; any length of answer.
    let picture = i64::try_from(domain::catalog::Settings::default().image_token_estimate).unwrap();
    let held = gw.kept.opened.lock().unwrap()[0].hold;
    assert_eq!(held, NanoUsd((2 + 64 + picture) * 3_000 + 16_384 * 15_000 + 2 + 7));
}

#[tokio::test(start_paused = true)]
async fn speech_passes_as_it_is_and_is_billed_by_its_characters() {
    let audio: &[u8] = b"ID3\x04\0\xff\xfb\x90\0{\"usage\":1}";
    // 13 characters, of which one is of two bytes and one is an escape.
    let body = format!(r#"{{"model":"{MODEL}","input":"\u00dcber alles! ä","voice":"alloy"}}"#);
    let upstream = scripted([answer("audio/mpeg", audio)]);
    let gw = priced(&upstream).quota(NanoUsd(1_000_000_000)).start();
    let got = gw.send(request(Method::POST, "/v1/audio/speech", body.clone())).await;
    assert_eq!((got.status.as_u16(), &got.body[..], got.header("content-type")), (200, audio, Some("audio/mpeg")));
    assert_eq!(upstream.requests()[0].body, body.replace(MODEL, "up-0"));
    let usage = gw.settled().usage;
    assert_eq!((usage.request_type, usage.status, usage.is_stream), (RequestType::Audio, Status::Completed, false));
    assert_eq!((usage.tokens, usage.usage_source), (counts(4, 0), UsageSource::Estimated));
    assert_eq!(usage.cost.total, NanoUsd(4 * 3_000 + 7));
    let held = gw.kept.opened.lock().unwrap()[0].hold;
    assert!(usage.cost.total <= held && held < NanoUsd(100 * 3_000), "{held}: nothing is held for what is spoken");
}

/// A stream of named events.
fn events(list: &[(&str, &str)]) -> String {
    let event = |(name, more): &(&str, &str)| format!("event: {name}\ndata: {{\"type\":\"{name}\",{more}}}\n\n");
    list.iter().map(event).collect()
}

const USAGE: &str = r#""usage":{"input_tokens":9,"output_tokens":30,"total_tokens":39}"#;

/// A path, a body that asks for a stream, and the events of its answer.
fn streams() -> Vec<(&'static str, Request<Full<Bytes>>, String)> {
    let streamed: (&str, &[u8]) = ("name=\"stream\"", b"true");
    let post = |path: &str, body: &serde_json::Value| request(Method::POST, path, body.to_string());
    let picture = r#""b64_json":"AAAA""#;
    let drawn = json!({ "model": MODEL, "prompt": "a cat", "stream": true, "partial_images": 1 });
    let spoken = json!({ "model": MODEL, "input": "hello", "voice": "alloy", "stream_format": "sse" });
    vec![
        (
            "generation",
            post("/v1/images/generations", &drawn),
            events(&[
                ("image_generation.partial_image", picture),
                ("image_generation.completed", &format!("{picture},{USAGE}")),
            ]),
        ),
        (
            "edit",
            upload("/v1/images/edits", form(&[PICTURE, NAME, streamed])),
            events(&[("image_edit.partial_image", picture), ("image_edit.completed", &format!("{picture},{USAGE}"))]),
        ),
        (
            "transcription",
            upload("/v1/audio/transcriptions", form(&[SOUND, NAME, streamed])),
            events(&[
                ("transcript.text.delta", r#""delta":"hello""#),
                ("transcript.text.done", &format!(r#""text":"hello",{USAGE}"#)),
            ]),
        ),
        (
            "speech",
            post("/v1/audio/speech", &spoken),
            events(&[("speech.audio.delta", r#""audio":"AAAA""#), ("speech.audio.done", USAGE)]),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_media_closes_with_its_own_last_event() {
    for (what, request, sent) in streams() {
        // Some servers add the end that chat has.
        let sent = if what == "transcription" { sent + "data: [DONE]\n\n" } else { sent };
        let upstream = scripted([answer("text/event-stream", sent.clone())]);
        let gw = priced(&upstream).start();
        let got = gw.send(request).await;
        assert_eq!((got.status.as_u16(), got.text()), (200, sent), "{what}");
        let body = String::from_utf8_lossy(&upstream.requests()[0].body).into_owned();
        assert!(!body.contains("include_usage"), "{what}: {body}");
        let usage = gw.settled().usage;
        assert_eq!((usage.status, usage.is_stream), (Status::Completed, true), "{what}");
        assert_eq!((usage.tokens, usage.usage_source), (counts(9, 30), UsageSource::Upstream), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_after_the_last_event_has_all_of_it() {
    for (what, request, sent) in streams() {
        let upstream = scripted([answer("text/event-stream", sent.clone()).chunked_at([sent.len()]).stall_after(1)]);
        let gw = priced(&upstream).start();
        let mut body = gw.open(request).await.into_body();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            got.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        drop(body);
        gw.idle().await;
        assert_eq!(gw.settled().usage.status, Status::Completed, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_media_that_breaks_ends_in_an_error() {
    for (what, request, sent) in streams() {
        let first = sent.find("\n\n").unwrap() + 2;
        let upstream = scripted([answer("text/event-stream", sent[..first].to_owned())]);
        let gw = priced(&upstream).start();
        let got = read(gw.open(request).await).await;
        assert!(
            got.text().starts_with(&sent[..first]) && got.text()[first..].contains("\"error\""),
            "{what}: {}",
            got.text()
        );
        let usage = gw.settled().usage;
        assert_eq!((usage.status, usage.cost.request), (Status::Failed, NanoUsd(7)), "{what}");
        let billed =
            if what == "speech" { (counts(2, 0), UsageSource::Estimated) } else { (counts(0, 0), UsageSource::None) };
        assert_eq!((usage.tokens, usage.usage_source), billed, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_follows_the_first_is_billed_too() {
    let usage =
        |output: u64| format!(r#""usage":{{"input_tokens":9,"output_tokens":{output},"total_tokens":{}}}"#, 9 + output);
    let sent = events(&[("image_generation.completed", &usage(30)), ("image_generation.completed", &usage(60))]);
    let upstream = scripted([answer("text/event-stream", sent.clone())]);
    let gw = priced(&upstream).start();
    let got =
        gw.post("/v1/images/generations", &json!({ "model": MODEL, "prompt": "a", "n": 2, "stream": true })).await;
    assert_eq!(got.text(), sent);
    let settled = gw.kept.settled.lock().unwrap();
    let outputs: Vec<u64> = settled.iter().map(|settled| settled.usage.tokens.output).collect();
    assert_eq!(outputs, [30, 60], "the later settlement replaces the first");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_stream_is_not_streamed() {
    let upstream = scripted([]);
    let gw = priced(&upstream).start();
    let got = gw.send(upload("/v1/audio/translations", form(&[SOUND, NAME, ("name=\"stream\"", b"true")]))).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some("stream")));
    let got = gw.post("/v1/moderations", &json!({ "model": MODEL, "input": "x", "stream": true })).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some("stream")));
    assert!(upstream.requests().is_empty());
}
