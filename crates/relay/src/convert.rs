//! A request on its way to another wire, and what its answer needs to find the way back.
//!
//! A request is converted once for each kind of target: before it is planned, so that who cannot take it is out from the
//! start, and never again when it is sent. The upstream's name for the model and a lowered maximum are spliced in, as they
//! are into a request that stays on its wire.

use crate::{attempt::request, ingress::route::Metered, upstream, wire_of};
use bytes::Bytes;
use domain::{
    catalog::{Catalog, Endpoint, GlobalModel, Route},
    fault::{Fault, Kind},
    format::{ConversionLoss, RequestType},
    ids::ProviderKeyId,
    schedule::{self, Conversion, Facts},
    secret::Secret,
};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use wire::{
    Kind as Body, Loss, Lost, Peek, Wire,
    convert::{self as codec, Answer, Answered, Asked, Memory, Quirks, Refused, Wanted, issuers},
};

/// Headers that ask a vendor for what is not in its format yet.
const BETAS: [&str; 2] = ["anthropic-beta", "openai-beta"];

/// Losses that a record and a header name; the rest is counted.
const LOSSES_MAX: usize = 32;

/// A request before its conversion, and what came of it.
pub(crate) struct Conversions {
    from: Wire,
    kind: RequestType,
    body: Bytes,
    asked: String,
    stream: bool,
    output_limit: Option<u64>,
    /// What tells signatures of one model from those of another.
    family: String,
    /// What an endpoint without a rule of its own goes by.
    loss: ConversionLoss,
    /// The client's headers that ask its vendor for what is not in its format yet.
    betas: Vec<&'static str>,
    /// Who signed what the body holds; looked for once.
    issuers: OnceLock<Vec<String>>,
    done: Mutex<Vec<(Target, Arc<Conversed>)>>,
}

/// What makes one conversion of a request differ from another.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    wire: Wire,
    quirks: Quirks,
    issuer: Option<String>,
}

/// A conversion, done or refused.
pub(crate) type Conversed = Result<Ready, Refused>;

/// A request on its new wire.
pub(crate) struct Ready {
    pub wire: Wire,
    pub body: Bytes,
    pub peek: Peek,
    pub memory: Memory,
    /// What is lost, as it is recorded.
    pub losses: Vec<String>,
    loss: Loss,
    pub purpose: Purpose,
}

impl Ready {
    /// What is lost that an endpoint which takes no losses does not take.
    fn missed(&self) -> Vec<String> {
        let more = if self.loss.drops() { self.loss.more() } else { 0 };
        named(self.loss.items().iter().filter(|lost| !lost.harmless), more)
    }
}

/// What is asked for, as far as it decides how the answer is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer by a model.
    Generation,
    /// A count of the prompt's tokens.
    Count,
    /// Embeddings, by this route, for a client that wants them in this form.
    Embedding(Metered, Wanted),
}

/// How an answer finds back to the client's wire.
#[derive(Clone)]
pub(crate) struct Recast {
    pub from: Wire,
    pub to: Wire,
    pub memory: Memory,
    pub asked: String,
    /// Makes the answer's ids.
    pub seed: String,
    pub request_id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub issuer: String,
    /// What is done about losses.
    pub loss: ConversionLoss,
    pub credential: Secret,
    pub host: String,
    /// The name sent upstream.
    pub upstream_model: String,
    pub purpose: Purpose,
}

impl Recast {
    /// What the answer is written with.
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer {
            model: Some(&self.asked),
            seed: &self.seed,
            created: self.created,
            memory: &self.memory,
            issuer: Some(&self.issuer),
            show_thoughts: true,
            request_id: &self.request_id,
        }
    }

    /// A whole answer on the client's wire.
    pub(crate) fn whole(&self, body: &[u8]) -> Result<Answered, Refused> {
        match self.purpose {
            Purpose::Generation => codec::response(self.from, self.to, body, &self.answer()),
            Purpose::Count => codec::counted(self.from, self.to, body),
            Purpose::Embedding(_, wanted) => codec::embedded(self.from, self.to, body, &self.asked, wanted),
        }
    }
}

