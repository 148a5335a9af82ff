//! Catalog documents on behalf of commands: read, applied, checked.

mod reach;

use crate::{config::Config, listen::Tls, out};
use admin::{
    ApplyOptions, Checked, Finding, Level, Report, Resolver, Secrets,
    document::{Document, Sources, Syntax},
};
use anyhow::{Context as _, Result, bail};
use domain::catalog::Parts;
use std::{collections::BTreeMap, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};
use store::{Store, SystemClock};

/// Longest document that is read.
const DOCUMENT_MAX: u64 = 64 << 20;

/// Reads a document; its `${NAME}` are taken from `environment`.
pub(crate) fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Document> {
    let shown = path.display();
    let size = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if size > DOCUMENT_MAX {
        bail!("{shown} is larger than {DOCUMENT_MAX} bytes");
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let env = |name: &str| environment.get(name).cloned();
    let document = Document::parse(&text, Syntax::of(path, &text), &Sources { env: &env, folder });
    document.with_context(|| format!("{shown} is refused, nothing was changed"))
}

fn options(config: &Config) -> ApplyOptions {
    ApplyOptions { client_key_prefix: config.client_key_prefix.clone(), ..ApplyOptions::new(SystemClock::now_us()) }
}

/// What applying does beside making what a document names.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Nothing is written.
    pub(crate) dry_run: bool,
    /// What the document's lists do not name goes.
    pub(crate) prune: bool,
}

/// Makes the catalog what a document says.
pub(crate) async fn apply(store: &Store, document: &Document, config: &Config, how: How) -> Result<Report> {
    let options = ApplyOptions { dry_run: how.dry_run, prune: how.prune, ..options(config) };
    let applied = admin::apply(store, document, &options, &config.egress).await;
    let refused = if how.dry_run { "would be refused" } else { "is refused, nothing was changed" };
    applied.with_context(|| format!("the document {refused}"))
}

/// Writes an export to a file, which is whole when it is there; one with secrets is its owner's only.
pub(crate) fn write(path: &Path, text: &str, secrets: Secrets) -> Result<()> {
    let shown = path.display();
    let draft = path.with_added_extension(format!("{}.draft", std::process::id()));
    let mut open = fs::OpenOptions::new();
    open.write(true).create_new(true);
    if secrets == Secrets::Included {
        open.mode(0o600);
    }
    let written = open.open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    });
    if written.is_err() {
        // What is left of it must not lie about.
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| format!("cannot write {shown}"))
}

/// The catalog's rows as a document would make them, or as they are.
pub(crate) async fn preview(store: &Store, document: Option<&Document>, config: &Config) -> Result<Parts> {
    let parts = admin::preview(store, document, &options(config), &config.egress).await;
    parts.context("the document would be refused")
}

/// Like [`apply`], for a document of our own whose hosts are inside the process: no name is looked up.
pub(crate) async fn apply_inside(store: &Store, document: &Document, config: &Config) -> Result<Report> {
    let options = ApplyOptions { resolver: Resolver::Table(BTreeMap::new()), ..options(config) };
    Ok(admin::apply(store, document, &options, &config.egress).await?)
}

/// Says what was applied: changes and minted keys on standard output, warnings on standard error.
pub(crate) fn tell(report: &Report) -> Result<()> {
    for warning in &report.warnings {
        out::complain(format_args!("warning: {warning}"));
    }
    out::line(report)?;
    for minted in &report.minted {
        out::line(format_args!("the key of {} is {} (it is not shown again)", minted.name, minted.key.expose()))?;
    }
    Ok(())
}

/// Checks the catalog, a document's or the database's, and whether its upstreams answer.
pub(crate) async fn check(store: &Store, document: Option<&Document>, config: &Config) -> Result<Checked> {
    let checked = admin::check(store, document, &options(config), &config.egress).await;
    let mut checked = checked.context("the document would be refused")?;
    for (endpoint, why) in reach::all(checked.endpoints.clone(), config.upstream()).await? {
        let about = format!("endpoint {endpoint}");
        checked.findings.push(Finding { level: Level::Error, about, message: why });
    }
    if let Some(error) = config.tls.as_ref().and_then(|files| Tls::open(files).err()) {
        checked.findings.push(Finding {
            level: Level::Error,
            about: "settings".to_owned(),
            message: format!("{error:#}"),
        });
    }
    checked.findings.sort_by_key(|finding| finding.level);
    Ok(checked)
}
