//! The benchmark: a bare reverse proxy, nginx and the gateway with everything on, side by side in one run.
//!
//! All of them stand before the same scripted upstream on the same machine, and take turns in short rounds, so that what
//! disturbs one disturbs all. The figure to trust is the CPU time that the process under test spends per request, read
//! from `/proc`: throughput and latency depend on what else the cores have to do. Linux only.

mod convert;
mod figures;
mod floor;
mod load;
mod machine;
mod plan;
mod process;
mod report;
mod stack;
mod workload;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};
use tokio::runtime;

use crate::{stack::Kind, workload::Which};

/// Measures the gateway against a bare reverse proxy and nginx.
#[derive(Debug, Parser)]
#[command(name = "tollgate-bench")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Measures these workloads only, and prints the tables instead of keeping them.
    #[arg(long, value_enum)]
    only: Vec<Which>,
    /// Measures these programs only, and prints the tables instead of keeping them.
    #[arg(long, value_enum)]
    targets: Vec<Kind>,
    /// Multiplies the requests of every round; with another value than 1 the tables are printed, not kept.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where the tables are kept.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md"))]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Measures what planning costs, and prints it.
    Plan,
    /// Measures what conversion costs, and prints it.
    Convert,
    /// The bare reverse proxy, in a process of its own so that its CPU time is its own.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Floor { listen, upstream }) => {
            return runtime::Builder::new_multi_thread().enable_all().build()?.block_on(floor::serve(listen, upstream));
        }
        Some(Role::Plan) => {
            write!(io::stdout(), "{}", plan::section()?)?;
            return Ok(());
        }
        Some(Role::Convert) => {
            write!(io::stdout(), "{}", convert::section()?)?;
            return Ok(());
        }
        None => {}
    }
    // One thread: the load must leave the cores to what is measured.
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(arguments))
}

async fn measure(arguments: Arguments) -> Result<()> {
    let partial = !arguments.only.is_empty() || !arguments.targets.is_empty() || (arguments.scale - 1.0).abs() > 1e-9;
    let found = workload::run(&arguments.only, &arguments.targets, arguments.scale).await?;
    let mut text = report::markdown(&machine::describe()?, &found);
    if !partial {
        text.push_str(&plan::section()?);
        text.push_str(&convert::section()?);
    }
    if partial {
        write!(io::stdout(), "{text}")?;
    } else {
        fs::write(&arguments.out, text).with_context(|| format!("writing {}", arguments.out.display()))?;
        progress("the tables are in bench/RESULTS.md");
    }
    Ok(())
}

/// Says what happens meanwhile.
fn progress(line: &str) {
    // Nobody to tell is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "{line}");
}
