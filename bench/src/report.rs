//! The tables, in Markdown.

use jiff::Timestamp;
use std::fmt::Write;

/// What the whole run found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) tables: Vec<Table>,
    /// What a reader must know of this run, each a sentence.
    pub(crate) remarks: Vec<String>,
}

/// One workload.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// What was done, in a sentence or two.
    pub(crate) what: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// A bar, and whether it is met.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) bar: String,
    pub(crate) measured: String,
    /// `None` if it could not be judged.
    pub(crate) met: Option<bool>,
}

impl Verdict {
    /// A value that must not be above `most`; `None` was not measured.
    pub(crate) fn at_most(bar: String, measured: Option<f64>, most: f64, unit: &str) -> Self {
        let text = measured.map_or_else(|| "not measured".to_owned(), |value| format!("{}{unit}", figure(value)));
        Self { bar, measured: text, met: measured.map(|value| value <= most) }
    }

    const fn word(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "not judged",
        }
    }
}

/// A number with three digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The whole document.
pub(crate) fn markdown(machine: &str, found: &Found) -> String {
    let mut text = String::from("# Benchmark\n\n");
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "Written by `make bench`. {machine}. {}.\n", Timestamp::now().strftime("%Y-%m-%d"));
    text.push_str(INTRODUCTION);
    for remark in &found.remarks {
        let _ = writeln!(text, "- {remark}");
    }
    text.push_str("\n## Bars\n\n| workload | bar | measured | |\n| --- | --- | --- | --- |\n");
    for table in &found.tables {
        for verdict in &table.verdicts {
            let Verdict { bar, measured, .. } = verdict;
            let _ = writeln!(text, "| {} | {bar} | {measured} | {} |", table.title, verdict.word());
        }
    }
    for table in &found.tables {
        let _ = writeln!(text, "\n## {}\n\n{}\n", table.title, table.what);
        let _ = writeln!(text, "| {} |", table.head.join(" | "));
        let _ = writeln!(text, "|{}", " --- |".repeat(table.head.len()));
        for row in &table.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    text
}

const INTRODUCTION: &str = "\
Load, proxy and upstream share the cores of one machine; the programs take turns in short rounds, and a figure is the median
over the rounds. The CPU time that the process under test spends per request is the figure to trust: it is read from `/proc`,
from the first request until the process is quiet again, so that what the gateway writes after an answer is in it.

- **floor**: a reverse proxy of hyper and hyper-util's pooled client, and nothing else (`src/floor.rs`).
- **nginx**: `proxy_pass` with kept connections and `proxy_buffering off`, a worker per core, no access log.
- **tollgate**: `tollgate serve` with its defaults and everything on: a client key with rate limit, concurrency limit and quota,
  two providers with two keys each, a model name that is edited in every request, prices, journal, shipping to SQLite, logs.
- The gateway is what `make run` builds, with the recorded profile of `pgo/`, recorded under these workloads and the official
  SDKs. The floor is built with the same options; the profile knows of it what it shares with the gateway.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_which_bars_are_met() {
        let verdicts = vec![
            Verdict::at_most("≤ 2 ×".to_owned(), Some(1.234), 2.0, " ×"),
            Verdict::at_most("≤ 1 ×".to_owned(), Some(1.234), 1.0, " ×"),
            Verdict::at_most("≤ 3 ×".to_owned(), None, 3.0, " ×"),
        ];
        let rows = vec![vec!["floor".to_owned(), "17.0".to_owned()]];
        let table = Table { title: "Small", what: "Much.".to_owned(), head: vec!["", "CPU µs"], rows, verdicts };
        let text = markdown("A machine", &Found { tables: vec![table], remarks: vec!["No nginx.".to_owned()] });
        for part in [
            "A machine. 2",
            "- No nginx.\n",
            "| Small | ≤ 2 × | 1.23 × | met |\n",
            "| Small | ≤ 1 × | 1.23 × | **not met** |\n",
            "| Small | ≤ 3 × | not measured | not judged |\n",
            "## Small\n\nMuch.\n\n|  | CPU µs |\n| --- | --- |\n| floor | 17.0 |\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([1234.5, 56.78, 1.234, 0.0567].map(figure), ["1234", "56.8", "1.23", "0.057"]);
    }
}