impl Conversions {
    /// A request as its caller sent it.
    pub(crate) fn new(
        (from, kind): (Wire, RequestType),
        body: &Bytes,
        asked: &str,
        stream: bool,
        model: &GlobalModel,
        loss: ConversionLoss,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            from,
            kind,
            body: body.clone(),
            asked: asked.to_owned(),
            stream,
            output_limit: model.config.output_limit,
            family: model.config.family.clone().unwrap_or_else(|| model.id.to_string()),
            loss,
            betas: BETAS.into_iter().filter(|name| headers.contains_key(*name)).collect(),
            issuers: OnceLock::new(),
            done: Mutex::default(),
        }
    }

    /// Whether a route speaks another wire than the caller.
    pub(crate) fn concerns(&self, route: &Route) -> bool {
        wire_of(route.endpoint.api_format.family()) != self.from
    }

    /// The request for a route on another wire.
    pub(crate) fn of(&self, route: &Route) -> Arc<Conversed> {
        let target = self.target(route);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, conversed)) = done.iter().find(|(known, _)| *known == target) {
            return conversed.clone();
        }
        let conversed = Arc::new(self.converted(&target));
        done.push((target, conversed.clone()));
        conversed
    }

    fn target(&self, route: &Route) -> Target {
        let wire = wire_of(route.endpoint.api_format.family());
        let issuers = self.issuers();
        let issuer = (!issuers.is_empty()).then(|| self.issuer(route.key.id)).filter(|issuer| issuers.contains(issuer));
        // Told by the names that may be sent to this endpoint, whatever name the client asks by.
        let names = (wire == Wire::Gemini).then(|| route.model.upstream_names(&route.endpoint, None));
        let signed_calls = names.is_some_and(|names| names.iter().any(|name| codec::signs_calls(name)));
        Target { wire, quirks: Quirks { signed_calls, ..quirks(&route.endpoint) }, issuer }
    }

    /// How many conversions the plan of such a request may want; each is kept while the request lasts. Who is out for
    /// another reason wants none.
    pub(crate) fn wanted(&self, catalog: &Catalog, facts: &Facts<'_>) -> usize {
        if !catalog.routes(facts.model.id).iter().any(|route| self.concerns(route)) {
            return 0;
        }
        let counted = Counted { conversions: self, targets: Mutex::default() };
        schedule::eligible(catalog, &Facts { conversion: &counted, ..*facts });
        counted.targets.into_inner().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn converted(&self, target: &Target) -> Conversed {
        let asked = Asked {
            model: Some(&self.asked),
            stream: self.stream,
            output_limit: self.output_limit,
            issuer: target.issuer.as_deref(),
        };
        let (from, to) = (self.from, target.wire);
        let (kind, purpose, bytes, loss, memory) = match self.kind {
            RequestType::CountTokens => {
                let made = codec::count_request(from, to, &self.body, &asked, target.quirks)?;
                (Body::CountTokens, Purpose::Count, made.bytes, made.loss, made.memory)
            }
            RequestType::Embedding => {
                let made = codec::embed_request(from, to, &self.body, asked.model)?;
                let purpose = Purpose::Embedding(Metered::of_embeddings(to, made.batch), made.wanted);
                (Body::Metered, purpose, made.bytes, made.loss, Memory::default())
            }
            _ => {
                let made = codec::request(from, to, &self.body, &asked, target.quirks)?;
                (Body::Generate, Purpose::Generation, made.bytes, made.loss, made.memory)
            }
        };
        let peek = wire::peek(to, kind, &bytes)
            .map_err(|_| Refused::Invalid { pointer: String::new(), reason: "its conversion cannot be read" })?;
        let mut losses = named(loss.items(), loss.more());
        losses.extend(self.betas(to).map(|name| format!("{name}: a header that only its vendor knows")));
        Ok(Ready { wire: to, body: bytes.into(), peek, memory, losses, loss, purpose })
    }

    /// The headers that go no further on a wire.
    fn betas(&self, to: Wire) -> impl Iterator<Item = &'static str> {
        self.betas.iter().copied().filter(move |name| request::is_own(name, self.from, to))
    }

    fn issuers(&self) -> &[String] {
        self.issuers.get_or_init(|| issuers(&self.body))
    }

    /// Whether the body holds what was signed on another wire.
    pub(crate) fn is_sealed(&self) -> bool {
        // Chat has no place for signatures.
        self.from != Wire::Chat && !self.issuers().is_empty()
    }

    /// Names who signs at a provider key, without telling which key it is.
    pub(crate) fn issuer(&self, key: ProviderKeyId) -> String {
        let mut hasher = Sha256::new();
        hasher.update(key.uuid().as_bytes());
        hasher.update(&self.family);
        hasher.finalize()[..8].iter().fold(String::with_capacity(16), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// What speaks against a route: what its wire cannot carry, or what it may not lose.
    pub(crate) fn against(&self, route: &Route) -> String {
        match &*self.of(route) {
            Err(refused) => refused.to_string(),
            Ok(ready) => ready.missed().join("; "),
        }
    }

    /// What an endpoint does about losses.
    pub(crate) fn policy(&self, endpoint: &Endpoint) -> ConversionLoss {
        endpoint.config.conversion_loss.unwrap_or(self.loss)
    }

    /// Every request that came of it.
    pub(crate) fn ready(&self) -> Vec<Arc<Conversed>> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter().map(|(_, conversed)| conversed.clone()).collect()
    }

    /// Why nobody can take the request over: what the first one that was asked could not carry.
    pub(crate) fn refusal(&self) -> Fault {
        let first = self.ready().into_iter().next();
        match first.as_deref() {
            Some(Err(refused @ Refused::Invalid { .. })) => {
                Fault::new(Kind::BadRequest, refused.to_string()).param(field(refused.pointer()))
            }
            Some(Err(refused)) => {
                let words = match refused {
                    Refused::Unsupported { reason, .. } => format!("not supported for this model: {reason}"),
                    Refused::Invalid { .. } | Refused::TooLarge => refused.to_string(),
                };
                Fault::new(Kind::Unsupported, format!("{}: {words}", field(refused.pointer())))
                    .param(field(refused.pointer()))
            }
            Some(Ok(ready)) => {
                let missed = ready.missed();
                let mut pointers = missed.iter().map(|loss| loss.split(": ").next().unwrap_or_default()).peekable();
                let first = pointers.peek().copied().unwrap_or_default();
                let fields: Vec<String> = pointers.map(field).collect();
                let words = format!("not supported for this model: {}", fields.join(", "));
                Fault::new(Kind::Unsupported, words).param(field(first))
            }
            None => Fault::new(Kind::Unsupported, "not supported for this model"),
        }
    }
}

