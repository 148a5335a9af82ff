//! `tollgate serve --demo`: a first look without an account anywhere.
//!
//! The upstream is inside the process and dialled through a connector; nothing leaves the machine. The catalog is in
//! `demo.yaml`.

use crate::{
    app::{self, Running, Start},
    catalog,
    config::Config,
    out, serve,
};
use admin::document::{Document, Sources, Syntax};
use anyhow::{Context as _, Result, bail};
use domain::secret::Secret;
use relay::upstream::InProcess;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::{DataDir, Store, mint};
use testkit::{Options, Upstream};
use uuid::Uuid;

/// The upstream's host; no resolver knows it.
const HOST: &str = "upstream.demo.invalid";
/// A pause between events, so that a stream is seen to stream.
const GAP: Duration = Duration::from_millis(60);

/// A gateway with everything that a demo needs.
pub struct Demo {
    /// What serves.
    pub running: Running,
    /// The client key.
    pub key: Secret,
    upstream: Upstream,
    _folder: Option<Folder>,
}

/// Serves the demo until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> Result<u8> {
    let mut signals = serve::Signals::new()?;
    let Some(demo) = signals.unless(Box::pin(start(config.clone()))).await else { return Ok(0) };
    let demo = demo?;
    serve::announce(&demo.running, &config)?;
    out::line(demo.hints())?;
    signals.next().await;
    demo.stop(signals.next()).await;
    Ok(0)
}

/// Seeds a catalog in an empty data directory and serves it.
pub async fn start(mut config: Config) -> Result<Demo> {
    if config.database_url.is_some() {
        bail!("the demo keeps its catalog in an embedded database: run it without database.url");
    }
    let folder = if config.data_dir_named { None } else { Some(Folder::new()?) };
    if let Some(folder) = &folder {
        folder.0.clone_into(&mut config.data_dir);
    }
    if !is_empty(&config.data_dir)? {
        bail!(
            "{} is not empty: the demo makes a catalog of its own and mixes it with no other",
            config.data_dir.display()
        );
    }
    let key = seed(&config).await?;
    let upstream = Upstream::local_with(&Options { min_gap: GAP, ..Options::default() });
    let dialled = upstream.clone();
    let inside = InProcess { host: HOST.to_owned(), dial: Arc::new(move || dialled.connect()) };
    let running = app::start(&config, Start { in_process: vec![inside], ..Start::default() }).await?;
    Ok(Demo { running, key, upstream, _folder: folder })
}

/// Applies the catalog; the key that it mints.
async fn seed(config: &Config) -> Result<Secret> {
    let text = include_str!("demo.yaml").replace("@HOST@", HOST);
    let sources = Sources { env: &|_| None, folder: PathBuf::new() };
    let document = Document::parse(&text, Syntax::Yaml, &sources)?;
    let store = Store::open(config.store()).await?;
    let report = catalog::apply_inside(&store, &document, config).await;
    store.db().close().await;
    let minted = report?.minted.pop();
    Ok(minted.context("the demo's catalog mints a key")?.key)
}

fn is_empty(directory: &Path) -> Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}

impl Demo {
    /// What to type next.
    fn hints(&self) -> String {
        let (scheme, address, key) = (self.running.scheme, self.running.address, self.key.expose());
        format!(
            "\nthe demo's key: {key}\n\
             its upstream is inside this process; nothing leaves the machine\n\n\
             # as the Anthropic API\n\
             curl -N {scheme}://{address}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\\n    \
             -d '{{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":256,\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n\n\
             # as the OpenAI API\n\
             curl -N {scheme}://{address}/v1/chat/completions -H 'authorization: Bearer {key}' \\\n    \
             -d '{{\"model\":\"gpt-5\",\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n\n\
             # what it cost\n\
             curl -s {scheme}://{address}/metrics | grep cost"
        )
    }

    /// Ends it.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.running.stop(hurry).await;
        self.upstream.shutdown().await;
    }
}

/// A data directory that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tollgate-demo-{}", mint::<Uuid>().simple()));
        DataDir::open(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the demo's directory stays behind");
        }
    }
}
