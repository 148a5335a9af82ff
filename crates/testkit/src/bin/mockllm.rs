//! The scripted upstream as a program: answers on all four wires, as directives in the prompt say.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value, json};
use testkit::{Options, Received, Upstream};
use tokio::sync::mpsc;

/// A scripted upstream for end-to-end tests and benchmarks.
#[derive(Debug, Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Appends a line of JSON per request: method, path, query, headers, body.
    #[arg(long)]
    log_requests: Option<PathBuf>,
    /// A pause between the events of every stream, in milliseconds.
    #[arg(long, default_value_t = 0)]
    min_gap_ms: u64,
    /// Makes every stream a burst of so many events in one write.
    #[arg(long)]
    burst: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "mockllm: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<()> {
    let (report, mut reports) = mpsc::unbounded_channel();
    let log = args.log_requests.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
    let options = Options {
        keep: 0,
        min_gap: Duration::from_millis(args.min_gap_ms),
        burst: args.burst,
        reuse: true,
        report: log.is_some().then_some(report),
    };
    let upstream = Upstream::listen(args.listen, &options).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "mockllm listens on {}", upstream.base_url())?;
    out.flush()?;
    drop(out);
    let Some(mut log) = log else { return std::future::pending().await };
    while let Some(received) = reports.recv().await {
        writeln!(log, "{}", line(&received))?;
    }
    Ok(())
}

fn line(received: &Received) -> Value {
    let headers: Map<String, Value> =
        received.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().into())).collect();
    json!({
        "method": received.method,
        "path": received.path,
        "query": received.query,
        "headers": headers,
        "body": String::from_utf8_lossy(&received.body),
    })
}
