//! The load: closed loops, a fixed rate, and streams that stay open.

mod client;

pub(crate) use client::Request;

use anyhow::{Context, Result, bail};
use client::Connection;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::figures::to_f64;

/// Streams that are opened at the same time, so that no listener's queue overflows.
const OPENING_MAX: usize = 50;

/// What a round came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Complete answers.
    pub(crate) done: usize,
    /// What was no complete answer of status 200.
    pub(crate) errors: usize,
    /// The first error, in words.
    pub(crate) first_error: Option<String>,
    /// Bytes of all bodies.
    pub(crate) body_bytes: u64,
    /// From the first request to the last answer.
    pub(crate) wall: Duration,
    /// Of every complete answer, in microseconds.
    pub(crate) latencies_us: Vec<u32>,
}

impl Outcome {
    fn count(&mut self, result: Result<u64>, latency: Duration) {
        match result {
            Ok(bytes) => {
                self.done += 1;
                self.body_bytes += bytes;
                self.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.body_bytes += other.body_bytes;
        self.latencies_us.extend(other.latencies_us);
    }
}

/// Connections that have served a request each, on both sides of the proxy.
pub(crate) struct Warm {
    address: SocketAddr,
    connections: Vec<Connection>,
}

/// Opens `count` connections and sends `request` on all of them at once.
pub(crate) async fn warm(address: SocketAddr, count: usize, request: &Request) -> Result<Warm> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let request = request.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection.exchange(&request).await?;
            anyhow::Ok(connection)
        });
    }
    let mut connections = Vec::with_capacity(count);
    while let Some(joined) = tasks.join_next().await {
        connections.push(joined?.context("a first request")?);
    }
    Ok(Warm { address, connections })
}

impl Warm {
    /// Sends `total` requests: each connection sends as soon as it has its answer. The first ones leave spread over
    /// `spread`, for events that come at a steady pace would else come all at once.
    pub(crate) async fn closed(self, request: Request, total: usize, spread: Duration) -> Result<Outcome> {
        let (address, next) = (self.address, Arc::new(AtomicUsize::new(0)));
        let step = spread.div_f64(to_f64(self.connections.len().max(1)));
        let began = Instant::now();
        self.run(move |connection, number| {
            let (request, next) = (request.clone(), next.clone());
            async move {
                let mut outcome = Outcome::default();
                let mut open = Some(connection);
                if !spread.is_zero() {
                    sleep_until(began + step.mul_f64(to_f64(number))).await;
                }
                while next.fetch_add(1, Ordering::Relaxed) < total {
                    let began = Instant::now();
                    let result = exchange(&mut open, address, &request).await;
                    outcome.count(result, began.elapsed());
                }
                outcome
            }
        })
        .await
    }

    /// Sends `total` requests at `rate` per second, whether answers come or not. Latency counts from when a request was due
    /// if its connection was still busy then, else from when it was sent: a timer's coarseness is not the proxy's.
    pub(crate) async fn paced(self, request: Request, rate: f64, total: usize) -> Result<Outcome> {
        let (address, stride) = (self.address, self.connections.len());
        let began = Instant::now();
        self.run(move |connection, first| {
            let request = request.clone();
            async move {
                let mut outcome = Outcome::default();
                let mut open = Some(connection);
                for ticket in (first..total).step_by(stride) {
                    let due = began + Duration::from_secs_f64(to_f64(ticket) / rate);
                    let from = if Instant::now() > due {
                        due
                    } else {
                        sleep_until(due).await;
                        Instant::now()
                    };
                    let result = exchange(&mut open, address, &request).await;
                    outcome.count(result, from.elapsed());
                }
                outcome
            }
        })
        .await
    }

    /// Runs one task for each connection, and sums up.
    async fn run<F>(self, task: impl Fn(Connection, usize) -> F) -> Result<Outcome>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, connection) in self.connections.into_iter().enumerate() {
            tasks.spawn(task(connection, number));
        }
        let mut sum = Outcome::default();
        while let Some(outcome) = tasks.join_next().await {
            sum.add(outcome?);
        }
        sum.wall = began.elapsed();
        Ok(sum)
    }
}

/// One exchange, on a new connection if the last one broke.
async fn exchange(open: &mut Option<Connection>, address: SocketAddr, request: &Request) -> Result<u64> {
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let bytes = connection.exchange(request).await?;
    *open = Some(connection);
    Ok(bytes)
}

/// Streams that are open, each read as it comes. Dropped, all are cut.
#[derive(Default)]
pub(crate) struct Held(JoinSet<Result<u64>>);

impl Held {
    /// Opens `count` more streams and waits until each has brought its first event.
    pub(crate) async fn open(&mut self, address: SocketAddr, request: &Request, count: usize) -> Result<()> {
        let (started, mut starts) = mpsc::channel(OPENING_MAX);
        let mut opened = 0;
        for asked in 0..count {
            let (request, started) = (request.clone(), started.clone());
            self.0.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut answer = connection.begin(&request).await?;
                started.send(()).await?;
                connection.finish(&request, &mut answer).await
            });
            if asked + 1 >= opened + OPENING_MAX {
                self.started(&mut starts).await?;
                opened += 1;
            }
        }
        for _ in opened..count {
            self.started(&mut starts).await?;
        }
        Ok(())
    }

    async fn started(&mut self, starts: &mut mpsc::Receiver<()>) -> Result<()> {
        tokio::select! {
            _ = starts.recv() => Ok(()),
            Some(ended) = self.0.join_next() => bail!("a stream that should stay open ended: {:?}", ended?),
        }
    }

    /// Fails unless every stream is still open.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.0.try_join_next() {
            None => Ok(()),
            Some(ended) => bail!("a stream that should stay open ended: {:?}", ended?),
        }
    }
}
