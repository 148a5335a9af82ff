//! `tollgate serve`: starts, says where, and ends on a signal.

use crate::{
    app::{self, Running, Start},
    catalog,
    config::Config,
    out,
};
use admin::document::Document;
use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(config: &Config, document: Option<Document>) -> Result<u8> {
    let mut signals = Signals::new()?;
    let start = Start { catalog: document, ..Start::default() };
    let Some(running) = signals.unless(Box::pin(app::start(config, start))).await else { return Ok(0) };
    let running = running?;
    if let Some(report) = &running.applied {
        catalog::tell(report)?;
    }
    announce(&running, config)?;
    signals.next().await;
    running.stop(signals.next()).await;
    Ok(0)
}

/// Says where it listens and what it may dial.
pub(crate) fn announce(running: &Running, config: &Config) -> Result<()> {
    let scheme = running.scheme;
    let operators =
        running.admin_address.map_or_else(String::new, |address| format!(", operators on {scheme}://{address}"));
    out::line(format_args!("listening on {scheme}://{}{operators}", running.address))?;
    let networks: Vec<_> = config.egress.allowed().iter().map(ToString::to_string).collect();
    let networks = if networks.is_empty() { "nothing".to_owned() } else { networks.join(", ") };
    let why = match (config.egress_is_default, config.egress.allowed().is_empty()) {
        (false, _) => "",
        (true, false) => " (the default while every listener is on loopback)",
        (true, true) => " (the default while a listener is not on loopback)",
    };
    out::line(format_args!("egress.allow, outside the public internet: {networks}{why}"))?;
    Ok(())
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on the signals do not end the process by themselves.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The outcome, unless a signal comes before.
    pub(crate) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            outcome = work => Some(outcome),
        }
    }
}