impl std::fmt::Debug for Conversions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversions").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Conversion for Conversions {
    fn carries(&self, route: &Route) -> bool {
        match &*self.of(route) {
            Ok(ready) => !ready.loss.drops() || self.policy(&route.endpoint) != ConversionLoss::Reject,
            Err(_) => false,
        }
    }
}

/// Counts what conversions are asked for, and makes none.
#[derive(Debug)]
struct Counted<'c> {
    conversions: &'c Conversions,
    targets: Mutex<Vec<Target>>,
}

impl Conversion for Counted<'_> {
    fn carries(&self, route: &Route) -> bool {
        if self.conversions.concerns(route) {
            let target = self.conversions.target(route);
            let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        true
    }
}

/// What was lost, as it is recorded: pointers without their numbers, so that a conversation's turns are recorded alike.
fn named<'l>(losses: impl IntoIterator<Item = &'l Lost>, mut more: u64) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for lost in losses {
        let name = format!("{}: {}", without_numbers(&lost.pointer), lost.reason);
        if names.contains(&name) {
            continue;
        }
        if names.len() < LOSSES_MAX {
            names.push(name);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

/// What an answer lost, as it is recorded.
pub(crate) fn answer_losses(loss: &Loss) -> Vec<String> {
    named(loss.items(), loss.more())
}

fn without_numbers(pointer: &str) -> String {
    let is_number = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    let steps: Vec<&str> = pointer.split('/').map(|step| if is_number(step) { "*" } else { step }).collect();
    steps.join("/")
}

/// A pointer as the vendors write fields: `messages.0.content`.
fn field(pointer: &str) -> String {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    if field.is_empty() { "body".to_owned() } else { field }
}

/// What the server of an endpoint understands: what its row says, and what is known of well-known vendors
/// (api-docs.deepseek.com, platform.moonshot.ai, docs.bigmodel.cn, help.aliyun.com/zh/model-studio), none of whom
/// searches when asked in the words of the wire.
fn quirks(endpoint: &Endpoint) -> Quirks {
    // Asked of every route of a model, more than once a request.
    let host = upstream::Target::host_of(&endpoint.base_url).as_bytes();
    let is = |domains: &[&str]| {
        domains.iter().any(|domain| {
            let (subdomain, name) = host.split_at(host.len().saturating_sub(domain.len()));
            name.eq_ignore_ascii_case(domain.as_bytes()) && (subdomain.is_empty() || subdomain.ends_with(b"."))
        })
    };
    let switch = is(&["deepseek.com", "moonshot.ai", "moonshot.cn", "bigmodel.cn", "z.ai"]);
    let qwen = is(&["aliyuncs.com"]);
    let field = endpoint.config.max_tokens_field.as_deref();
    Quirks {
        old_max_tokens: field.map_or(switch || qwen, |field| field == "max_tokens"),
        include_usage: endpoint.config.include_usage != Some(false),
        reasoning_content: switch || qwen,
        thinking_switch: switch,
        enable_thinking: qwen,
        web_search: !(switch || qwen),
        ..Quirks::default()
    }
}

#[cfg(test)]
mod tests;
