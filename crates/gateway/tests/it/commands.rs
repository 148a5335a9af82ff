//! The program itself: its commands, what they say and how they end.

use crate::support::{Ask, CLIENT_KEY, MODEL, fetch, plain, provider, rows};
use domain::{
    format::{Status, UsageSource},
    price::list_cost,
    secret::Secret,
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};
use store::{Store, StoreConfig, SyncMode};
use testkit::{Reply, Upstream, servers::Home};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

pub(crate) fn tollgate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(folder).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = tollgate(folder, arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A folder with a document in it.
pub(crate) fn folder_with(base_url: &str) -> Home {
    let home = Home::embedded().unwrap();
    write_documents(&home, base_url);
    home
}

/// Writes a document, and settings that name the database.
pub(crate) fn write_documents(home: &Home, base_url: &str) {
    let mut text = format!(
        "users: [{{username: ann, email: ann@example.com, password: null}}]\n\
         api_keys: [{{name: laptop, user: ann, key: {CLIENT_KEY}}}, {{name: phone, user: ann}}]\n\
         global_models:\n  - name: {MODEL}\n    display_name: Big Model\n    default_tiered_pricing: \
         {{tiers: [{{up_to: null, input_price_per_1m: 3, output_price_per_1m: 15}}]}}\nproviders:\n"
    );
    write!(text, "{}", provider(0, base_url)).unwrap();
    std::fs::write(home.path().join("catalog.yaml"), text).unwrap();
    if let Some(url) = home.database_url() {
        std::fs::write(home.path().join("tollgate.toml"), format!("[database]\nurl = '{url}'\n")).unwrap();
    }
}

/// The program as it serves.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it said before it named its address.
    said: Vec<String>,
}

impl Serving {
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = tollgate(folder, &["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().unwrap();
            match line.split_once("listening on http") {
                Some(("", rest)) => break rest.trim_start_matches('s').trim_start_matches("://").parse().unwrap(),
                _ => said.push(line),
            }
        };
        let next = lines.next_line().await.unwrap().unwrap();
        assert!(next.starts_with("egress.allow"), "{next}");
        Self { child, address, said }
    }

    /// Ends it as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it as an operator does; its log.
    pub(crate) async fn terminate(self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let ended = self.child.wait_with_output().await.unwrap();
        assert!(ended.status.success(), "{}", ended.status);
        String::from_utf8(ended.stderr).unwrap()
    }
}

#[tokio::test]
async fn apply_says_what_it_did_and_prints_a_minted_key_once() {
    let folder = folder_with("http://127.0.0.1:9");
    let folder = folder.path();
    let (code, out, err) = run(folder, &["apply", "catalog.yaml", "--dry-run"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("nothing was written") && !out.contains("the key of"), "{out}");
    let (code, out, _) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("+ provider provider-0") && out.contains("the key of ann/phone is sk-"), "{out}");
    let (code, out, _) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!((code, out.as_str()), (0, "no changes\n"));
}

#[tokio::test]
async fn a_bad_document_is_refused_whole_with_line_and_field() {
    let folder = folder_with("http://127.0.0.1:9");
    let folder = folder.path();
    std::fs::write(
        folder.join("bad.yaml"),
        "users:\n  - {username: bob, email: bob@example.com, password: null}\n  - {username: eve, emial: eve@example.com}\n",
    )
    .unwrap();
    let (code, out, err) = run(folder, &["apply", "bad.yaml"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("line 3: users[1].emial") && err.contains("did you mean email?"), "{err}");
    let (code, _, err) = run(folder, &["apply", "nowhere.yaml"]).await;
    assert!(code == 1 && err.contains("nowhere.yaml"), "{err}");
}

#[tokio::test]
async fn a_request_that_was_made_is_explained_by_its_id() {
    let upstream = Upstream::start().await.unwrap();
    upstream.push(Reply::text(["hello"]).usage(12, 2));
    let folder = folder_with(&upstream.base_url());
    let serving = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let reply = Ask::at(serving.address, "hi").whole().await;
    let request = reply.header("x-request-id").unwrap().to_owned();
    serving.terminate().await;
    let (code, out, err) = run(folder.path(), &["explain", &request]).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with(&format!("{request}: big-model as OPENAI, completed (200), $0.000066 (12 ")), "{out}");
    assert!(lines[1].starts_with("  1. provider-0/OPENAI/main: success, status 200, "), "{out}");
    assert!(lines[2..].iter().all(|line| line.ends_with(": format_mismatch")) && lines.len() == 5, "{out}");
    let (code, _, err) = run(folder.path(), &["explain", "req_00000000000000000000000000000000"]).await;
    assert!(code == 1 && err.contains("has no request"), "{err}");
    assert_eq!(run(folder.path(), &["explain"]).await.0, 2, "neither a request nor a question");
}

