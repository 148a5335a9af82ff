//! Whether an endpoint answers at all: any HTTP answer counts, no credential and no prompt is sent.

use super::{Call, Client, SendError, Target};
use domain::{catalog::Endpoint, secret::Secret};
use http::{HeaderMap, Method};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Why an endpoint does not answer, in words that hold no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(String);

impl Client {
    /// Asks an endpoint's base URL with `HEAD`, the way its requests go: through its proxy, within the egress policy. A name
    /// that does not resolve now is no failure.
    pub async fn reach(
        &self,
        endpoint: &Endpoint,
        proxy_password: Option<Secret>,
        within: Duration,
    ) -> Result<(), Unreached> {
        let target = Target::of(endpoint, || Ok(proxy_password));
        let (target, path) = target.map_err(|error| Unreached(error.to_string()))?;
        let call = Call {
            target: Arc::new(target),
            method: Method::HEAD,
            path_and_query: path,
            headers: HeaderMap::new(),
            body: Vec::new(),
            connect_timeout: within,
        };
        match timeout(within, self.send(call)).await {
            Ok(Ok(_) | Err(SendError::Resolve(_))) => Ok(()),
            Ok(Err(error)) => Err(Unreached(error.to_string())),
            Err(_) => Err(Unreached(format!("no answer within {} s", within.as_secs()))),
        }
    }
}
