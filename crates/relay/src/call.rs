//! What is known of a request once it is understood: facts that live as long as it does, and the prompt, which does not.

use crate::convert::Conversions;
use crate::{
    admit::money::Maximum,
    directory::Caller,
    ingress::{Arrival, body::Share, route::Metered},
};
use bytes::Bytes;
use domain::{
    bindings::Fingerprint,
    catalog::{Catalog, GlobalModel},
    format::{ApiFormat, Capability, Feature, OnDisconnect, RequestType},
    ids::{ClientKeyId, GlobalModelId, ProviderKeyId, RequestId},
    schedule::{Facts, Pin, affinity::Conversation},
};
use http::HeaderMap;
use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};
use wire::{Peek, Wire};

/// The facts of one request.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of one request")]
pub(crate) struct Call {
    pub id: RequestId,
    pub arrival: Arrival,
    /// The snapshot it was admitted with, held to its end.
    pub catalog: Arc<Catalog>,
    pub caller: Caller,
    pub wire: Wire,
    pub format: ApiFormat,
    pub request_type: RequestType,
    /// The route, if it is one that is only passed on.
    pub metered: Option<Metered>,
    pub is_stream: bool,
    /// Gemini streams asked for without `alt=sse` come as one JSON array.
    pub as_array: bool,
    /// The name asked.
    pub asked: String,
    pub model: Arc<GlobalModel>,
    /// The chat client asked for usage itself.
    pub wants_usage: bool,
    pub thinking: bool,
    pub user_agent: Option<String>,
    pub session: Option<[u8; 16]>,
    /// See [`affinity`].
    pub affinity: u64,
    /// The local count of the prompt's tokens.
    pub prompt_estimate: u64,
    /// Lifetime of the prompt cache that the request asked for.
    pub cache_ttl_minutes: u32,
    /// User or key want it to be an hour wherever the body names none: a header or another block alone does not say so.
    pub adds_ttl: bool,
    pub features: Vec<Feature>,
    pub required: BTreeMap<Capability, bool>,
    pub preferred: Vec<Capability>,
    /// Where what it names was issued.
    pub pin: Pin,
    /// Ids it names that nobody is known to have issued.
    pub unknown_ids: Vec<Fingerprint>,
    /// What is answered is not kept at its issuer.
    pub unstored: bool,
}

/// The bytes and headers that are sent on; dropped when the answer begins.
pub(crate) struct Prompt {
    pub headers: HeaderMap,
    /// The query, without credentials.
    pub query: String,
    pub body: Bytes,
    pub peek: Peek,
    pub maximum: Maximum,
    /// What it goes without, too, and who issued it; in order.
    pub sealed: Vec<(Fingerprint, ProviderKeyId)>,
    /// The same for upstreams of other wires.
    pub conversions: Conversions,
    /// Their part of the memory budget.
    pub share: Share,
}

impl Call {
    /// What to do upstream when the client leaves.
    pub(crate) fn on_disconnect(&self) -> OnDisconnect {
        self.caller.key.on_disconnect.unwrap_or(self.catalog.settings.on_disconnect)
    }

    /// Whether it is answered with generated text, as chats and completions are.
    pub(crate) fn generates(&self) -> bool {
        matches!(self.metered, None | Some(Metered::Completions))
    }

    /// What the scheduler needs to know, at this instant.
    pub(crate) fn facts<'a>(&'a self, conversions: &'a Conversions, now_us: i64) -> Facts<'a> {
        Facts {
            user: self.caller.user.as_deref(),
            key: &self.caller.key,
            model: &self.model,
            format: self.format,
            request_type: self.request_type,
            features: &self.features,
            required: &self.required,
            preferred: &self.preferred,
            affinity: self.affinity,
            now_us,
            pin: self.pin,
            conversion: conversions,
        }
    }

    /// Whose prompt cache it is.
    pub(crate) fn conversation(&self) -> Conversation {
        Conversation { client: self.caller.key.id, hash: self.affinity }
    }
}

/// Names the caller in the spread and in affinity: key, session, format and model, so that one conversation stays together.
pub(crate) fn affinity(key: ClientKeyId, session: Option<[u8; 16]>, format: ApiFormat, model: GlobalModelId) -> u64 {
    let mut hasher = DefaultHasher::new(); // keyed with constants: the same on every node of one build
    (key, session, format, model).hash(&mut hasher);
    hasher.finish()
}

/// Features that a request needs; only an explicit "no" of a model counts against them.
pub(crate) fn features(peek: &Peek, is_stream: bool, metered: Option<Metered>) -> Vec<Feature> {
    // Who edits pictures need not be able to talk about them.
    let sees = peek.images > 0 && metered != Some(Metered::ImageEdits);
    [
        (Feature::Vision, sees),
        (Feature::FunctionCalling, peek.tools > 0),
        (Feature::Streaming, is_stream),
        (Feature::ExtendedThinking, peek.thinking.asked),
        (Feature::ImageGeneration, peek.image_output),
    ]
    .into_iter()
    .filter_map(|(feature, needed)| needed.then_some(feature))
    .collect()
}
