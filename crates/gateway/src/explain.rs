//! `tollgate explain`: the route of a request that was made, or of one that nobody makes.

use crate::{catalog, config::Config, jobs::live, out};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use domain::{
    catalog::Catalog,
    format::{ApiFormat, Capability, Feature},
    ids::{ProviderKeyId, RequestId},
    ports::Clock,
    records::{CONVERTED, CandidateRow, Trace, TraceEntry, UsageRow},
    schedule::SkipCode,
};
use relay::{
    bindings::Bindings,
    explain::{Question, explain},
    health::Health,
};
use std::{fs, path::PathBuf, sync::Arc};
use store::{
    Store, SystemClock,
    repo::{bindings, candidates, usage},
};
use uuid::Uuid;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A request that was made: its id, as in `x-request-id` and in the log.
    #[arg(value_parser = request_id, conflicts_with_all = ["key", "model"])]
    request: Option<RequestId>,
    /// The client key that would ask, by its name.
    #[arg(long, required_unless_present = "request")]
    key: Option<String>,
    /// The model that it would ask for.
    #[arg(long, required_unless_present = "request")]
    model: Option<String>,
    /// The inbound format.
    #[arg(long, default_value = "OPENAI")]
    format: ApiFormat,
    /// Names the conversation: another one may go elsewhere.
    #[arg(long, default_value = "")]
    session: String,
    /// A feature that the request needs, such as `vision`; may be repeated.
    #[arg(long, value_name = "FEATURE")]
    feature: Vec<Feature>,
    /// A capability that it requires, such as `context_1m`; may be repeated.
    #[arg(long, value_name = "CAPABILITY")]
    capability: Vec<Capability>,
    /// A file with its body, to see who cannot take it over on another wire, and where what it names was issued.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    body: Option<PathBuf>,
}

fn request_id(text: &str) -> Result<RequestId, String> {
    let bare = text.strip_prefix(RequestId::PREFIX).and_then(|rest| rest.strip_prefix('_')).unwrap_or(text);
    Uuid::parse_str(bare).map(RequestId::from).map_err(|_| "expected an id such as req_0198…".to_owned())
}

/// Says who served, or who would serve.
pub(crate) async fn answer(asked: &Explain, config: &Config) -> Result<()> {
    let store = Store::open(config.store()).await?;
    let text = match asked.request {
        Some(request) => recorded(&store, request, config).await,
        None => planned(&store, asked, config).await,
    };
    store.db().close().await;
    out::line(text?.trim_end())?;
    Ok(())
}

async fn planned(store: &Store, asked: &Explain, config: &Config) -> Result<String> {
    let clock = Arc::new(SystemClock::new());
    let catalog = Arc::new(Catalog::build(catalog::preview(store, None, config).await?)?);
    let (health, limiter) = Health::alone(clock.clone(), catalog.clone());
    live::restore(store.db(), &health, &limiter, clock.unix_us()).await?;
    let question = Question {
        client: asked.key.clone().unwrap_or_default(),
        model: asked.model.clone().unwrap_or_default(),
        format: asked.format,
        session: asked.session.clone(),
        features: asked.feature.clone(),
        capabilities: asked.capability.clone(),
        body: match &asked.body {
            Some(file) => fs::read(file).with_context(|| format!("cannot read {}", file.display()))?.into(),
            None => Bytes::new(),
        },
    };
    let known = Bindings::default();
    let mut tx = store.db().read().await?;
    for thing in question.names()? {
        if let Some(binding) = bindings::find_any_owner(&mut tx, thing).await? {
            known.bind(thing, binding, clock.unix_us());
        }
    }
    drop(tx);
    Ok(explain(&catalog, &health, &known, &question, clock.unix_us())?.to_string())
}

async fn recorded(store: &Store, request: RequestId, config: &Config) -> Result<String> {
    let mut tx = store.db().read().await?;
    let Some(row) = usage::find_any_owner(&mut tx, request).await? else {
        bail!("the database has no request {request}; what just ended is there within a second");
    };
    let tried = candidates::tried_any_owner(&mut tx, request).await?;
    let trace = candidates::trace_any_owner(&mut tx, request).await?;
    drop(tx);
    let catalog = Catalog::build(catalog::preview(store, None, config).await?).context("the catalog")?;
    Ok(route(&catalog, &row, &tried, &trace))
}

/// The candidates that were tried, in order, with what became of them; then those that were not, and why.
fn route(catalog: &Catalog, row: &UsageRow, tried: &[CandidateRow], trace: &Trace) -> String {
    let UsageRow { request_id, model, api_format, status, status_code, cost, .. } = row;
    let mut lines = vec![format!(
        "{request_id}: {model} as {api_format}, {status} ({status_code}), ${} ({} tokens in, {} out)",
        cost.total,
        row.tokens.context(),
        row.tokens.output
    )];
    // What the request names is bound to one: then that one was tried, and all others are out for it.
    let bound = trace.entries.iter().any(|entry| entry.code == SkipCode::StateBound.as_str());
    for row in tried {
        let mut notes = vec![row.outcome.as_str().to_owned()];
        notes.extend(row.skip_reason.clone());
        notes.extend(bound.then(|| "issued what is named".to_owned()));
        notes.extend(row.is_cached.then(|| "warm".to_owned()));
        let is_converted = |entry: &TraceEntry| entry.key_id == row.key_id && entry.code == CONVERTED;
        notes.extend(trace.entries.iter().any(is_converted).then(|| "converted".to_owned()));
        notes.extend(row.status_code.map(|status| format!("status {status}")));
        notes.extend((row.queue_ms > 0).then(|| format!("waited {} ms", row.queue_ms)));
        notes.push(format!("{} ms", row.latency_ms));
        notes.extend(row.error_message.clone());
        let place = row.candidate_index + 1;
        let again = if row.retry_index > 0 { format!(" (try {})", row.retry_index + 1) } else { String::new() };
        lines.push(format!("{place:>3}. {}{again}: {}", named(catalog, row.key_id), notes.join(", ")));
    }
    for entry in trace.entries.iter().filter(|entry| entry.code != CONVERTED) {
        let number = if entry.number == 0 { String::new() } else { format!(" {}", entry.number) };
        lines.push(format!("  –  {}: {}{number}", named(catalog, entry.key_id), entry.code));
    }
    lines.extend(row.metadata.losses.iter().map(|loss| format!("     lost {loss}")));
    lines.extend((trace.more > 0).then(|| format!("     and {} more", trace.more)));
    lines.join("\n")
}

/// `provider/FORMAT/key`, or the id of a key that is gone.
fn named(catalog: &Catalog, key: ProviderKeyId) -> String {
    let names = || {
        let key = catalog.provider_key(key)?;
        let endpoint = catalog.endpoint(key.endpoint_id)?;
        let provider = catalog.provider(endpoint.provider_id)?;
        Some(format!("{}/{}/{}", provider.name, endpoint.api_format, key.name))
    };
    names().unwrap_or_else(|| key.to_string())
}
