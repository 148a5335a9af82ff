//! The upstream fault matrix: each way to fail, in each phase, streamed and whole, on every wire, with its verdict, its
//! record, its effect on the key's health and what the client gets. The cells stand in [`cells`].

mod cells;

use crate::{
    endings::closing_mark,
    support::{Builder, Gateway, Got, WIRES, ask, gateway, id, scripted},
};
use cells::{Cell, Comes, Effect, Fault, Own, cells, sockets};
use domain::{
    format::{ApiFormat, Family, Status, UsageSource},
    money::NanoUsd,
    ports::Clock as _,
    records::{AttemptOutcome, CandidateRow, Settled},
    schedule::{breaker::State, health::KeyState},
};
use serde_json::Value;
use std::time::Duration;
use testkit::{Reply, Upstream};
use tokio::net::TcpListener;

/// What no answer of a cell exceeds, so that an endless one ends soon.
const RESPONSE_MAX: u64 = 1024 * 1024;

fn healthy() -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2)
}

/// What became of one request against a failing candidate.
struct Played {
    got: Got,
    settled: Settled,
    /// The failing key's state.
    state: KeyState,
    /// Requests that reached the failing upstream, and what it sent for each.
    sent: Vec<bytes::Bytes>,
    /// Requests that reached the healthy one.
    others: usize,
}

