//! A gateway in a temporary directory, its catalog, and clients of all four wires.

mod ask;

pub(crate) use ask::{Ask, WIRES, Wire};

use admin::{
    ApplyOptions, Resolver,
    document::{Document, Sources as Secrets, Syntax},
};
use bytes::Bytes;
use domain::{money::NanoUsd, records::UsageRow};
use gateway::{
    app::{self, Running, Start},
    config::{Config, Sources},
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use store::{Store, repo::usage};
use testkit::{Upstream, servers::Home};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

pub(crate) const CLIENT_KEY: &str = "sk-client-0123456789abcdef0123456789";
pub(crate) const MODEL: &str = "big-model";

/// What a test changes before its gateway starts.
pub(crate) struct Builder {
    catalog: String,
    providers: usize,
    settings: Vec<(&'static str, String)>,
    home: Option<Home>,
}

/// A gateway with one person, one key, one model ($3 and $15 per million, $0.30 from a cache) and nobody to serve it.
pub(crate) fn gateway() -> Builder {
    let catalog = format!(
        r#"
users: [{{username: ann, email: ann@example.com, password: null}}]
api_keys: [{{name: laptop, user: ann, key: {CLIENT_KEY}, rate_limit: null, concurrent_limit: null}}]
global_models:
  - name: {MODEL}
    display_name: Big Model
    default_tiered_pricing:
      tiers: [{{up_to: null, input_price_per_1m: "3", output_price_per_1m: "15", cache_read_price_per_1m: "0.30"}}]
"#
    );
    Builder { catalog, providers: 0, settings: Vec::new(), home: None }
}

/// A provider of [`MODEL`] on all four wires, each for its own callers alone, as a document's list item.
pub(crate) fn provider(number: usize, base_url: &str) -> String {
    let mut text =
        format!("  - name: provider-{number}\n    display_name: P{number}\n    provider_priority: {number}\n");
    let _ = writeln!(text, "    models: [{{global_model: {MODEL}, provider_model_name: up-{number}}}]\n    endpoints:");
    for format in ["CLAUDE", "OPENAI", "OPENAI_CLI", "GEMINI"] {
        let rest = "config: {accepts_conversion: false}, keys: [{name: main, api_key: sk-upstream}]";
        let _ = writeln!(text, "      - {{api_format: {format}, base_url: \"{base_url}\", max_retries: 0, {rest}}}");
    }
    text
}

impl Builder {
    /// Adds a provider on all four wires, after those before it in priority.
    pub(crate) fn provider(mut self, upstream: &Upstream) -> Self {
        if self.providers == 0 {
            self.catalog.push_str("providers:\n");
        }
        self.catalog.push_str(&provider(self.providers, &upstream.base_url()));
        self.providers += 1;
        self
    }

    /// Gives the person so much to spend, without a period.
    pub(crate) fn quota(mut self, usd: NanoUsd) -> Self {
        let quota = format!("password: null, quota: {{type: none, usd: \"{usd}\"}}");
        self.catalog = self.catalog.replace("password: null", &quota);
        self
    }

    /// Changes the catalog so far.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.catalog.contains(from), "{from}");
        self.catalog = self.catalog.replace(from, to);
        self
    }

    /// Changes a setting.
    pub(crate) fn set(mut self, setting: &'static str, text: &str) -> Self {
        self.settings.push((setting, text.to_owned()));
        self
    }

    /// Where it lives, if not in a new directory with an embedded database.
    pub(crate) fn at(mut self, home: Home) -> Self {
        if let Some(url) = home.database_url() {
            self = self.set("database.url", url);
        }
        self.home = Some(home);
        self
    }

    pub(crate) async fn start(self) -> Gateway {
        let folder = self.home.unwrap_or_else(|| Home::embedded().unwrap());
        let config = config(folder.path(), &self.settings);
        let start = Start { catalog: Some(document(&self.catalog)), ..Start::default() };
        let running = app::start(&config, start).await.unwrap();
        Gateway { running, config, folder }
    }
}

/// The settings of a gateway on free ports and this directory.
pub(crate) fn config(folder: &Path, settings: &[(&'static str, String)]) -> Config {
    let mut sources = Sources::default();
    sources.set("listen", "test", "127.0.0.1:0");
    sources.set("data_dir", "test", folder.join("data").display().to_string());
    for (setting, text) in settings {
        sources.set(setting, "test", text);
    }
    sources.resolve().unwrap()
}

pub(crate) fn document(text: &str) -> Document {
    let secrets = Secrets { env: &|_| None, folder: PathBuf::new() };
    Document::parse(text, Syntax::Yaml, &secrets).unwrap()
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) running: Running,
    pub(crate) config: Config,
    pub(crate) folder: Home,
}

impl Gateway {
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// A question on a wire.
    pub(crate) fn ask(&self, wire: Wire, text: &str) -> Ask {
        Ask::on(self.address(), wire, text)
    }

    /// A question as chat completions are asked.
    pub(crate) fn chat(&self, text: &str) -> Ask {
        self.ask(Wire::Chat, text)
    }

    /// Every usage row, in the order of their requests, once the database has caught up.
    pub(crate) async fn entries(&self) -> Vec<UsageRow> {
        self.running.caught_up().await;
        rows(self.running.store()).await
    }

    /// Applies a document through a store of its own, as the command does beside a running node; the revision it made.
    pub(crate) async fn apply(&self, text: &str) -> u64 {
        let store = self.other_store().await;
        let options = ApplyOptions { resolver: Resolver::System, ..ApplyOptions::new(1_800_000_000_000_000) };
        admin::apply(&store, &document(text), &options, &self.config.egress).await.unwrap();
        store::feed::current_revision(store.db()).await.unwrap()
    }

    /// The store as another process has it.
    pub(crate) async fn other_store(&self) -> Store {
        Store::open(self.config.store()).await.unwrap()
    }

    pub(crate) async fn stop(self) -> Home {
        self.running.stop(std::future::pending()).await;
        self.folder
    }
}

/// Every usage row of a store, in the order of their requests.
pub(crate) async fn rows(store: &Store) -> Vec<UsageRow> {
    let mut rows = usage::latest_any_owner(&mut store.db().read().await.unwrap(), 100_000).await.unwrap();
    rows.reverse();
    rows
}

/// Dollars as text.
pub(crate) fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

/// Sends one request on a connection of its own, which lives as long as its answer.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    try_send(address, request).await.expect("an answer")
}

/// The same to a gateway that may be gone.
pub(crate) async fn try_send(address: SocketAddr, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Ends when the answer was read or dropped.
    TaskTracker::new().spawn(connection);
    sender.send_request(request).await.ok()
}

/// A request without a body.
pub(crate) fn plain(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "127.0.0.1")
}

/// Status, headers and text of the answer to a request without a body.
pub(crate) async fn fetch(address: SocketAddr, request: http::request::Builder) -> (u16, http::HeaderMap, String) {
    use http_body_util::BodyExt as _;
    let (parts, body) = send(address, request.body(Full::default()).unwrap()).await.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status.as_u16(), parts.headers, text)
}
