//! Model lists in three dialects, and only what the caller may use.

use crate::support::{CLIENT_KEY, Gateway, Got, MODEL, gateway, request, scripted};
use domain::format::ApiFormat;
use http::Method;
use serde_json::Value;

fn two_models() -> Gateway {
    let upstream = scripted([]);
    gateway()
        .upstream(ApiFormat::Claude, &upstream)
        .with(|builder| {
            let mut other = builder.parts.global_models[0].clone();
            (other.id, other.name) = (crate::support::id(4), "unserved".to_owned());
            builder.parts.global_models.push(other);
        })
        .start()
}

async fn get(gw: &Gateway, path: &str, headers: &[(&'static str, &str)]) -> Got {
    let mut request = request(Method::GET, path, "");
    request.headers_mut().remove("x-api-key");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    gw.send(request).await
}

#[tokio::test(start_paused = true)]
async fn the_dialect_is_told_by_path_version_and_credential() {
    let gw = two_models();
    let bearer = format!("Bearer {CLIENT_KEY}");
    let anthropic = [("authorization", bearer.as_str()), ("anthropic-version", "2026-10-21")];
    let by_key = format!("/v1/models?key={CLIENT_KEY}");
    for (path, headers, name) in [
        ("/v1/models", &anthropic[..1], "/data/0/id"),
        ("/v1/models?limit=1000", &anthropic[..], "/data/0/id"),
        ("/v1beta/models", &[("x-goog-api-key", CLIENT_KEY)], "/models/0/name"),
        ("/v1/models", &[("x-goog-api-key", CLIENT_KEY)], "/models/0/name"),
        (by_key.as_str(), &[], "/models/0/name"),
    ] {
        let got = get(&gw, path, headers).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        let list = got.json();
        let shown = list.pointer(name).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {list}"));
        assert_eq!(shown.trim_start_matches("models/"), MODEL, "{path}");
        let count = list["data"].as_array().or(list["models"].as_array()).map(Vec::len);
        assert_eq!(count, Some(1), "{path}: what nobody serves is not listed");
        assert_eq!(list["data"][0]["type"] == "model", headers.len() == 2, "{path}");
        assert!(!got.text().contains("provider-0") && !got.text().contains("up-0"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_model_is_shown_under_the_name_that_was_asked() {
    let gw = two_models();
    let key = [("x-api-key", CLIENT_KEY)];
    for (path, want) in
        [("/v1/models/big-model", Some("big-model")), ("/v1/models/up-0", Some("up-0")), ("/v1/models/x", None)]
    {
        let got = get(&gw, path, &key).await;
        assert_eq!(got.json()["id"].as_str(), want, "{path}");
        assert_eq!(got.status.as_u16(), if want.is_some() { 200 } else { 404 });
    }
}

#[tokio::test(start_paused = true)]
async fn lists_have_a_rate_of_their_own() {
    let upstream = scripted([testkit::Reply::text(["ok"]).usage(1, 1)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let key = [("x-api-key", CLIENT_KEY)];
    for _ in 0..60 {
        assert_eq!(get(&gw, "/v1/models", &key).await.status, 200);
    }
    assert_eq!(get(&gw, "/v1/models", &key).await.status, 429);
    let (path, body) = crate::support::ask(ApiFormat::Claude, false);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(gw.kept.settled.lock().unwrap().len(), 1, "lists leave no row");
}
