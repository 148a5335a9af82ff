//! The workloads, and the order in which everything is measured.

mod client_keys;
mod closed;
mod journal;
mod latency;
mod memory;
mod requests;
mod start;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    progress,
    report::Found,
    stack::{Kind, Stack, find_nginx, nginx_version},
};

/// A workload, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// A small chat request, whole answer.
    Small,
    /// A prompt of 300 kB.
    Large,
    /// A stream whose events come in one burst.
    Burst,
    /// Streams whose events come a few milliseconds apart.
    Live,
    /// Latency at a fixed rate.
    Latency,
    /// Memory, idle and with open streams.
    Memory,
    /// Time until the gateway answers.
    Start,
    /// A catalog of 100,000 client keys: how long it takes to load, and what it occupies.
    ClientKeys,
    /// The records of requests: written to the journal, shipped to the database.
    Records,
}

/// What takes part in this run.
struct Run {
    kinds: Vec<Kind>,
    scale: f64,
}

/// Measures these workloads (all, if none is named) on these programs (likewise).
pub(crate) async fn run(only: &[Which], targets: &[Kind], scale: f64) -> Result<Found> {
    let mut found = Found::default();
    let mut kinds = if targets.is_empty() { vec![Kind::Floor, Kind::Nginx, Kind::Tollgate] } else { targets.to_vec() };
    if kinds.contains(&Kind::Nginx) {
        if find_nginx().is_some() {
            found.remarks.extend(nginx_version().map(|version| format!("nginx is version {version}.")));
        } else {
            progress("nginx is not installed: measuring without it");
            found
                .remarks
                .push("nginx was not to be had on this machine: what it is compared with was not judged.".to_owned());
            kinds.retain(|kind| *kind != Kind::Nginx);
        }
    }
    let run = Run { kinds, scale };
    let wanted = |which: Which| only.is_empty() || only.contains(&which);

    // Memory first, on programs of its own: what a load leaves behind would be counted as theirs.
    let memory = if wanted(Which::Memory) { Some(memory::measure(&run).await?) } else { None };
    let (live, closed): (Vec<_>, Vec<_>) =
        closed::all().into_iter().filter(|workload| wanted(workload.which)).partition(|workload| workload.gap_ms > 0);
    if !closed.is_empty() || wanted(Which::Latency) {
        let stack = Stack::start(&run.kinds, 0).await?;
        for workload in closed {
            found.tables.push(workload.measure(&run, &stack).await?);
        }
        if wanted(Which::Latency) {
            found.tables.push(latency::measure(&run, &stack).await?);
        }
    }
    for workload in live {
        let stack = Stack::start(&run.kinds, workload.gap_ms).await?;
        found.tables.push(workload.measure(&run, &stack).await?);
    }
    found.tables.extend(memory);
    if wanted(Which::Start) && run.kinds.contains(&Kind::Tollgate) {
        found.tables.push(start::measure(&run).await?);
    }
    if wanted(Which::ClientKeys) && run.kinds.contains(&Kind::Tollgate) {
        found.tables.push(client_keys::measure(&run).await?);
    }
    if wanted(Which::Records) && run.kinds.contains(&Kind::Tollgate) {
        found.tables.push(journal::measure(&run).await?);
    }
    Ok(found)
}
