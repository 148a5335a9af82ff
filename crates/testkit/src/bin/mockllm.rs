//! The scripted upstream as a program: answers on all four wires, as directives in the prompt say.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value, json};
use testkit::{Options, Received, Upstream};

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
}

/// Requests that are logged; a test has far fewer.
const LOGGED: usize = 100_000;

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
    let keep = if args.log_requests.is_some() { LOGGED } else { 0 };
    let options = Options { keep, min_gap: Duration::from_millis(args.min_gap_ms) };
    let upstream = Upstream::listen(args.listen, &options).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "mockllm listens on {}", upstream.base_url())?;
    out.flush()?;
    drop(out);
    let Some(path) = args.log_requests else { return std::future::pending().await };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    for count in 1.. {
        upstream.received(count).await;
        if let Some(received) = upstream.requests().get(count - 1) {
            writeln!(file, "{}", line(received))?;
        }
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
