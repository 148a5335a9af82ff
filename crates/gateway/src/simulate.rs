//! `tollgate simulate`: what the scheduler would do with traffic, without a request being sent.

use crate::{catalog, config::Config, out};
use admin::document::Document;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use relay::simulate::{self, Policy, Recorded, Report, Scenario};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};
use store::Store;

/// Longest traffic file that is read.
const TRAFFIC_MAX: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Traffic and upstreams in TOML, or recorded requests as JSON lines (`.jsonl`).
    file: PathBuf,
    /// Equal seeds give equal runs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plays the catalog that this document would make, too, and prints both.
    #[arg(long, value_name = "DOCUMENT")]
    compare: Option<PathBuf>,
}

impl Simulate {
    /// The document to compare with.
    pub(crate) fn document(&self) -> Option<&Path> {
        self.compare.as_deref()
    }
}

/// Plays the file against the database's catalog, and what the document would make of it.
pub(crate) async fn run(simulate: &Simulate, document: Option<&Document>, config: &Config) -> Result<()> {
    let scenario = read(&simulate.file)?;
    let store = Store::open(config.store()).await?;
    let parts = async {
        let first = catalog::preview(&store, None, config).await?;
        let second = match document {
            Some(document) => Some(catalog::preview(&store, Some(document), config).await?),
            None => None,
        };
        anyhow::Ok((first, second))
    };
    let parts = parts.await;
    store.db().close().await;
    let (first, second) = parts?;
    let play = |parts| -> Result<Report> {
        let catalog = Arc::new(simulate::catalog(parts)?);
        Ok(simulate::run(&catalog, &scenario, simulate.seed)?)
    };
    let now = play(first)?;
    let Some(second) = second else {
        out::line(now)?;
        return Ok(());
    };
    let then = play(second)?;
    out::line(format_args!("{:<20} {:>16} {:>16}", "", "catalog", "document"))?;
    for ((name, now), (_, then)) in now.figures().into_iter().zip(then.figures()) {
        out::line(format_args!("{name:<20} {now:>16} {then:>16}"))?;
    }
    out::line(format_args!("\nthe catalog\n{now}\nthe document\n{then}"))?;
    Ok(())
}

fn read(path: &Path) -> Result<Scenario> {
    let shown = path.display();
    let size = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if size > TRAFFIC_MAX {
        bail!("{shown} is larger than {TRAFFIC_MAX} bytes");
    }
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        return toml::from_str(&text).with_context(|| format!("{shown} is no traffic file"));
    }
    let mut recorded: Vec<Recorded> = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(fs::File::open(path)?).lines()) {
        let line = line.with_context(|| format!("cannot read {shown}"))?;
        if !line.trim().is_empty() {
            recorded.push(serde_json::from_str(&line).with_context(|| format!("{shown}:{number}"))?);
        }
    }
    let last_ms = recorded.iter().map(|request| request.at_ms).max().unwrap_or(0);
    Ok(Scenario {
        // The last answer may take its time.
        minutes: u32::try_from(last_ms / 60_000).unwrap_or(u32::MAX).saturating_add(10),
        policy: Policy::Configured,
        queue_wait_ms: 2_000,
        traffic: Vec::new(),
        recorded,
        upstream: Vec::new(),
    })
}
