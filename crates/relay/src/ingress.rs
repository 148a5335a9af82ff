//! From an HTTP request to what it asks for: route, credential and body, each within its bounds.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod route;

use domain::ids::RequestId;
use std::net::IpAddr;

/// What is known of a request before anything of it is understood.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub id: RequestId,
    pub unix_us: i64,
    pub monotonic_us: u64,
    pub client_ip: IpAddr,
    /// The caller's own id for the request; shown back, never trusted as a key.
    pub client_request_id: Option<String>,
    pub path: String,
    /// Without credentials.
    pub query: String,
}
