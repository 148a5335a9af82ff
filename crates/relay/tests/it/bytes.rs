//! Bytes over real sockets: what goes in comes out, under any chunking.

use crate::support::{Gateway, WIRES, ask, gateway};
use bytes::Bytes;
use domain::format::ApiFormat;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use std::{convert::Infallible, net::SocketAddr};
use testkit::{Reply, Upstream};
use tokio::net::{TcpListener, TcpStream};

/// Serves a gateway on a real socket.
async fn listen(gw: &Gateway) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (relay, connections) = (gw.relay.clone(), gw.tracker.clone());
    gw.tracker.spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let relay = relay.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let relay = relay.clone();
                async move { Ok::<_, Infallible>(relay.handle(request, peer).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connections.spawn(connection);
        }
    });
    address
}

async fn exchange(gw: &Gateway, address: SocketAddr, path: &str, body: Vec<u8>) -> (u16, Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    gw.tracker.spawn(connection);
    let request = Request::post(path)
        .header("host", "gateway")
        .header("x-api-key", crate::support::CLIENT_KEY)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

/// The body with the model's name replaced, which is the only edit there is.
fn edited(format: ApiFormat, body: &str) -> String {
    if format == ApiFormat::Gemini { body.to_owned() } else { body.replace("\"big-model\"", "\"up-0\"") }
}

/// What a model says: any text, cut into deltas.
fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("\\PC{0,40}", 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn under_any_chunking_the_bytes_are_the_same(
        wire in 0usize..4,
        stream: bool,
        words in words(),
        prompt in "\\PC{0,200}",
        sizes in prop::collection::vec(1usize..400, 1..5),
        gzip: bool,
    ) {
        let format = WIRES[wire];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let upstream = Upstream::start().await.unwrap();
            let reply = Reply::text(words).usage(30, 3).chunked_at(sizes);
            // Coded streams are decoded here, so their bytes differ on purpose; whole answers pass as they are asked for.
            let reply = if gzip && stream { reply.gzip() } else { reply };
            upstream.push(reply);
            let gw = gateway().candidate(format, &upstream.base_url()).allow("127.0.0.0/8").start();
            let address = listen(&gw).await;
            let (path, mut body) = ask(format, stream);
            body["user"] = prompt.into();
            let body = serde_json::to_string_pretty(&body).unwrap();

            let (status, answer) = exchange(&gw, address, &path, body.clone().into_bytes()).await;

            prop_assert_eq!(status, 200);
            let received = &upstream.requests()[0];
            prop_assert_eq!(String::from_utf8_lossy(&received.body), edited(format, &body));
            let sent = upstream.sent_bytes().concat();
            if gzip && stream {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(sent.as_slice()), &mut plain).unwrap();
                prop_assert_eq!(answer, plain);
            } else {
                prop_assert_eq!(answer, sent);
            }
            Ok(())
        })?;
    }
}
