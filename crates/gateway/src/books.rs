//! Commands that look at the books and change nothing, beside a running node too.

use crate::{
    cli::{FAILED, FINE},
    config::Config,
    out,
};
use anyhow::Result;
use store::{Store, verify};

/// Differences that are printed; more are counted.
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
