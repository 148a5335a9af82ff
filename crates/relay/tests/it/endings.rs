//! How requests end: the closing frame, breaks, and clients that leave.

use crate::support::{Builder, Gateway, WIRES, ask, gateway, post, read, scripted};
use domain::{
    format::{ApiFormat, OnDisconnect, Status, UsageSource},
    price::list_cost,
    records::AttemptOutcome,
};
use http_body_util::BodyExt;
use relay::Body;
use std::{sync::Arc, time::Duration};
use testkit::{Gate, Reply, bytes};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

fn healthy() -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2)
}

/// What closes a stream on each wire.
pub(crate) fn closing_mark(format: ApiFormat) -> &'static str {
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => "message_stop",
        ApiFormat::OpenAi => "[DONE]",
        ApiFormat::OpenAiCli => "response.completed",
        ApiFormat::Gemini | ApiFormat::GeminiCli => "finishReason",
    }
}

/// The number of the first frame with content.
pub(crate) fn first_content(format: ApiFormat) -> usize {
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => 3,
        ApiFormat::OpenAi => 1,
        ApiFormat::OpenAiCli => 4,
        ApiFormat::Gemini | ApiFormat::GeminiCli => 0,
    }
}

/// Reads what comes without waiting for anything but the upstream.
pub(crate) async fn read_ready(body: &mut Body) -> String {
    let mut text = String::new();
    while let Ok(Some(Ok(frame))) = timeout(Duration::from_millis(1), body.frame()).await {
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
    }
    text
}

