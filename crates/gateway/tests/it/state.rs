//! Who issued what, across the ends of processes.

use crate::{
    commands::run,
    support::{Ask, MODEL, Wire, fetch, plain, provider, send},
    torture::{KEYS, start, store, terminate, write_documents},
};
use domain::{
    bindings::{Binding, LASTS_US},
    catalog::Endpoint,
    format::ApiFormat,
};
use http_body_util::{BodyExt as _, Full};
use std::{fs, net::SocketAddr, time::Duration};
use store::repo::bindings;
use testkit::{Reply, Upstream, servers::Home};
use tokio::time::{Instant, sleep};

testkit::on_both![
    a_response_stays_its_callers_after_a_kill_and_after_a_restart,
    what_another_process_issues_is_known_to_this_one_in_moments,
    what_a_request_names_is_in_its_explanation_before_and_after,
];

/// How long a process may take to learn of something.
const WITHIN: Duration = Duration::from_secs(30);

/// Status and words of a kept response, as one of the client keys asks for it.
async fn kept(address: SocketAddr, key: &str) -> (u16, String) {
    let request = plain("GET", "/v1/responses/resp_1").header("authorization", format!("Bearer {key}"));
    let (status, _, text) = fetch(address, request).await;
    (status, text)
}

async fn a_response_stays_its_callers_after_a_kill_and_after_a_restart(home: Home) {
    let json = |body: &str| Reply::raw(200, &[("content-type", "application/json")], body.to_owned());
    let upstream = Upstream::start().await.unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");

    let (mut child, address) = start(folder).await;
    upstream.push(json(
        r#"{"id":"resp_1","object":"response","status":"completed","output":[{"id":"msg_1","type":"message","content":
           [{"type":"output_text","text":"hello"}]}],"usage":{"input_tokens":12,"output_tokens":2,"total_tokens":14}}"#,
    ));
    let reply = Ask::on(address, Wire::Responses, "hi").key(KEYS[0]).whole().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    // Its last byte is here: from now on nothing may be forgotten.
    child.start_kill().unwrap();
    child.wait().await.unwrap();

    for _ in 0..2 {
        let (child, address) = start(folder).await;
        let (status, text) = kept(address, KEYS[1]).await;
        assert_eq!(status, 404, "{text}");
        upstream.push(json(r#"{"id":"resp_1"}"#));
        assert_eq!(kept(address, KEYS[0]).await, (200, r#"{"id":"resp_1"}"#.to_owned()));
        terminate(child).await;
    }
    let store = store(&home).await;
    let bound = bindings::newest_any_owner(&mut store.db().read().await.unwrap(), 10).await.unwrap();
    assert_eq!(bound.len(), 2, "the response and its message");
    let (code, out, err) = run(folder, &["verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

async fn what_another_process_issues_is_known_to_this_one_in_moments(home: Home) {
    let upstream = Upstream::start().await.unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");
    let (child, address) = start(folder).await;

    let store = store(&home).await;
    let parts = store::load(&store).await.unwrap();
    let client = parts.client_keys.iter().find(|key| key.name == "a").unwrap().id;
    let keeps = parts.endpoints.iter().find(|endpoint| endpoint.api_format == ApiFormat::OpenAiCli).unwrap();
    let issuer = parts.provider_keys.iter().find(|key| key.endpoint_id == keeps.id).unwrap().id;
    let mut tx = store.db().begin().await.unwrap();
    let binding = Binding { client, issuer, expires_us: tx.now_us() + LASTS_US };
    let issued = [b"resp_1", b"resp_2"].map(|name| (wire::state::fingerprint(name), binding));
    bindings::bind_any_owner(&mut tx, &issued).await.unwrap();
    tx.commit().await.unwrap();

    // A kept response is looked up.
    upstream.push(Reply::raw(200, &[("content-type", "application/json")], r#"{"id":"resp_1"}"#.to_owned()));
    assert_eq!(kept(address, KEYS[0]).await, (200, r#"{"id":"resp_1"}"#.to_owned()));
    // While nobody is known to have issued it, it is the upstream's to judge.
    let body = format!(r#"{{"model":"{MODEL}","input":"and?","previous_response_id":"resp_2"}}"#);
    let began = Instant::now();
    loop {
        let asking = plain("POST", "/v1/responses").header("authorization", format!("Bearer {}", KEYS[1]));
        let answer = send(address, asking.body(Full::from(body.clone())).unwrap()).await;
        let status = answer.status();
        let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        if status == 404 && text.contains("resp_2: not found") {
            break;
        }
        assert!(began.elapsed() < WITHIN, "{status} {text}");
        sleep(Duration::from_millis(50)).await;
    }
    terminate(child).await;
}

async fn what_a_request_names_is_in_its_explanation_before_and_after(home: Home) {
    let upstream = Upstream::start().await.unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let document = fs::read_to_string(folder.join("catalog.yaml")).unwrap();
    fs::write(folder.join("catalog.yaml"), document + &provider(1, &upstream.base_url())).unwrap();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");

    let store = store(&home).await;
    let parts = store::load(&store).await.unwrap();
    let client = parts.client_keys.iter().find(|key| key.name == "a").unwrap().id;
    let second = parts.providers.iter().find(|provider| provider.name == "provider-1").unwrap().id;
    let keeps = |endpoint: &&Endpoint| endpoint.provider_id == second && endpoint.api_format == ApiFormat::OpenAiCli;
    let endpoint = parts.endpoints.iter().find(keeps).unwrap().id;
    let issuer = parts.provider_keys.iter().find(|key| key.endpoint_id == endpoint).unwrap().id;
    let mut tx = store.db().begin().await.unwrap();
    let binding = Binding { client, issuer, expires_us: tx.now_us() + LASTS_US };
    bindings::bind_any_owner(&mut tx, &[(wire::state::fingerprint(b"resp_1"), binding)]).await.unwrap();
    tx.commit().await.unwrap();

    let body = format!(r#"{{"model":"{MODEL}","input":"and?","previous_response_id":"resp_1"}}"#);
    fs::write(folder.join("ask.json"), &body).unwrap();
    let asking = |key| ["explain", "--key", key, "--model", MODEL, "--format", "OPENAI_CLI", "--body", "ask.json"];
    let (code, out, err) = run(folder, &asking("a")).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("  1. provider-1/OPENAI_CLI/main: same format;"), "{out}");
    assert!(out.contains("–  provider-0/OPENAI_CLI/main: state_bound\n"), "{out}");
    let (code, _, err) = run(folder, &asking("b")).await;
    assert!(code == 1 && err.contains("would be refused: resp_1: not found"), "{err}");

    let (child, address) = start(folder).await;
    upstream.push(Reply::text(["hello"]).usage(12, 2));
    let ask = plain("POST", "/v1/responses").header("authorization", format!("Bearer {}", KEYS[0]));
    let answer = send(address, ask.body(Full::from(body)).unwrap()).await;
    assert_eq!(answer.status(), 200);
    let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    answer.into_body().collect().await.unwrap();
    terminate(child).await;
    let (code, out, err) = run(folder, &["explain", &request]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("  1. provider-1/OPENAI_CLI/main: success, issued what is named, status 200, "), "{out}");
    assert!(out.contains("–  provider-0/OPENAI_CLI/main: state_bound\n"), "{out}");
}
