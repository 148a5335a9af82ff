//! Token counting where no upstream could be asked: a local estimate, marked as one.

use crate::{
    Core,
    attempt::Outcome,
    body::Body,
    call::Call,
    flight::{Ending, Flight},
    meter::Measured,
    respond,
};
use domain::schedule::attempt::Verdict;
use http::{HeaderValue, Response, StatusCode};
use wire::lists::token_count;

/// Tells that the count is ours.
pub(crate) const ESTIMATED: &str = "x-tollgate-estimated";

/// Answers a counting request whose upstreams gave no count. What is wrong with the request itself is handed on.
pub(crate) async fn answer(core: &Core, call: &Call, mut flight: Flight, outcome: Outcome) -> Response<Body> {
    if let Outcome::HandOn(failure, route) = &outcome
        && failure.verdict == Verdict::CallersFault
    {
        return respond::hand_on(core, call, flight, failure, route).await;
    }
    respond::recorded(flight.end(&Ending::Completed, &Measured::default())).await;
    let count = token_count(call.wire, call.prompt_estimate);
    let mut response = respond::json(call.wire, &call.arrival, StatusCode::OK, count);
    response.headers_mut().insert(ESTIMATED, HeaderValue::from_static("1"));
    response
}
