//! The floor: a reverse proxy on the gateway's HTTP stack that does nothing else, with the usual pooled client.

use anyhow::{Context, Result};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    header::CONNECTION,
    http::uri::{Authority, Scheme},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Idle upstream connections kept; more than any workload has open.
const IDLE_MAX: usize = 1_024;

type Client = legacy::Client<HttpConnector, Incoming>;

/// Relays every request to `upstream` until the process is ended.
pub(crate) async fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let authority: Authority = upstream.to_string().parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client =
        legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_MAX).build(connector);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, authority) = (client.clone(), authority.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| relay(&client, &authority, request));
            // A client that leaves is no matter here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn relay(client: &Client, authority: &Authority, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
    let mut uri = request.uri().clone().into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.clone());
    *request.uri_mut() = Uri::from_parts(uri)?;
    request.headers_mut().remove(CONNECTION);
    Ok(client.request(request).await?)
}
