//! How converted answers end: the closing frame, breaks, and clients that leave.

use crate::{
    convert::{answer, ask, closing_mark, counts, error_message, pairs, said},
    endings::read_ready,
    support::{MODEL, PROVIDER_KEY, gateway, post, read, scripted},
};
use domain::{
    format::{ApiFormat, OnDisconnect, Status, UsageSource},
    records::AttemptOutcome,
};
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};
use testkit::Reply;
use tokio::sync::Semaphore;

#[tokio::test(start_paused = true)]
async fn the_converted_closing_frame_waits_for_the_journal_and_everything_before_it_passes() {
    for (from, to) in pairs() {
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        let before = read_ready(response.body_mut()).await;

        assert!(before.contains("look."), "{from} on {to}: {before}");
        assert!(!before.contains(closing_mark(from)), "{from} on {to}: {before}");
        assert_eq!(gw.settled().usage.tokens, counts(), "{from} on {to}: settled before it leaves");
        journal.add_permits(10);
        let rest = read(response).await;
        assert!(rest.text().contains(closing_mark(from)), "{from} on {to}: {}", rest.text());
        assert_eq!(rest.text().matches("\n\n").count().max(rest.text().matches("\r\n\r\n").count()), 1, "one frame");
    }
}

#[tokio::test(start_paused = true)]
async fn a_converted_whole_answer_waits_for_the_journal() {
    for (from, to) in pairs() {
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, false);
        let mut response = gw.open(post(&path, &body)).await;
        assert_eq!(read_ready(response.body_mut()).await, "", "{from} on {to}");
        journal.add_permits(1);
        let (text, _) = said(from, false, &read(response).await.text());
        assert_eq!(text, "Let me look.", "{from} on {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_converted_stream_that_is_cut_ends_with_the_callers_error_and_is_billed_by_estimate() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let reply = Reply::text(["one", "two", "three", "four"]).usage(12, 9);
        let frames = if to == ApiFormat::OpenAiCli { 6 } else { 4 };
        let upstream = scripted([reply.cut_after(frames)]);
        let gw = gateway().upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let got = gw.post(&path, &body).await;
        assert!(!got.aborted, "{case}");
        assert!(!error_message(from, &got.text()).is_empty(), "{case}: {}", got.text());
        assert!(got.text().contains("one"), "{case}: {}", got.text());
        assert!(!got.text().contains(closing_mark(from)), "{case}: {}", got.text());
        let settled = gw.settled();
        assert_eq!(
            (settled.usage.status, settled.usage.usage_source),
            (Status::Failed, UsageSource::Estimated),
            "{case}"
        );
        assert!(settled.usage.cost.total.0 > 0, "{case}: what was relayed is billed");
        assert!(settled.usage.is_converted, "{case}");
        assert_eq!(settled.candidates[0].outcome, AttemptOutcome::Failed, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_stream_ends_the_converted_one_after_it_is_recorded() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let events = if to == ApiFormat::OpenAiCli { 6 } else { 4 };
        let upstream = scripted([Reply::text(["one", "two", "three", "four"]).error_event_after(events, true)]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        let before = read_ready(response.body_mut()).await;
        assert!(before.contains("one") && !before.contains("\"error\":{"), "{case}: {before}");
        journal.add_permits(10);
        let rest = read(response).await;
        assert!(!error_message(from, &rest.text()).is_empty(), "{case}: {}", rest.text());
        let usage = gw.settled().usage;
        assert_eq!(usage.status, Status::Failed, "{case}");
        if from == ApiFormat::Claude {
            let named = format!("\"request_id\":\"{}\"", usage.request_id);
            assert!(rest.text().contains(&named), "{case}: {}", rest.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_lost_is_recorded_also_where_its_caller_left() {
    let events = |events: &[&str]| Reply::raw(200, &[("content-type", "text/event-stream")], events.concat());
    let first = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"xChoice\":1}]}\n\n";
    let rest = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let upstream = scripted([events(&[first, rest])]);
    let gw = gateway()
        .with(|builder| builder.parts.settings.on_disconnect = OnDisconnect::Drain)
        .upstream(ApiFormat::OpenAi, &upstream)
        .start();
    let journal = Arc::new(Semaphore::new(0));
    *gw.kept.gate.lock().unwrap() = Some(journal.clone());
    let (path, body) = ask(ApiFormat::Claude, true);
    let mut response = gw.open(post(&path, &body)).await;
    assert!(response.body_mut().frame().await.is_some());
    drop(response);
    gw.idle().await;
    let losses = gw.settled().usage.metadata.losses;
    assert!(losses.iter().any(|loss| loss.starts_with("answer/choices/*/xChoice: ")), "{losses:?}");
}

/// What Gemini says of a call that its model wrote wrongly.
const MALFORMED: [&str; 2] = ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"];

#[tokio::test(start_paused = true)]
async fn a_call_that_geminis_model_wrote_wrongly_is_asked_for_again() {
    let alone = |word: &str| format!(r#"{{"candidates":[{{"content":{{}},"finishReason":"{word}","index":0}}]}}"#);
    let before_another = format!(
        r#"{{"candidates":[{{"content":{{}},"finishReason":"{}","index":0}},
            {{"content":{{"parts":[{{"text":"x"}}]}},"finishReason":"STOP","index":1}}]}}"#,
        MALFORMED[0]
    );
    let answers = MALFORMED.map(alone).into_iter().chain([before_another]);
    for (malformed, stream) in answers.flat_map(|malformed| [(malformed.clone(), true), (malformed, false)]) {
        let case = format!("stream {stream}, {malformed}");
        let kind = if stream { "text/event-stream" } else { "application/json" };
        let body = if stream { format!("data: {}\n\n", malformed.replace('\n', " ")) } else { malformed };
        let wrong = Reply::raw(200, &[("content-type", kind)], body);
        let upstream = scripted([wrong.clone(), answer()]);
        let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
        let (path, body) = ask(ApiFormat::OpenAi, stream);
        let got = gw.post(&path, &body).await;
        assert_eq!(said(ApiFormat::OpenAi, stream, &got.text()).0, "Let me look.", "{case}: {}", got.text());
        assert_eq!(upstream.requests().len(), 2, "{case}");

        let upstream = scripted(std::iter::repeat_n(wrong, 8));
        let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
        let got = gw.post(&path, &ask(ApiFormat::OpenAi, stream).1).await;
        assert_eq!(got.status, 502, "{case}: {}", got.text());
        assert_eq!(upstream.requests().len(), 2, "{case}: once more");
        let settled = gw.settled();
        let verdicts = settled.candidates.iter().map(|row| row.skip_reason.as_deref());
        assert!(verdicts.eq([Some("malformed_call"); 2]), "{case}: {:?}", settled.candidates);
        let failures = gw.relay.health().states().into_iter().map(|(_, state)| state.stats.consecutive_failures);
        assert_eq!(failures.sum::<u32>(), 0, "{case}: it says nothing of the key");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_turns_out_wrong_after_text_has_left_is_recorded_as_a_failure_and_not_the_keys() {
    let chunk = |candidate: String| format!("data: {{\"candidates\":[{candidate}]}}\n\n");
    let text = chunk(r#"{"content":{"parts":[{"text":"Let me"}]},"index":0}"#.to_owned());
    for (from, word) in [ApiFormat::OpenAi, ApiFormat::Claude, ApiFormat::OpenAiCli]
        .into_iter()
        .flat_map(|from| MALFORMED.map(|word| (from, word)))
    {
        let case = format!("{word} for {from}");
        let wrong = chunk(format!(r#"{{"content":{{}},"finishReason":"{word}","index":0}}"#));
        let events = Reply::raw(200, &[("content-type", "text/event-stream")], text.clone() + &wrong);
        let upstream = scripted([events]);
        let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
        let (path, body) = ask(from, true);
        let got = gw.post(&path, &body).await;
        assert!(got.text().contains("Let me"), "{case}: {}", got.text());
        assert_eq!(error_message(from, &got.text()), "the model wrote a call that is none", "{case}");
        let settled = gw.settled();
        let row = &settled.candidates[0];
        assert_eq!((settled.usage.status, row.outcome), (Status::Failed, AttemptOutcome::Failed), "{case}");
        assert_eq!(row.skip_reason.as_deref(), Some("malformed_call"), "{case}");
        assert_eq!(row.error_message.as_deref(), Some("the model wrote a call that is none"), "{case}");
        let (_, state) = &gw.relay.health().states()[0];
        assert_eq!(state.stats.consecutive_failures, 0, "{case}: the key is not at fault");
        assert_eq!(state.stats.successes, 0, "{case}: nor has it served");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_words_about_itself_stay_out_of_a_converted_stream() {
    let sse = format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"hi\"}}}}]}}\n\n\
         data: {{\"error\":{{\"message\":\"{PROVIDER_KEY} may not use up-0 at up0.test\",\"type\":\"server_error\"}}}}\n\n"
    );
    let upstream = scripted([Reply::raw(200, &[("content-type", "text/event-stream")], sse)]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let got = gw.post(&path, &body).await;
    let message = error_message(ApiFormat::Claude, &got.text());
    assert_eq!(message, format!("*** may not use {MODEL} at upstream"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_converted_stream_pays_what_was_relayed_or_what_is_drained() {
    for ((from, to), policy) in pairs().flat_map(|pair| [(pair, OnDisconnect::Cancel), (pair, OnDisconnect::Drain)]) {
        let case = format!("{from} on {to}, {policy}");
        let upstream = scripted([Reply::text(["one", "two", "three"]).usage(12, 90).gap(Duration::from_secs(1))]);
        let gw =
            gateway().with(|builder| builder.parts.settings.on_disconnect = policy).upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        assert!(response.body_mut().frame().await.is_some(), "{case}");
        drop(response);
        gw.idle().await;
        let row = gw.settled().usage;
        assert_eq!((row.status, row.status_code, row.is_converted), (Status::Cancelled, 499, true), "{case}");
        if policy == OnDisconnect::Drain {
            assert_eq!(row.usage_source, UsageSource::Upstream, "{case}");
            assert_eq!((row.tokens.input, row.tokens.output), (12, 90), "{case}");
        } else {
            assert_eq!(row.usage_source, UsageSource::Estimated, "{case}");
            assert!(row.tokens.output < 90 && row.tokens.input > 0, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_in_a_converted_stream_is_bounded() {
    let upstream = scripted([answer().stall_after(4)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::OpenAi, true);
    let got = gw.post(&path, &body).await;
    assert!(!error_message(ApiFormat::OpenAi, &got.text()).is_empty());
    let row = gw.settled().usage;
    assert_eq!((row.status, row.metadata.deadline.as_deref()), (Status::Failed, Some("idle")));
}
