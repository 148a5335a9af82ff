//! Resident memory: idle, and for each open stream.

use anyhow::{Context, Result};
use std::time::Duration;
use tokio::time::sleep;

use super::{Run, requests};
use crate::{
    figures::{scaled, to_f64},
    load::{Held, warm},
    progress,
    report::{Table, Verdict, figure},
    stack::{Kind, Stack},
};

/// Open streams of the first step, and of each further one.
const STEP: usize = 500;
/// Connections and requests that a program has seen before its memory without streams is read. Few connections: what they
/// free is used again by the streams, and would not be counted as theirs.
const WARM_CONNECTIONS: usize = 8;
const WARM_REQUESTS: usize = 5_000;
/// How long streams flow before memory is read.
const FLOW: Duration = Duration::from_secs(2);
/// The bars.
const PER_STREAM_MAX_KIB: f64 = 40.0;
const IDLE_MAX_MIB: f64 = 30.0;

/// Memory of one program, in KiB.
struct Memory {
    idle: f64,
    warm: f64,
    half: f64,
    full: f64,
}

pub(super) async fn measure(run: &Run) -> Result<Table> {
    let step = scaled(STEP, run.scale, 10);
    let mut found = Vec::new();
    for &kind in &run.kinds {
        let memory = of(kind, step, run.scale).await.with_context(|| kind.name())?;
        progress(&format!(
            "memory, {}: idle {} KiB, warm {} KiB, {} streams {} KiB, {} streams {} KiB",
            kind.name(),
            memory.idle,
            memory.warm,
            step,
            memory.half,
            2 * step,
            memory.full,
        ));
        found.push((kind, memory));
    }
    let per_stream = |memory: &Memory| (memory.full - memory.warm) / to_f64(2 * step);
    let rows = found.iter().map(|(kind, memory)| {
        let figures = [
            memory.idle / 1024.0,
            memory.warm / 1024.0,
            memory.full / 1024.0,
            (memory.half - memory.warm) / to_f64(step),
            per_stream(memory),
        ];
        [kind.name().to_owned()].into_iter().chain(figures.map(figure)).collect()
    });
    let ours = found.iter().find(|(kind, _)| *kind == Kind::Tollgate).map(|(_, memory)| memory);
    Ok(Table {
        title: "Memory",
        what: format!(
            "Resident memory of a fresh program: idle, after {WARM_REQUESTS} small requests on {WARM_CONNECTIONS} connections, and \
             with {step} and {} streams open whose events come {} ms apart.",
            2 * step,
            requests::HELD_GAP_MS,
        ),
        head: vec!["", "idle MiB", "warm MiB", "all streams MiB", "KiB per stream, first half", "KiB per stream"],
        rows: rows.collect(),
        verdicts: vec![
            Verdict::at_most(
                format!("bar: ≤ {PER_STREAM_MAX_KIB} KiB per live stream"),
                ours.map(per_stream),
                PER_STREAM_MAX_KIB,
                " KiB",
            ),
            Verdict::at_most(
                format!("bar: ≤ {IDLE_MAX_MIB} MiB idle"),
                ours.map(|memory| memory.idle / 1024.0),
                IDLE_MAX_MIB,
                " MiB",
            ),
        ],
    })
}

async fn of(kind: Kind, step: usize, scale: f64) -> Result<Memory> {
    let stack = Stack::start(&[kind], requests::HELD_GAP_MS).await?;
    let program = stack.program(kind)?;
    let resident = || anyhow::Ok(to_f64(usize::try_from(program.resident_kib()?)?));
    program.quiet().await?;
    let idle = resident()?;
    let ready = warm(program.address, WARM_CONNECTIONS, &requests::small()).await?;
    ready.closed(requests::small(), scaled(WARM_REQUESTS, scale, WARM_CONNECTIONS), Duration::ZERO).await?;
    program.quiet().await?;
    let warm = resident()?;
    let mut held = Held::default();
    held.open(program.address, &requests::stream(requests::HELD_EVENTS), step).await?;
    sleep(FLOW).await;
    let half = resident()?;
    held.open(program.address, &requests::stream(requests::HELD_EVENTS), step).await?;
    sleep(FLOW).await;
    let full = resident()?;
    held.check()?;
    Ok(Memory { idle, warm, half, full })
}