#[tokio::test(start_paused = true)]
async fn the_closing_frame_waits_for_the_journal_and_everything_before_it_passes() {
    for format in WIRES {
        let upstream = scripted([healthy()]);
        let gw = gateway().upstream(format, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(format, true);

        let mut response = gw.open(post(&path, &body)).await;
        let before = read_ready(response.body_mut()).await;
        assert!(before.contains("hel"), "{format}: {before}");
        assert!(!before.contains(closing_mark(format)), "{format}: {before}");

        journal.add_permits(10);
        let rest = read(response).await;
        assert!(rest.text().contains(closing_mark(format)), "{format}: {}", rest.text());
        assert_eq!(format!("{before}{}", rest.text()).as_bytes(), upstream.sent_bytes().concat(), "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_does_not_answer_holds_the_closing_frame_for_a_second() {
    for stream in [true, false] {
        let upstream = scripted([healthy()]);
        let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
        *gw.kept.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
        let (path, body) = ask(ApiFormat::Claude, stream);
        let began = Instant::now();
        let got = gw.post(&path, &body).await;
        assert_eq!(got.body, upstream.sent_bytes().concat());
        assert_eq!(began.elapsed(), Duration::from_secs(1), "stream {stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_its_first_content_ends_with_the_dialects_error() {
    for format in WIRES {
        let upstream =
            scripted([Reply::text(["one", "two", "three", "four"]).usage(12, 9).cut_after(first_content(format) + 1)]);
        let gw = gateway().upstream(format, &upstream).start();
        let (path, body) = ask(format, true);
        let got = gw.post(&path, &body).await;
        let text = got.text();
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let event: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{format}: {text}"));
        let error = if format == ApiFormat::OpenAiCli { &event["response"]["error"] } else { &event["error"] };
        assert!(error["message"].is_string(), "{format}: {text}");
        assert!(!text.contains(closing_mark(format)), "{format} must not look complete: {text}");
        assert!(!got.aborted, "{format}");
        let settled = gw.settled();
        assert_eq!((settled.usage.status, settled.usage.status_code), (Status::Failed, 200), "{format}");
        assert_eq!(settled.usage.usage_source, UsageSource::Estimated, "{format}");
        assert!(settled.usage.cost.total.0 > 0, "{format}: what was relayed is billed");
        assert_eq!(settled.candidates[0].outcome, AttemptOutcome::Failed, "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_that_breaks_after_its_commit_is_cut() {
    let long = "x".repeat(600 * 1024);
    let upstream = scripted([Reply::text([long]).usage(1, 1).cut_after(bytes(500 * 1024))]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    let got = gw.post(&path, &body).await;
    assert!(got.aborted);
    assert!(got.body.len() < 500 * 1024, "its last piece is kept back");
    assert_eq!(gw.settled().usage.status, Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_told_how_far_a_stream_is_at_its_first_frame_and_every_two_seconds() {
    for format in WIRES {
        let gap = Duration::from_millis(900);
        let words: Vec<String> = (0..20).map(|number| format!("word {number} ")).collect();
        let upstream = scripted([Reply::text(words).usage(12, 40).gap(gap)]);
        let gw = gateway().upstream(format, &upstream).start();
        let (path, body) = ask(format, true);
        gw.post(&path, &body).await;
        let settled = gw.settled();
        let told = gw.kept.progress.lock().unwrap();
        // 20 words in 18 seconds: at the first one, then at every third piece, which is the first after two seconds.
        assert!((6..=10).contains(&told.len()), "{format}: {}", told.len());
        for progress in told.iter() {
            let derived = list_cost(&progress.tokens, &progress.prices, true).unwrap();
            assert_eq!((derived, progress.request_id), (progress.cost, settled.usage.request_id), "{format}");
            assert_eq!(Some(progress.provider_api_key_id), settled.usage.provider_api_key_id, "{format}");
            assert!(progress.tokens.input > 0 && progress.source != UsageSource::None, "{format}");
        }
        let outputs: Vec<_> = told.iter().map(|progress| progress.tokens.output).collect();
        assert!(outputs.is_sorted() && outputs.first() < outputs.last(), "{format}: {outputs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_complete_at_once_is_settled_without_a_word_before() {
    for stream in [true, false] {
        let upstream = scripted([Reply::text(["hi"]).usage(1, 1).in_one_write()]);
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
        let (path, body) = ask(ApiFormat::OpenAi, stream);
        gw.post(&path, &body).await;
        let told = gw.kept.progress.lock().unwrap().len();
        assert_eq!(told, usize::from(stream), "what follows the first content of a stream is read when it has left");
        assert_eq!(gw.kept.settled.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_in_a_stream_is_bounded_and_a_slow_client_is_no_silence() {
    let gate = Gate::new();
    let upstream = scripted([healthy().hold(3, &gate)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let mut response = gw.open(post(&path, &body)).await;
    assert!(response.body_mut().frame().await.is_some());
    tokio::time::advance(Duration::from_secs(1_000)).await; // the client does something else
    let began = Instant::now();
    let got = read(response).await;
    assert_eq!(began.elapsed().as_secs(), 300, "the upstream's silence counts from when the client listens");
    assert!(got.text().contains("event: error"), "{}", got.text());
}

#[tokio::test(start_paused = true)]
async fn a_chat_stream_without_done_is_complete_when_every_choice_has_finished() {
    let sse = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n\
               data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let unfinished = sse.split_inclusive("\n\n").next().unwrap().to_owned();
    for (sse, want) in [(sse.to_owned(), Status::Completed), (unfinished, Status::Failed)] {
        let upstream = scripted([Reply::raw(200, &[("content-type", "text/event-stream")], sse.clone())]);
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
        let (path, body) = ask(ApiFormat::OpenAi, true);
        let got = gw.post(&path, &body).await;
        assert!(got.text().starts_with(&sse));
        assert_eq!(gw.settled().usage.status, want, "{}", got.text());
        assert_eq!(got.text() == sse, want == Status::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn usage_that_gemini_reports_after_its_last_chunk_settles_again() {
    let chunk = |finish: &str, output: u32| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"hi\"}}],\"role\":\"model\"}}{finish},\"index\":0}}],\
             \"usageMetadata\":{{\"promptTokenCount\":5,\"candidatesTokenCount\":{output},\"totalTokenCount\":{}}}}}\r\n\r\n",
            5 + output
        )
    };
    let late =
        "data: {\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":7,\"totalTokenCount\":12}}\r\n\r\n";
    let sse = chunk("", 1) + &chunk(",\"finishReason\":\"STOP\"", 2) + late;
    let upstream = scripted([Reply::raw(200, &[("content-type", "text/event-stream")], sse.clone())]);
    let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
    let (path, body) = ask(ApiFormat::Gemini, true);
    assert_eq!(gw.post(&path, &body).await.text(), sse);
    let settled = gw.kept.settled.lock().unwrap();
    let outputs: Vec<u64> = settled.iter().map(|settled| settled.usage.tokens.output).collect();
    assert_eq!(outputs, [2, 7]);
    assert_eq!(settled[0].usage.request_id, settled[1].usage.request_id);
    assert!(settled[1].usage.cost.total > settled[0].usage.cost.total);
}

fn with_policy(policy: OnDisconnect) -> Builder {
    gateway().with(|builder| builder.parts.settings.on_disconnect = policy)
}

/// Waits until a request stands at the gate, then lets its client leave.
async fn leave_at(gw: &Gateway, gate: &Gate, format: ApiFormat, stream: bool) {
    let (path, body) = ask(format, stream);
    let open = gw.open(post(&path, &body));
    tokio::pin!(open);
    tokio::select! {
        response = &mut open => {
            // The answer has begun: it is dropped with its first bytes read.
            let mut response = response;
            let first = response.body_mut().frame().await;
            assert!(first.is_some());
            drop(response);
        }
        () = gate.reached() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_answer_pays_the_prompt_or_what_is_drained() {
    for (policy, source, tokens) in [
        (OnDisconnect::Cancel, UsageSource::Estimated, None),
        (OnDisconnect::Drain, UsageSource::Upstream, Some((12, 2))),
    ] {
        let gate = Gate::new();
        let upstream = scripted([healthy().hold_head(&gate)]);
        let gw = with_policy(policy).upstream(ApiFormat::Claude, &upstream).start();
        leave_at(&gw, &gate, ApiFormat::Claude, false).await;
        gate.open();
        gw.idle().await;
        let settled = gw.settled();
        assert_eq!((settled.usage.status, settled.usage.status_code), (Status::Cancelled, 499), "{policy}");
        assert_eq!(settled.usage.usage_source, source, "{policy}");
        assert_eq!(settled.candidates[0].outcome, AttemptOutcome::Cancelled, "{policy}");
        match tokens {
            Some(want) => assert_eq!((settled.usage.tokens.input, settled.usage.tokens.output), want),
            None => assert!(settled.usage.tokens.input > 0 && settled.usage.tokens.output == 0),
        }
        assert!(settled.usage.cost.total.0 > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_a_stream_pays_what_was_relayed_or_what_is_drained() {
    for format in WIRES {
        for policy in [OnDisconnect::Cancel, OnDisconnect::Drain] {
            let upstream = scripted([Reply::text(["one", "two", "three"]).usage(12, 90).gap(Duration::from_secs(1))]);
            let gw = with_policy(policy).upstream(format, &upstream).start();
            leave_at(&gw, &Gate::new(), format, true).await;
            gw.idle().await;
            let settled = gw.settled();
            assert_eq!(
                (settled.usage.status, settled.usage.status_code),
                (Status::Cancelled, 499),
                "{format} {policy}"
            );
            if policy == OnDisconnect::Drain {
                assert_eq!(settled.usage.usage_source, UsageSource::Upstream, "{format}");
                assert_eq!((settled.usage.tokens.input, settled.usage.tokens.output), (12, 90), "{format}");
            } else {
                assert_eq!(settled.usage.usage_source, UsageSource::Estimated, "{format}");
                assert!(settled.usage.tokens.output < 90, "{format}");
                assert!(settled.usage.tokens.input > 0, "{format}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_chat_stream_may_end_without_its_closing_frame() {
    let chunk = |delta: &str, finish: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
    };
    let first = chunk("{\"content\":\"hi\"}", "null");
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":90}}";
    let stop = chunk("{}", "\"stop\"");
    for (sse, drained) in [
        (format!("{first}{stop}{usage}"), true),
        (format!("{first}{usage}\n\ndata: [DONE]"), true),
        (format!("{first}{usage}\n\n"), false),
    ] {
        let reply = Reply::raw(200, &[("content-type", "text/event-stream")], sse.clone());
        let upstream = scripted([reply.chunked_at([first.len()]).gap(Duration::from_secs(1))]);
        let gw = with_policy(OnDisconnect::Drain).upstream(ApiFormat::OpenAi, &upstream).start();
        leave_at(&gw, &Gate::new(), ApiFormat::OpenAi, true).await;
        gw.idle().await;
        let usage = gw.settled().usage;
        let source = if drained { UsageSource::Upstream } else { UsageSource::Estimated };
        assert_eq!(usage.usage_source, source, "{sse}");
        assert!(!drained || (usage.tokens.input, usage.tokens.output) == (12, 90), "{sse}: {:?}", usage.tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn draining_ends_after_a_minute() {
    let upstream = scripted([healthy().stall_after(3)]);
    let gw = with_policy(OnDisconnect::Drain).upstream(ApiFormat::Claude, &upstream).start();
    leave_at(&gw, &Gate::new(), ApiFormat::Claude, true).await;
    let began = Instant::now();
    gw.idle().await;
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(gw.settled().usage.usage_source, UsageSource::Estimated);
}

#[tokio::test(start_paused = true)]
async fn draining_ends_when_the_process_must() {
    let upstream = scripted([healthy().stall_after(3)]);
    let gw = with_policy(OnDisconnect::Drain).upstream(ApiFormat::Claude, &upstream).start();
    leave_at(&gw, &Gate::new(), ApiFormat::Claude, true).await;
    let began = Instant::now();
    gw.shutdown.cancel();
    gw.idle().await;
    assert_eq!(began.elapsed().as_secs(), 0);
    assert_eq!(gw.settled().usage.status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_between_two_attempts_owes_nothing() {
    let failing = scripted(std::iter::repeat_n(Reply::error(testkit::ErrorShape::Server), 4));
    let gw = with_policy(OnDisconnect::Cancel).upstream(ApiFormat::Claude, &failing).start();
    let (path, body) = ask(ApiFormat::Claude, false);
    // The first back-off takes at least 50 ms: the client leaves within it.
    let left = timeout(Duration::from_millis(20), gw.post(&path, &body)).await;
    assert!(left.is_err());
    let settled = gw.settled();
    assert_eq!(settled.usage.status, Status::Cancelled);
    assert_eq!((settled.usage.usage_source, settled.usage.cost.total.0), (UsageSource::None, 0));
    assert_eq!(failing.requests().len(), 1, "nothing is retried for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_after_the_closing_frame_has_a_complete_answer() {
    let upstream = scripted([healthy()]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let mut response = gw.open(post(&path, &body)).await;
    let text = read_ready(response.body_mut()).await;
    assert!(text.contains("message_stop"));
    drop(response);
    assert_eq!(gw.settled().usage.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn slots_come_back_at_the_end_and_the_clients_at_once() {
    let gate = Gate::new();
    let upstream = scripted([healthy().hold_head(&gate), healthy()]);
    let gw = with_policy(OnDisconnect::Drain)
        .with(|builder| builder.parts.client_keys[0].limits.concurrent = Some(1))
        .upstream(ApiFormat::Claude, &upstream)
        .with(|builder| builder.parts.provider_keys[0].max_concurrent = Some(1))
        .start();
    leave_at(&gw, &gate, ApiFormat::Claude, false).await;
    let (path, body) = ask(ApiFormat::Claude, false);
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 429, "the client's slot is free, the upstream's is not: {}", got.text());
    let skip = gw.kept.settled.lock().unwrap().last().unwrap().trace.entries[0].code.clone();
    assert_eq!(skip, "key_concurrency");
    gate.open();
    gw.idle().await;
    assert_eq!(gw.post(&path, &body).await.status, 200);
}