/// Lets a cell's upstream of this format answer one request of a client; with `another`, a healthy candidate of the client's
/// own comes after it.
async fn play(
    name: &str,
    (client, format): (ApiFormat, ApiFormat),
    stream: bool,
    fault: Fault,
    another: bool,
) -> Played {
    let serving = scripted([healthy()]);
    let bounded = |builder: Builder| {
        builder.with(|builder| {
            builder.bounds.max_response_bytes = RESPONSE_MAX;
            builder.bounds.total_timeout = Duration::from_hours(2); // so that no cell meets it
        })
    };
    let mut mute = None;
    let (failing, builder) = match fault {
        Fault::Reply(reply) => {
            let failing = Upstream::local().always(*reply);
            let builder = gateway().upstream(format, &failing);
            (failing, builder)
        }
        Fault::OnSocket(reply) => {
            let failing = Upstream::start().await.unwrap().always(*reply);
            let builder = gateway().candidate(format, &failing.base_url()).allow("127.0.0.0/8");
            (failing, builder)
        }
        Fault::Refuses => {
            let failing = Upstream::start().await.unwrap();
            failing.refuse().await;
            let builder = gateway().candidate(format, &failing.base_url()).allow("127.0.0.0/8");
            (failing, builder)
        }
        Fault::MuteAtTls => {
            let listener = mute.insert(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let url = format!("https://{}", listener.local_addr().unwrap());
            (Upstream::local(), gateway().candidate(format, &url).allow("127.0.0.0/8"))
        }
    };
    let builder = if another { builder.upstream(client, &serving) } else { builder };
    let gw = bounded(builder).start();
    let (path, body) = ask(client, stream);

    let got = gw.post(&path, &body).await;

    gw.idle().await;
    assert_eq!(gw.ledger.standing(crate::support::account()).held, NanoUsd::ZERO, "{name}: nothing is held any more");
    let settled = gw.settled();
    let state = state(&gw);
    Played { got, settled, state, sent: failing.sent_bytes(), others: serving.requests().len() }
}

/// What is known of the failing key, which is free again.
fn state(gw: &Gateway) -> KeyState {
    let key = &gw.catalog.routes(id(3))[0].key;
    assert_eq!(gw.relay.health().shows(key, gw.clock.unix_us()).in_flight, 0, "slots come back");
    let states = gw.relay.health().states();
    states.into_iter().find(|(key, _)| *key == id(102)).map(|(_, state)| state).unwrap_or_default()
}

/// Plays a cell with and without another candidate.
async fn check(client: ApiFormat, format: ApiFormat, stream: bool, cell: Cell) {
    let name = format!("{client} on {format}, {}: {}", if stream { "stream" } else { "whole" }, cell.name);
    let same_bytes = cell.same_bytes && client == format;
    for another in [true, false] {
        let name = format!("{name}, {}", if another { "another left" } else { "alone" });
        let played = play(&name, (client, format), stream, cell.fault.clone(), another).await;
        match &cell.comes {
            Comes::Served => {
                served(&name, &played, same_bytes);
                continue;
            }
            Comes::Next(_) | Comes::NextOrItsOwn(_) if another => moved_on(&name, &played),
            Comes::Next(own) => own_error(&name, client, &played, own),
            Comes::NextOrItsOwn(status) | Comes::ItsOwn(status) => {
                // Converted, it is the class of the refusal that the client's dialect has a status for.
                let status = if client != format && *status == 422 { 400 } else { *status };
                handed_on(&name, client, &played, status, same_bytes);
            }
            Comes::Broken => broken(&name, client, stream, &played, same_bytes),
        }
        let rows: Vec<&CandidateRow> = played.settled.candidates.iter().filter(|row| row.key_id == id(102)).collect();
        let retried = matches!(cell.comes, Comes::Next(_)) && ["transient", "overloaded"].contains(&cell.verdict());
        let tries = if !retried {
            1
        } else if another {
            2
        } else {
            4
        };
        assert_eq!(rows.len(), tries, "{name}: attempts");
        for (row, number) in rows.iter().zip(0..) {
            assert_eq!((row.candidate_index, row.retry_index), (0, number), "{name}");
            assert_eq!(row.outcome, AttemptOutcome::Failed, "{name}");
            assert_eq!(row.skip_reason.as_deref(), Some(cell.recorded), "{name}");
            assert_eq!(row.status_code, cell.status, "{name}");
            assert!(row.error_message.as_deref().is_some_and(|message| !message.is_empty()), "{name}: says why");
        }
        let last = rows.last().unwrap();
        let deadline = cell.recorded.split_once(": ").map(|(_, deadline)| deadline);
        assert_eq!(played.settled.usage.metadata.deadline.as_deref(), deadline, "{name}");
        effect(&name, &played.state, &cell.effect, last.finished_at);
    }
}

/// The client has an answer without a flaw.
fn served(name: &str, played: &Played, same_bytes: bool) {
    assert_eq!((played.got.status.as_u16(), played.got.aborted), (200, false), "{name}");
    assert!(!same_bytes || played.got.body == played.sent.concat(), "{name}: the very bytes");
    assert_eq!((played.others, played.settled.candidates.len()), (0, 1), "{name}");
    assert_eq!(played.settled.usage.status, Status::Completed, "{name}");
    assert_eq!(played.settled.candidates[0].outcome, AttemptOutcome::Success, "{name}");
    assert_eq!(outcomes(&played.state, i64::MAX), [true], "{name}: health");
}

/// The other candidate served; the client and its bill know of nothing.
fn moved_on(name: &str, played: &Played) {
    assert_eq!((played.got.status.as_u16(), played.others), (200, 1), "{name}: {}", played.got.text());
    let Settled { usage, candidates, .. } = &played.settled;
    assert_eq!((usage.status, usage.provider.as_str()), (Status::Completed, "provider-1"), "{name}");
    assert_eq!((usage.tokens.input, usage.tokens.output), (12, 2), "{name}: only the answer is billed");
    assert_eq!((usage.status_code, usage.error_type.as_deref()), (200, None), "{name}");
    assert_eq!(candidates.last().unwrap().outcome, AttemptOutcome::Success, "{name}");
}

/// Nobody answered: the gateway's own error, in the client's dialect.
fn own_error(name: &str, format: ApiFormat, played: &Played, own: &Own) {
    let (status, recorded, kinds, retry_after) = match own {
        Own::Upstream => (502, "upstream", ["api_error", "server_error", "UNAVAILABLE"], None),
        Own::Timeout => (504, "timeout", ["timeout_error", "server_error", "DEADLINE_EXCEEDED"], None),
        Own::RateLimited(after) => {
            (429, "rate_limited", ["rate_limit_error", "requests", "RESOURCE_EXHAUSTED"], Some(*after))
        }
        Own::Overloaded(after) => {
            let status = if format == ApiFormat::Claude { 529 } else { 503 };
            (status, "overloaded", ["overloaded_error", "server_error", "UNAVAILABLE"], *after)
        }
    };
    let got = &played.got;
    assert_eq!(got.status.as_u16(), status, "{name}: {}", got.text());
    native(
        name,
        format,
        &got.json(),
        kinds[match format.family() {
            Family::Anthropic => 0,
            Family::Chat | Family::Responses => 1,
            Family::Gemini => 2,
        }],
    );
    let after = retry_after.map(|seconds| seconds.to_string());
    assert_eq!(got.header("retry-after"), after.as_deref(), "{name}");
    nothing_is_owed(name, played, status);
    assert_eq!(played.settled.usage.error_type.as_deref(), Some(recorded), "{name}");
    for secret in ["up-0", "up0.test", "provider-0", "127.0.0.1"] {
        assert!(!got.text().contains(secret), "{name} tells {secret}: {}", got.text());
    }
}

/// The upstream's own refusal, in its very bytes where they are of the dialect.
fn handed_on(name: &str, format: ApiFormat, played: &Played, status: u16, same_bytes: bool) {
    let got = &played.got;
    assert_eq!((got.status.as_u16(), played.others), (status, 0), "{name}: {}", got.text());
    if same_bytes {
        let sent = String::from_utf8(played.sent[0].to_vec()).unwrap();
        // It knows the model by another name.
        assert_eq!(got.text(), sent.replace("up-0", crate::support::MODEL), "{name}");
    } else {
        let kind = match format.family() {
            Family::Anthropic if status == 413 => "request_too_large",
            Family::Anthropic if status == 404 => "not_found_error",
            Family::Gemini if status == 404 => "NOT_FOUND",
            Family::Anthropic | Family::Chat | Family::Responses => "invalid_request_error",
            Family::Gemini => "INVALID_ARGUMENT",
        };
        native(name, format, &got.json(), kind);
    }
    nothing_is_owed(name, played, status);
}

fn nothing_is_owed(name: &str, played: &Played, status: u16) {
    let Settled { usage, candidates, .. } = &played.settled;
    assert_eq!((usage.status, usage.status_code), (Status::Failed, status), "{name}");
    assert_eq!((usage.cost.total, usage.usage_source), (NanoUsd::ZERO, UsageSource::None), "{name}");
    assert_eq!(usage.upstream_status_code, candidates.last().unwrap().status_code, "{name}");
    assert!(played.got.header("x-request-id").is_some(), "{name}");
}

/// An error as the vendor of this wire words it.
fn native(name: &str, format: ApiFormat, body: &Value, kind: &str) {
    let error = &body["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}: {body}");
    match format.family() {
        Family::Anthropic => {
            assert_eq!((&body["type"], &error["type"]), (&"error".into(), &kind.into()), "{name}: {body}");
            assert!(body["request_id"].is_string(), "{name}: {body}");
        }
        Family::Chat | Family::Responses => {
            assert_eq!(error["type"], kind, "{name}: {body}");
            assert!(error.get("code").is_some() && error.get("param").is_some(), "{name}: {body}");
        }
        Family::Gemini => {
            assert_eq!(error["status"], kind, "{name}: {body}");
            assert!(error["code"].is_u64(), "{name}: {body}");
        }
    }
}

/// The answer had begun: nobody else is asked, and it does not look complete.
fn broken(name: &str, format: ApiFormat, stream: bool, played: &Played, same_bytes: bool) {
    let Played { got, settled, others, .. } = played;
    assert_eq!((got.status.as_u16(), *others, settled.candidates.len()), (200, 0, 1), "{name}");
    assert_eq!(got.aborted, !stream, "{name}: a whole body is cut, a stream ends in order");
    let text = got.text();
    if stream {
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let event: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{name}: {last}"));
        let error = event.get("error").or_else(|| event["response"].get("error")).unwrap_or(&event);
        assert!(error["message"].is_string(), "{name}: {last}");
        assert!(!text.contains(closing_mark(format)), "{name}: {last}");
        assert!(!same_bytes || got.body == played.sent.concat(), "{name}: its own error event");
    } else {
        assert!(played.sent.concat().starts_with(&got.body) && got.body.len() < played.sent[0].len(), "{name}");
    }
    let usage = &settled.usage;
    assert_eq!(
        (usage.status, usage.status_code, usage.upstream_status_code),
        (Status::Failed, 200, Some(200)),
        "{name}"
    );
    assert!(
        usage.cost.total > NanoUsd::ZERO && usage.usage_source == UsageSource::Estimated,
        "{name}: what was relayed"
    );
    assert_eq!(usage.error_type.as_deref(), Some("upstream_broke"), "{name}");
}

/// Outcomes in the key's window.
fn outcomes(state: &KeyState, now_us: i64) -> Vec<bool> {
    let now_us = if now_us == i64::MAX {
        state.breaker.window.recent(0).map(|outcome| outcome.at_us).max().unwrap_or(0)
    } else {
        now_us
    };
    state.breaker.window.recent(now_us).map(|outcome| outcome.ok).collect()
}

/// What the key's health is after one request failed at it, however often it was tried.
fn effect(name: &str, state: &KeyState, want: &Effect, at_us: i64) {
    let closed = matches!(state.breaker.state, State::Closed { .. });
    let rests_us = (state.cool_until_us - at_us).max(0);
    let of_model_us = state.cooling(id(3), at_us).map_or(0, |end| end - at_us);
    let limit = state.learning.last.map(|last| last.kind);
    let failures = outcomes(state, at_us);
    let seen = (failures.as_slice(), closed, rests_us, of_model_us, limit);
    match want {
        Effect::None => assert_eq!(seen, (&[][..], true, 0, 0, None), "{name}"),
        Effect::Counts => assert_eq!(seen, (&[false][..], true, 0, 0, None), "{name}"),
        Effect::Rests(kind, wait) => {
            let us = i64::try_from(wait.as_micros()).unwrap();
            assert_eq!(seen, (&[][..], true, us, us, Some(*kind)), "{name}");
        }
        Effect::RestsForModel => assert_eq!(seen, (&[][..], true, 0, 300_000_000, None), "{name}"),
        Effect::Opens => {
            let State::Open { since_us, until_us } = state.breaker.state else { panic!("{name}: {:?}", state.breaker) };
            // 30 s × 2^4, give or take a fifth.
            assert!((384_000_000..=576_000_000).contains(&(until_us - since_us)), "{name}: {}", until_us - since_us);
            assert_eq!((failures.as_slice(), rests_us, limit), (&[][..], 0, None), "{name}");
        }
    }
}

async fn matrix(format: ApiFormat) {
    for stream in [false, true] {
        for cell in cells(format, stream) {
            check(format, format, stream, cell).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_on_anthropics_wire() {
    matrix(ApiFormat::Claude).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_on_chats_wire() {
    matrix(ApiFormat::OpenAi).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_on_responses_wire() {
    matrix(ApiFormat::OpenAiCli).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_on_geminis_wire() {
    matrix(ApiFormat::Gemini).await;
}

/// Converted, a fault has the same verdict and effect, and the client reads of it in its own dialect. A whole answer is
/// converted when it is here to its end, so none breaks off.
async fn converted(client: ApiFormat, format: ApiFormat) {
    for stream in [false, true] {
        for cell in cells(format, stream) {
            if stream || !matches!(cell.comes, Comes::Broken) {
                check(client, format, stream, cell).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_chat_for_an_anthropic_client() {
    converted(ApiFormat::Claude, ApiFormat::OpenAi).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_responses_for_a_chat_client() {
    converted(ApiFormat::OpenAi, ApiFormat::OpenAiCli).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_gemini_for_a_responses_client() {
    converted(ApiFormat::OpenAiCli, ApiFormat::Gemini).await;
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_anthropic_for_a_gemini_client() {
    converted(ApiFormat::Gemini, ApiFormat::Claude).await;
}

/// In real time: what a system says of a socket comes when it comes.
#[tokio::test]
async fn faults_of_real_sockets() {
    for format in WIRES {
        for cell in sockets() {
            check(format, format, true, cell).await;
        }
    }
}