#[tokio::test]
async fn check_asks_every_upstream_for_a_sign_of_life() {
    let upstream = Upstream::start().await.unwrap();
    let folder = folder_with(&upstream.base_url());
    let (code, out, err) = run(folder.path(), &["check", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with("0 errors, 0 warnings, 4 endpoints asked\n"), "{out}");
    let asked = upstream.requests();
    assert_eq!(asked.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["HEAD"], "each host once");
    assert!(asked[0].header("authorization").is_none());

    upstream.refuse().await;
    let (code, out, _) = run(folder.path(), &["check", "catalog.yaml"]).await;
    assert_eq!(code, 1);
    assert!(out.contains("error: endpoint provider-0/CLAUDE: ") && out.contains("does not answer"), "{out}");
}

#[tokio::test]
async fn wrong_usage_and_wrong_settings_end_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, want) in [
        (&["serve", "--lisen", "x"][..], 2),
        (&["fly"], 2),
        (&[], 2),
        (&["--version"], 0),
        (&["--help"], 0),
        (&["serve", "--listen", "nonsense"], 1),
        (&["check", "--config", "nowhere.toml"], 1),
    ] {
        assert_eq!(run(folder, arguments).await.0, want, "{arguments:?}");
    }
    std::fs::write(folder.join("tollgate.toml"), "lisen = '127.0.0.1:0'\n").unwrap();
    let (code, _, err) = run(folder, &["serve"]).await;
    assert_eq!(code, 1);
    assert_eq!(err, "tollgate: tollgate.toml:1: lisen: not a setting; did you mean listen?\n");
    assert!(!folder.join("data").exists());
}

