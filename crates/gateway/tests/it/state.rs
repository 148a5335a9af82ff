//! Who issued what, across the ends of processes.

use crate::{
    commands::run,
    support::{Ask, MODEL, Wire, fetch, plain, send},
    torture::{KEYS, start, store, terminate, write_documents},
};
use domain::{
    bindings::{Binding, LASTS_US},
    format::ApiFormat,
};
use http_body_util::{BodyExt as _, Full};
use std::{net::SocketAddr, time::Duration};
use store::repo::bindings;
use testkit::{Reply, Upstream, servers::Home};
use tokio::time::{Instant, sleep};

testkit::on_both![
    a_response_stays_its_callers_after_a_kill_and_after_a_restart,
    what_another_process_issues_is_known_to_this_one_in_moments,
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
