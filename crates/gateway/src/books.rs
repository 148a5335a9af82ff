//! Commands that look at the books and change nothing, beside a running node too.

use crate::{
    cli::{FAILED, FINE},
    config::Config,
    out,
};
use anyhow::{Context as _, Result, bail};
use domain::ids::NodeId;
use std::path::PathBuf;
use store::{
    DataDir, DatabaseUrl, Db, Store,
    journal::{Position, inspect},
    settle, verify,
};

/// Differences, and open requests, that are printed; more are counted.
const SHOWN_MAX: usize = 100;

/// Derives bills and counters anew and prints what differs.
pub(crate) async fn verify(config: &Config) -> Result<u8> {
    let store = Store::open(config.store()).await?;
    let report = verify::run(store.db(), SHOWN_MAX).await;
    store.db().close().await;
    let report = report?;
    for difference in &report.shown {
        out::line(difference)?;
    }
    let hidden = report.differences - report.shown.len() as u64;
    if hidden > 0 {
        out::line(format_args!("and {hidden} more"))?;
    }
    out::line(format_args!("{} requests checked, {} differences", report.requests, report.differences))?;
    Ok(if report.differences == 0 { FINE } else { FAILED })
}

/// Lists what a journal holds, and how far it is in the database.
pub(crate) async fn inspect(config: &Config, path: Option<PathBuf>) -> Result<u8> {
    let ours = || DataDir::existing(&config.data_dir).map(|data_dir| data_dir.journal());
    let Some(dir) = path.or_else(ours).filter(|dir| dir.is_dir()) else {
        bail!("there is no journal in {}", config.data_dir.display());
    };
    let shown = dir.display().to_string();
    let node = inspect::node(&dir).with_context(|| format!("cannot read {shown}"))?;
    let marks = match node {
        Some(node) => marks(config, node).await,
        None => Ok(Vec::new()),
    };
    if let Err(error) = &marks {
        out::complain(format_args!("what is shipped is not known: {error:#}"));
    }
    let marks = marks.ok();
    // It reads whole files.
    let inspection = tokio::task::spawn_blocking(move || inspect::run(&dir, marks.as_deref())).await?;
    let inspection = inspection.with_context(|| format!("cannot read {shown}"))?;
    match node {
        Some(node) => out::line(format_args!("{shown}, of {node}"))?,
        None => out::line(&shown)?,
    }
    tell(&inspection)?;
    Ok(if inspection.is_damaged() { FAILED } else { FINE })
}

fn tell(inspection: &inspect::Inspection) -> Result<()> {
    let mut epoch = None;
    for segment in &inspection.segments {
        if epoch.replace(segment.id.epoch) != Some(segment.id.epoch) {
            out::line(format_args!("epoch {}", segment.id.epoch))?;
        }
        out::line(format_args!("  {segment}"))?;
    }
    for open in inspection.open.iter().take(SHOWN_MAX) {
        out::line(format_args!("open: {open}"))?;
    }
    if inspection.open.len() > SHOWN_MAX {
        out::line(format_args!("and {} more", inspection.open.len() - SHOWN_MAX))?;
    }
    out::line(inspection)?;
    Ok(())
}

/// How far the database says that a node's journal is shipped; a database that is not there is not made.
async fn marks(config: &Config, node: NodeId) -> Result<Vec<Position>> {
    let url = if let Some(url) = &config.database_url {
        url.expose().parse()?
    } else {
        let database = DataDir::existing(&config.data_dir).map(|data_dir| data_dir.database());
        DatabaseUrl::sqlite(database.filter(|file| file.exists()).context("there is no database")?)
    };
    let db = Db::connect(&url).await.context("the database does not answer")?;
    let marks = settle::marks(&db, node).await;
    db.close().await;
    Ok(marks?)
}
