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

/// The endpoints that do not answer, and why, in the order of their names. Those that go the same way are asked once.
pub(super) async fn all(
    endpoints: Vec<(String, Endpoint, Option<Secret>)>,
    options: ClientOptions,
) -> Result<Vec<(String, String)>> {
    let client = Client::new(options)?;
    let mut ways: Vec<(Endpoint, Option<Secret>, Vec<String>)> = Vec::new();
    for (name, endpoint, password) in endpoints {
        match ways.iter_mut().find(|(known, word, _)| goes_alike((known, word), (&endpoint, &password))) {
            Some((.., names)) => names.push(name),
            None => ways.push((endpoint, password, vec![name])),
        }
    }
    let mut waiting = ways.into_iter();
    let mut running = JoinSet::new();
    let mut silent = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((endpoint, password, names)) = waiting.next()
        {
            let client = client.clone();
            running.spawn(async move {
                let answer = client.reach(&endpoint, password, ANSWER_WITHIN).await;
                let why = answer.err().map(|why| format!("{} does not answer: {why}", endpoint.base_url));
                why.map(|why| names.into_iter().map(|name| (name, why.clone())).collect::<Vec<_>>())
            });
        }
        match running.join_next().await {
            None => break,
            Some(done) => silent.extend(done?.into_iter().flatten()),
        }
    }
    silent.sort();
    Ok(silent)
}

/// Whether two endpoints are reached in the same way. Sealed, no two passwords are the same.
fn goes_alike(one: (&Endpoint, &Option<Secret>), other: (&Endpoint, &Option<Secret>)) -> bool {
    let way = |(endpoint, password): (&Endpoint, &Option<Secret>)| {
        let password = password.as_ref().map(|word| word.expose().to_owned());
        (endpoint.base_url.clone(), endpoint.config.http2, endpoint.live_proxy().cloned(), password)
    };
    way(one) == way(other)
}