async fn an_export_beside_a_running_node_is_applied_elsewhere_and_exported_again(folder: Home) {
    write_documents(&folder, "http://127.0.0.1:9");
    let serving = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let (code, public, err) = run(folder.path(), &["export"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(public.starts_with("settings:\n") && !public.contains("sk-upstream") && !public.contains(CLIENT_KEY));
    std::fs::write(folder.path().join("all.yaml"), "shared by all").unwrap();
    let (code, out, err) = run(folder.path(), &["export", "--with-secrets", "all.yaml"]).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let mode = std::fs::metadata(folder.path().join("all.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, out, err) = run(folder.path(), &["apply", "all.yaml", "--prune"]).await;
    assert_eq!((code, out.as_str()), (0, "no changes\n"), "{err}");
    serving.terminate().await;

    let other = folder.another().unwrap();
    write_documents(&other, "http://127.0.0.1:9");
    let all = std::fs::read_to_string(folder.path().join("all.yaml")).unwrap();
    std::fs::write(other.path().join("all.yaml"), &all).unwrap();
    let (code, out, err) = run(other.path(), &["apply", "all.yaml"]).await;
    assert!(code == 0 && !out.contains("the key of"), "{out}{err}");
    assert_eq!(run(other.path(), &["export", "--with-secrets"]).await, (0, all, String::new()));
    let (code, out, _) = run(other.path(), &["apply", "catalog.yaml", "--prune", "--dry-run"]).await;
    assert_eq!((code, out.as_str()), (0, "no changes (dry run: nothing was written)\n"));
}

async fn the_master_key_is_rotated_under_a_running_node(folder: Home) {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    write_documents(&folder, &upstream.base_url());
    // It is asked as often as it takes.
    let catalog = folder.path().join("catalog.yaml");
    let text = std::fs::read_to_string(&catalog).unwrap().replace("name: laptop,", "name: laptop, rate_limit: null,");
    std::fs::write(&catalog, &text).unwrap();
    let serving = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let master = || std::fs::read_to_string(folder.path().join("data/master.key")).unwrap();
    let before = master();
    assert_eq!(Ask::at(serving.address, "hi").whole().await.text(), "hello");
    // Four provider keys and two client keys.
    let want = (0, "6 secrets sealed under the new master key\n".to_owned(), String::new());
    assert_eq!(run(folder.path(), &["vault", "rotate"]).await, want);
    assert_ne!(master(), before);
    for _ in 0..3 {
        assert_eq!(Ask::at(serving.address, "hi").whole().await.text(), "hello");
    }
    // Another provider key is live only with a catalog that holds what was sealed anew.
    std::fs::write(&catalog, text.replace("sk-upstream", "sk-another")).unwrap();
    assert_eq!(run(folder.path(), &["apply", "catalog.yaml"]).await.0, 0);
    let asked = || upstream.requests().last().unwrap().header("authorization").unwrap().to_owned();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while asked() != "Bearer sk-another" {
        assert!(tokio::time::Instant::now() < deadline, "{}", asked());
        assert_eq!(Ask::at(serving.address, "hi").whole().await.text(), "hello");
    }
    serving.terminate().await;
    let again = Serving::start(folder.path(), &[]).await;
    assert_eq!(Ask::at(again.address, "hi").whole().await.text(), "hello");
    assert_eq!(asked(), "Bearer sk-another");
    again.terminate().await;
}

testkit::on_both![
    the_master_key_is_rotated_under_a_running_node,
    an_export_beside_a_running_node_is_applied_elsewhere_and_exported_again,
    migrate_makes_the_schema,
    a_gateway_that_is_killed_leaves_no_request_without_an_ending
];

async fn migrate_makes_the_schema(folder: Home) {
    write_documents(&folder, "http://127.0.0.1:9");
    for steps in [store::migrate::known(), 0] {
        let (code, out, _) = run(folder.path(), &["migrate"]).await;
        let want = format!("schema version {}, {steps} steps applied\n", store::migrate::known());
        assert_eq!((code, out), (0, want));
    }
}

async fn a_gateway_that_is_killed_leaves_no_request_without_an_ending(folder: Home) {
    let upstream = Upstream::start().await.unwrap();
    upstream.push(Reply::text(["hello"]).usage(12, 2));
    upstream.push(Reply::text(["he", "llo"]).usage(12, 2).stall_after(3));
    write_documents(&folder, &upstream.base_url());
    assert_eq!(run(folder.path(), &["apply", "catalog.yaml"]).await.0, 0);

    let mut first = Serving::start(folder.path(), &[]).await;
    assert_eq!(Ask::at(first.address, "hi").whole().await.text(), "hello");
    let mut open = Ask::at(first.address, "hi").open().await;
    open.until("he").await;
    first.child.kill().await.unwrap();
    assert!(open.rest().await.broke);

    let second = Serving::start(folder.path(), &[]).await;
    upstream.push(Reply::text(["again"]).usage(1, 1));
    assert_eq!(Ask::at(second.address, "hi").whole().await.text(), "again");
    second.terminate().await;

    let config = StoreConfig {
        data_dir: folder.path().join("data"),
        database_url: folder.database_url().map(|url| Secret::new(url.to_owned())),
        master_key: None,
        sync: SyncMode::default(),
    };
    let rows = rows(&Store::open(config).await.unwrap()).await;
    let got: Vec<_> = rows.iter().map(|row| (row.status, row.error_type.as_deref())).collect();
    let completed = (Status::Completed, None);
    assert_eq!(got, [completed, (Status::Failed, Some("interrupted")), completed]);
    // What was handed on before the end is billed, from what was seen of it.
    let interrupted = &rows[1];
    assert_eq!((interrupted.usage_source, interrupted.delivered), (UsageSource::Estimated, true));
    assert!(interrupted.tokens.input > 0 && interrupted.tokens.output > 0, "{:?}", interrupted.tokens);
    let derived = list_cost(&interrupted.tokens, &interrupted.prices, interrupted.delivered).unwrap();
    assert_eq!((interrupted.cost, interrupted.prices), (derived, rows[0].prices));
}

#[tokio::test]
async fn each_request_is_one_line_of_the_log_and_no_line_holds_a_key() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    let folder = folder_with(&upstream.base_url());
    let serving = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    assert!(serving.said.iter().any(|line| line.starts_with("the key of ann/phone is sk-")), "{:?}", serving.said);
    assert_eq!(Ask::at(serving.address, "hi").whole().await.text(), "hello");
    assert_ne!(Ask::at(serving.address, "hi").key("sk-stranger-key").whole().await.status, 200);
    let in_query = plain("GET", &format!("/v1beta/models?key={CLIENT_KEY}"));
    assert_eq!(fetch(serving.address, in_query).await.0, 200);

    let log = serving.terminate().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request completed").collect();
    assert_eq!(requests.len(), 1, "{log}");
    assert_eq!((&requests[0]["model"], &requests[0]["cost_usd"]), (&json!(MODEL), &json!("0.000066")));
    for secret in [CLIENT_KEY, "sk-upstream", "sk-stranger-key"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn convert_writes_the_result_and_names_what_is_lost() {
    let home = Home::embedded().unwrap();
    let body = json!({ "model": "m", "max_tokens": 9, "top_k": 5, "messages": [{ "role": "user", "content": "hi" }] });
    std::fs::write(home.path().join("request.json"), body.to_string()).unwrap();
    let convert = |more: &[&'static str]| [&["convert", "--from", "anthropic", "--to", "chat"], more].concat();

    let (code, out, err) = run(home.path(), &convert(&["request.json"])).await;

    let want = json!({ "model": "m", "max_completion_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()), (0, want));
    assert_eq!(err, "lost /top_k: the target has no such value\n");

    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    let end = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    for (text, want, ends) in [(start.to_owned() + end, 0, true), (start.to_owned(), 1, false)] {
        std::fs::write(home.path().join("stream.sse"), text).unwrap();
        let (code, out, err) = run(home.path(), &convert(&["--stream", "stream.sse"])).await;
        assert_eq!((code, out.contains("[DONE]")), (want, ends), "{err}");
    }
    std::fs::write(home.path().join("none.json"), "{}").unwrap();
    assert_eq!(run(home.path(), &convert(&["none.json"])).await.0, 1);
    assert_eq!(run(home.path(), &["convert", "--from", "anthropic", "--to", "morse", "request.json"]).await.0, 2);
}
