//! Where a request goes: to the data plane, or to the operators' routes.

pub(crate) mod cors;

use crate::listen::{Link, UnderWay};
use axum::{Router, extract::ConnectInfo};
use bytes::Bytes;
use cors::Cors;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
};
use relay::Relay;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::ServiceExt as _;

/// What a listener offers.
#[derive(Clone)]
pub(crate) struct Front(Arc<Offer>);

struct Offer {
    /// `None` on the operators' listener.
    relay: Option<(Relay, Cors)>,
    admin: Router,
    /// Whether the operators' routes are told who asks; if not, everybody is a stranger to them.
    tells_peer: bool,
}

impl Front {
    /// The listener for clients; `is_only` if there is no other one for operators.
    pub(crate) fn clients(relay: Relay, cors: Cors, admin: Router, is_only: bool) -> Self {
        Self(Arc::new(Offer { relay: Some((relay, cors)), admin, tells_peer: is_only }))
    }

    /// The listener for operators.
    pub(crate) fn operators(admin: Router) -> Self {
        Self(Arc::new(Offer { relay: None, admin, tells_peer: true }))
    }

    /// Answers a request. Dropping the future, or the answer's body, is the client leaving.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        link: &Arc<Link>,
    ) -> Response<Reply> {
        match &self.0.relay {
            Some((relay, cors)) if relay.owns(request.uri().path()) => {
                let under_way = link.begin(true);
                let visit = match cors.visit(&request) {
                    cors::Visit::Preflight(answer) => return answer.map(|()| Reply::empty(under_way)),
                    visit => visit,
                };
                let mut answer = relay.handle(request, peer).await;
                visit.dress(answer.headers_mut());
                answer.map(|body| Reply { body: Source::Relay(body), _under_way: under_way })
            }
            _ => {
                let under_way = link.begin(false);
                let mut request = request.map(axum::body::Body::new);
                if self.0.tells_peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                let answer = match self.0.admin.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                answer.map(|body| Reply { body: Source::Admin(body), _under_way: under_way })
            }
        }
    }
}

/// A response's body; while it lives, its request is under way.
pub(crate) struct Reply {
    body: Source,
    _under_way: UnderWay,
}

enum Source {
    Empty,
    Relay(relay::Body),
    Admin(axum::body::Body),
}

impl Reply {
    fn empty(under_way: UnderWay) -> Self {
        Self { body: Source::Empty, _under_way: under_way }
    }
}

/// Why a body broke; the connection is cut.
type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.body {
            Source::Empty => Poll::Ready(None),
            Source::Relay(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Admin(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Empty => true,
            Source::Relay(body) => body.is_end_stream(),
            Source::Admin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Empty => SizeHint::with_exact(0),
            Source::Relay(body) => body.size_hint(),
            Source::Admin(body) => body.size_hint(),
        }
    }
}
