//! Whether upstreams answer at all, each on the way that its requests take.

use anyhow::Result;
use domain::{catalog::Endpoint, secret::Secret};
use relay::upstream::{Client, ClientOptions};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long one host may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Endpoints that are asked at a time.
const AT_ONCE: usize = 8;

/// The endpoints that do not answer, and why, in the order of their names.
pub(super) async fn all(
    endpoints: Vec<(String, Endpoint, Option<Secret>)>,
    options: ClientOptions,
) -> Result<Vec<(String, String)>> {
    let client = Client::new(options)?;
    let mut waiting = endpoints.into_iter();
    let mut running = JoinSet::new();
    let mut silent = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((name, endpoint, password)) = waiting.next()
        {
            let client = client.clone();
            running.spawn(async move {
                let answer = client.reach(&endpoint, password, ANSWER_WITHIN).await;
                answer.err().map(|why| (name, format!("{} does not answer: {why}", endpoint.base_url)))
            });
        }
        match running.join_next().await {
            None => break,
            Some(done) => silent.extend(done?),
        }
    }
    silent.sort();
    Ok(silent)
}
