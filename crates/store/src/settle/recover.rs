//! Requests that an earlier process left open: what was relayed is charged, the others end without a bill.

use crate::{
    db::{Db, DbError},
    journal::{ACKNOWLEDGED_WITHIN, Interrupted, Journal},
    repo::usage,
};
use domain::{
    catalog::Catalog,
    format::{Status, UsageSource},
    ports::Recorder as _,
    records::{RequestMetadata, Settled, Trace, UsageRow},
};
use std::sync::Arc;

/// `error_type` of their rows.
pub(super) const INTERRUPTED: &str = "interrupted";

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Charged with what had been relayed.
    pub charged: u64,
    /// Ended without a bill.
    pub released: u64,
    /// In the database already: only the journal had lost the ending.
    pub settled_before: u64,
}

/// Settles the requests that a journal's opening handed back; their rows are shipped like all others.
///
/// `catalog` names the candidates that answered. Call it before requests are served.
pub async fn recover(
    db: &Db,
    journal: &Arc<Journal>,
    catalog: &Catalog,
    interrupted: Vec<Interrupted>,
) -> Result<Recovered, DbError> {
    let requests: Vec<_> = interrupted.iter().map(|one| one.opened.request_id).collect();
    let known = usage::known(&mut db.read().await?, &requests).await?;
    let mut recovered = Recovered::default();
    let mut answers = Vec::new();
    for one in interrupted {
        let request = one.opened.request_id;
        if known.contains(&request) {
            recovered.settled_before += 1;
            journal.shared().release(request);
            continue;
        }
        let settled = settlement(one, catalog);
        let usage = &settled.usage;
        tracing::warn!(
            request.id = %request, client_key.id = %usage.api_key_id, cost_usd = %usage.cost.total,
            "request {request} was cut off when the process before this one ended"
        );
        if usage.usage_source == UsageSource::None {
            recovered.released += 1;
        } else {
            recovered.charged += 1;
        }
        answers.push(journal.settled(Box::new(settled)));
    }
    for answer in answers {
        // What is not written by then waits in memory, like any settlement.
        let _ = tokio::time::timeout(ACKNOWLEDGED_WITHIN, answer).await;
    }
    Ok(recovered)
}

fn settlement(one: Interrupted, catalog: &Catalog) -> Settled {
    let Interrupted { opened, attempts, progress } = one;
    // What was relayed counts, however much it was.
    let progress = progress.filter(|progress| progress.source != UsageSource::None);
    let last = attempts.last();
    let key_id = progress.as_ref().map(|progress| progress.provider_api_key_id).or(last.map(|row| row.key_id));
    let route = catalog.routes(opened.global_model_id).iter().find(|route| Some(route.key.id) == key_id);
    let attempt = last.filter(|row| Some(row.key_id) == key_id);
    let provider_id = route.map(|route| route.provider.id).or(attempt.map(|row| row.provider_id));
    let finished_at = attempts.iter().map(|row| row.finished_at).fold(opened.created_at, i64::max);
    let usage = UsageRow {
        request_id: opened.request_id,
        client_request_id: None,
        user_id: opened.user_id,
        api_key_id: opened.api_key_id,
        provider: provider_id
            .and_then(|id| catalog.provider(id))
            .map(|provider| provider.name.clone())
            .unwrap_or_default(),
        target_model: attempt.map(|row| row.upstream_model.clone()).filter(|name| *name != opened.model),
        model: opened.model,
        global_model_id: opened.global_model_id,
        provider_id,
        provider_endpoint_id: route.map(|route| route.endpoint.id).or(attempt.map(|row| row.endpoint_id)),
        provider_api_key_id: key_id,
        tokens: progress.as_ref().map(|progress| progress.tokens).unwrap_or_default(),
        prices: progress.as_ref().map(|progress| progress.prices).unwrap_or_default(),
        price_version_id: progress.as_ref().and_then(|progress| progress.price_version_id),
        delivered: progress.is_some(),
        cost: progress.as_ref().map(|progress| progress.cost).unwrap_or_default(),
        actual: progress.as_ref().map(|progress| progress.actual).unwrap_or_default(),
        rate_multiplier: progress.as_ref().map(|progress| progress.rate_multiplier).unwrap_or_default(),
        usage_source: if progress.is_some() { UsageSource::Estimated } else { UsageSource::None },
        request_type: opened.request_type,
        api_format: opened.api_format,
        endpoint_api_format: route.map(|route| route.endpoint.api_format),
        is_stream: opened.is_stream,
        is_converted: false,
        // An answer had begun, or the client saw its connection close.
        status_code: if progress.is_some() { 200 } else { 500 },
        upstream_status_code: attempt.and_then(|row| row.status_code),
        error_type: Some(INTERRUPTED.to_owned()),
        error_message: Some("the gateway's process ended before the request did".to_owned()),
        response_time_ms: u32::try_from((finished_at - opened.created_at) / 1_000).unwrap_or(u32::MAX),
        first_byte_time_ms: None,
        status: Status::Failed,
        client_ip: None,
        user_agent: None,
        metadata: RequestMetadata::default(),
        created_at: opened.created_at,
        finished_at,
    };
    Settled { usage, candidates: attempts, trace: Trace::default(), account: opened.account, issued: Vec::new() }
}
