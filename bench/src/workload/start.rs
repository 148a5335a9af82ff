//! How long the gateway takes from its start to its first answer.

use anyhow::{Result, bail};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::Run;
use crate::{
    figures::{median, scaled},
    process::{Program, free_address},
    progress,
    report::{Table, Verdict, figure},
    stack::{Gateway, upstream},
};

/// Starts with each catalog.
const STARTS: usize = 7;
/// Client keys of the catalogs.
const CLIENT_KEYS: [usize; 2] = [1, 1_000];
/// The bars with the larger catalog, in milliseconds.
const FIRST_MAX_MS: f64 = 1_000.0;
const MAX_MS: f64 = 300.0;
/// Far more than a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn measure(run: &Run) -> Result<Table> {
    let folder = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
    let upstream = upstream(folder.path(), 0).await?;
    let mut rows = Vec::new();
    let mut slowest = None;
    for client_keys in CLIENT_KEYS {
        let gateway = Gateway::prepare(folder.path(), upstream.address, client_keys)?;
        let mut times_ms = Vec::new();
        for _ in 0..scaled(STARTS, run.scale, 1) {
            let (took_ms, program) = start(&gateway).await?;
            program.stop().await?;
            times_ms.push(took_ms);
        }
        let (middle, most) = (median(times_ms.clone()), times_ms.into_iter().fold(0.0, f64::max));
        progress(&format!("start with {client_keys} client keys: {middle:.1} ms, at most {most:.1} ms"));
        rows.push(vec![client_keys.to_string(), figure(middle), figure(most)]);
        slowest = Some(middle);
    }
    let bar = |words: &str, most: f64| Verdict::at_most(format!("{words}: < {most} ms"), slowest, most, " ms");
    Ok(Table {
        title: "Start",
        what: "From the start of the process to its first 200 on `/healthz`, asked every millisecond, on a data directory that has \
               been used before."
            .to_owned(),
        head: vec!["client keys", "median ms", "longest ms"],
        rows,
        verdicts: vec![bar("first bar", FIRST_MAX_MS), bar("bar with 1,000 keys", MAX_MS)],
    })
}

/// One start, in milliseconds, and what was started.
pub(super) async fn start(gateway: &Gateway) -> Result<(f64, Program)> {
    let address = free_address().await?;
    let began = Instant::now();
    let mut program = Program::spawn(&mut gateway.serve(address), address, &gateway.log())?;
    while !healthy(address).await {
        program.check(&gateway.log())?;
        if began.elapsed() > PATIENCE {
            bail!("the gateway does not become healthy: {}", gateway.last_words());
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok((began.elapsed().as_secs_f64() * 1e3, program))
}

async fn healthy(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await?;
        let mut answer = vec![0; 4_096];
        let length = stream.read(&mut answer).await?;
        answer.truncate(length);
        anyhow::Ok(answer)
    };
    ask.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}
