//! Closed loops: so many connections, each with one request in flight.

use anyhow::{Context, Result};
use std::time::Duration;

use super::{Run, Which, requests};
use crate::{
    figures::{median, percentile, scaled, to_f64},
    load::{Request, warm},
    progress,
    report::{Table, Verdict, figure},
    stack::{Kind, Stack},
};

/// One closed loop.
pub(super) struct Closed {
    pub(super) which: Which,
    title: &'static str,
    what: &'static str,
    request: Request,
    /// Milliseconds between the events of a stream, as the upstream sends them.
    pub(super) gap_ms: u32,
    connections: usize,
    per_round: usize,
    rounds: usize,
    /// What CPU time is counted by, and how many of it a request has.
    unit: (&'static str, f64),
    /// Whether the upstream alone is measured beside, as the pace that events have without a proxy.
    direct: bool,
    bars: &'static [Bar],
}

/// The most CPU time that the gateway may take, in that of another program.
struct Bar {
    against: Kind,
    factor: f64,
    /// The first release's bar, not the one to reach in the end.
    first: bool,
}

impl Bar {
    fn words(&self) -> String {
        let first = if self.first { "first bar" } else { "bar" };
        format!("{first}: ≤ {} × {}", self.factor, self.against.name())
    }
}

/// A round of one program.
struct Round {
    cpu_us: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// All closed loops, in their order.
pub(super) fn all() -> [Closed; 4] {
    [
        Closed {
            which: Which::Small,
            title: "Small chat",
            what: "A chat completion of a few words, not streamed, on 64 connections.",
            request: requests::small(),
            gap_ms: 0,
            connections: 64,
            per_round: 30_000,
            rounds: 5,
            unit: ("CPU µs per request", 1.0),
            direct: false,
            bars: &[
                Bar { against: Kind::Floor, factor: 2.5, first: true },
                Bar { against: Kind::Floor, factor: 1.65, first: false },
            ],
        },
        Closed {
            which: Which::Large,
            title: "300 kB prompt",
            what: "A chat completion with 300 kB of messages, not streamed, on 16 connections.",
            request: requests::large(),
            gap_ms: 0,
            connections: 16,
            per_round: 3_000,
            rounds: 5,
            unit: ("CPU µs per request", 1.0),
            direct: false,
            bars: &[Bar { against: Kind::Floor, factor: 1.5, first: false }],
        },
        Closed {
            which: Which::Burst,
            title: "Burst of 100 events",
            what: "A stream of 100 events that the upstream sends in one write, same wire on both sides, on 32 connections.",
            request: requests::stream(requests::EVENTS),
            gap_ms: 0,
            connections: 32,
            per_round: 6_000,
            rounds: 5,
            unit: ("CPU µs per stream", 1.0),
            direct: false,
            bars: &[
                Bar { against: Kind::Nginx, factor: 2.0, first: true },
                Bar { against: Kind::Nginx, factor: 1.5, first: false },
                Bar { against: Kind::Floor, factor: 0.3, first: false },
            ],
        },
        Closed {
            which: Which::Live,
            title: "Live events",
            what: "100 streams at a time, out of step, of 100 events 10 ms apart, same wire on both sides; p50 and p99 are those \
                   of whole streams, so that falling behind the upstream would show.",
            request: requests::stream(requests::EVENTS),
            gap_ms: requests::LIVE_GAP_MS,
            connections: 100,
            per_round: 200,
            rounds: 3,
            unit: ("CPU µs per event", to_f64(requests::EVENTS)),
            direct: true,
            bars: &[Bar { against: Kind::Floor, factor: 1.2, first: false }],
        },
    ]
}

impl Closed {
    pub(super) async fn measure(&self, run: &Run, stack: &Stack) -> Result<Table> {
        let total = scaled(self.per_round, run.scale, self.connections);
        let direct = if self.direct { Some(Kind::Direct) } else { None };
        let kinds: Vec<Kind> = direct.into_iter().chain(run.kinds.iter().copied()).collect();
        let mut rounds: Vec<Vec<Round>> = kinds.iter().map(|_| Vec::new()).collect();
        let mut errors: Vec<usize> = kinds.iter().map(|_| 0).collect();
        for number in 1..=self.rounds {
            for (at, &kind) in kinds.iter().enumerate() {
                let (round, failed) = self.round(stack, kind, total).await.with_context(|| kind.name())?;
                progress(&format!(
                    "{}, round {number}, {}: {} {}, {} per second",
                    self.title,
                    kind.name(),
                    figure(round.cpu_us),
                    self.unit.0,
                    figure(round.per_second),
                ));
                rounds[at].push(round);
                errors[at] += failed;
            }
        }
        Ok(self.table(&kinds, &rounds, &errors, total))
    }

