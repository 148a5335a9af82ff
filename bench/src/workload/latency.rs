//! Latency that a program adds at a rate far below what it can do.

use anyhow::{Context, Result};

use super::{Run, requests};
use crate::{
    figures::{median, percentile, scaled},
    load::warm,
    progress,
    report::{Table, Verdict, figure},
    stack::{Kind, Stack},
};

/// Requests per second.
const RATE: f64 = 500.0;
/// Requests of a round.
const PER_ROUND: usize = 2_500;
const ROUNDS: usize = 4;
/// Connections that take turns; at this rate each rests between two requests.
const CONNECTIONS: usize = 32;
/// The bars, in milliseconds above direct.
const P50_MAX_MS: f64 = 0.15;
const P99_MAX_MS: f64 = 1.0;

pub(super) async fn measure(run: &Run, stack: &Stack) -> Result<Table> {
    let total = scaled(PER_ROUND, run.scale, CONNECTIONS);
    let kinds: Vec<Kind> = [Kind::Direct].into_iter().chain(run.kinds.iter().copied()).collect();
    let mut rounds: Vec<Vec<(f64, f64)>> = kinds.iter().map(|_| Vec::new()).collect();
    let mut errors: Vec<usize> = kinds.iter().map(|_| 0).collect();
    for number in 1..=ROUNDS {
        for (at, &kind) in kinds.iter().enumerate() {
            let program = stack.program(kind)?;
            let ready = warm(program.address, CONNECTIONS, &requests::small()).await.with_context(|| kind.name())?;
            program.quiet().await?;
            let mut outcome = ready.paced(requests::small(), RATE, total).await?;
            let mut share = |share| percentile(&mut outcome.latencies_us, share) / 1e3;
            let (p50, p99) = (share(0.5), share(0.99));
            progress(&format!("latency, round {number}, {}: p50 {p50:.3} ms, p99 {p99:.3} ms", kind.name()));
            rounds[at].push((p50, p99));
            errors[at] += outcome.errors;
        }
    }
    let middle = |at: usize| {
        let (p50, p99): (Vec<f64>, Vec<f64>) = rounds[at].iter().copied().unzip();
        (median(p50), median(p99))
    };
    let added = |at: usize| (middle(at).0 - middle(0).0, middle(at).1 - middle(0).1);
    let rows = kinds.iter().enumerate().map(|(at, kind)| {
        let ((p50, p99), (more_p50, more_p99)) = (middle(at), added(at));
        let figures = [p50, p99, more_p50, more_p99].map(figure);
        [kind.name().to_owned()].into_iter().chain(figures).chain([errors[at].to_string()]).collect()
    });
    let ours = kinds.iter().position(|kind| *kind == Kind::Tollgate).map(added);
    Ok(Table {
        title: "Added latency",
        what: format!(
            "The small chat at {RATE} requests per second, whether answers come or not, on {CONNECTIONS} connections. \
             {ROUNDS} rounds of {total}."
        ),
        head: vec!["", "p50 ms", "p99 ms", "p50 above direct", "p99 above direct", "errors"],
        rows: rows.collect(),
        verdicts: vec![
            Verdict::at_most(
                format!("bar: p50 ≤ {P50_MAX_MS} ms above direct"),
                ours.map(|it| it.0),
                P50_MAX_MS,
                " ms",
            ),
            Verdict::at_most(
                format!("bar: p99 ≤ {P99_MAX_MS} ms above direct"),
                ours.map(|it| it.1),
                P99_MAX_MS,
                " ms",
            ),
        ],
    })
}