    async fn round(&self, stack: &Stack, kind: Kind, total: usize) -> Result<(Round, usize)> {
        let program = stack.program(kind)?;
        let ready = warm(program.address, self.connections, &requests::small()).await?;
        program.quiet().await?;
        let before = program.cpu()?;
        let mut outcome = ready.closed(self.request.clone(), total, Duration::from_millis(self.gap_ms.into())).await?;
        program.quiet().await?;
        let cpu = program.cpu()?.since(&before);
        if let Some(error) = &outcome.first_error {
            progress(&format!("{}, {}: {} errors, the first: {error}", self.title, kind.name(), outcome.errors));
        }
        let round = Round {
            cpu_us: cpu.as_secs_f64() * 1e6 / (to_f64(outcome.done + outcome.errors) * self.unit.1),
            per_second: to_f64(outcome.done) / outcome.wall.as_secs_f64(),
            p50_ms: percentile(&mut outcome.latencies_us, 0.5) / 1e3,
            p99_ms: percentile(&mut outcome.latencies_us, 0.99) / 1e3,
        };
        Ok((round, outcome.errors))
    }

    fn table(&self, kinds: &[Kind], rounds: &[Vec<Round>], errors: &[usize], total: usize) -> Table {
        let middle = |at: usize, value: fn(&Round) -> f64| median(rounds[at].iter().map(value).collect());
        let cpu_of =
            |kind: Kind| kinds.iter().position(|other| *other == kind).map(|at| middle(at, |round| round.cpu_us));
        let against = |cpu: f64, other: Kind| cpu_of(other).map(|other| cpu / other);
        let ratio = |cpu: f64, other: Kind| against(cpu, other).map_or_else(dash, |ratio| format!("{ratio:.2}"));
        let rows = kinds.iter().enumerate().map(|(at, kind)| {
            let cpu = middle(at, |round| round.cpu_us);
            let figures = if *kind == Kind::Direct {
                [dash(), dash(), dash()]
            } else {
                [figure(cpu), ratio(cpu, Kind::Floor), ratio(cpu, Kind::Nginx)]
            };
            let rest = [
                figure(middle(at, |round| round.per_second)),
                figure(middle(at, |round| round.p50_ms)),
                figure(middle(at, |round| round.p99_ms)),
                errors[at].to_string(),
            ];
            [kind.name().to_owned()].into_iter().chain(figures).chain(rest).collect()
        });
        let verdicts = self.bars.iter().map(|bar| {
            let measured = cpu_of(Kind::Tollgate).and_then(|cpu| against(cpu, bar.against));
            Verdict::at_most(bar.words(), measured, bar.factor, " ×")
        });
        Table {
            title: self.title,
            what: format!("{} {} rounds of {total}.", self.what, self.rounds),
            head: vec!["", self.unit.0, "× floor", "× nginx", "per second", "p50 ms", "p99 ms", "errors"],
            rows: rows.collect(),
            verdicts: verdicts.collect(),
        }
    }
}

fn dash() -> String {
    "–".to_owned()
}
