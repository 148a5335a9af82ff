//! The hold: money reserved for a request before it is sent, and the bounds that it is reserved for.

use crate::{
    Core,
    call::{Call, Prompt},
    ingress::route::Metered,
};
use domain::{
    catalog::GlobalModel,
    fault::{Fault, Kind},
    format::{Capability, RequestType},
    ledger::{CacheUse, Hold, Output, Short, Sizing},
    money::NanoUsd,
    schedule::Eligible,
};
use wire::{Peek, Wire, estimate};

/// A context that nothing names: the longest that vendors sell.
const CONTEXT_LONGEST: u64 = 1_000_000;
/// Output tokens of a request that asks for no maximum, of a model whose own is not known.
const OUTPUT_DEFAULT: u64 = 16_384;
/// Tokens that the vendor gives each text completion that asks for no maximum.
const COMPLETION_DEFAULT: u64 = 16;
/// Answers shorter than this are of no use to who asked for longer ones.
const LEAST_OUTPUT: u64 = 1_024;
/// The least maximum that the Responses API takes.
const LEAST_RESPONSES_OUTPUT: u64 = 16;
/// The least thinking budget that Anthropic takes.
const LEAST_THINKING: u64 = 1_024;

/// The most that a request can use, in tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub prompt: u64,
    /// Of all answers together; `None` if nothing bounds them.
    pub output: Option<u64>,
}

/// The maximum of each answer as it goes upstream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Maximum {
    /// Set or lowered to this.
    pub set: Option<u64>,
    /// It guards a hold: nothing may take it out of the body.
    pub must_hold: bool,
}

/// Holds what the request may cost at the dearest eligible price, and writes down what that changes in the request.
pub(crate) fn hold(
    core: &Core,
    call: &Call,
    prompt: &mut Prompt,
    eligible: &Eligible<'_>,
) -> Result<(Hold, Bounds), Fault> {
    if call.request_type == RequestType::CountTokens {
        return Ok((Hold::default(), Bounds::default()));
    }
    let converted = prompt.conversions.ready();
    let converted = || converted.iter().filter_map(|conversed| (**conversed).as_ref().ok());
    let to_responses = converted().any(|ready| ready.wire == Wire::Responses);
    // A conversion may need a few words more than its original, and think where that names an effort alone.
    let peeks = || std::iter::once(&prompt.peek).chain(converted().map(|ready| &ready.peek));
    let asked = Asked::of(call, &prompt.peek, peeks, to_responses);
    let prompt_bound = peeks().map(|peek| prompt_bound(call, peek)).max().unwrap_or(CONTEXT_LONGEST);
    let held = core.ports.ledger.hold(&call.caller.key, call.arrival.unix_us, || {
        let routes = eligible.candidates.iter().map(|candidate| candidate.route);
        let cache = CacheUse { marked: prompt.peek.cache.any, ttl_minutes: call.cache_ttl_minutes };
        let defaults = &call.catalog.settings.price_defaults;
        Sizing::new(&call.model, routes, defaults, cache, prompt_bound, asked.output())
    });
    let hold = held.map_err(|short| out_of_money(&short))?;
    let set = hold.lowered_to().or_else(|| asked.unbounded.filter(|_| hold.is_limited()));
    prompt.maximum = Maximum { set, must_hold: hold.is_limited() };
    let is_bounded = hold.is_limited() || asked.unbounded.is_none();
    let each = is_bounded.then(|| set.unwrap_or(asked.maximum()));
    Ok((hold, Bounds { prompt: prompt_bound, output: each.map(|each| each.saturating_mul(asked.choices)) }))
}

/// What the caller asks for, of each answer.
struct Asked {
    choices: u64,
    /// The largest maximum given.
    given: Option<u64>,
    /// The model's own.
    limit: Option<u64>,
    /// The maximum to set where nothing says how long an answer may become.
    unbounded: Option<u64>,
    least: u64,
}

impl Asked {
    /// `peek` is the client's request, and `peeks` are all that may be sent.
    fn of<'p, P>(call: &Call, peek: &Peek, peeks: impl Fn() -> P, to_responses: bool) -> Self
    where
        P: Iterator<Item = &'p Peek>,
    {
        let choices = peeks().map(|peek| peek.choices).max().unwrap_or(1);
        if !call.generates() {
            // Nothing in these requests bounds their answers. Images and transcripts are made of tokens, and speech
            // where it reports them, in the last of its events.
            let most = call.model.config.output_limit.unwrap_or(OUTPUT_DEFAULT);
            let each = match call.request_type {
                RequestType::Image => most,
                RequestType::Audio if call.metered != Some(Metered::Speech) || call.is_stream => most,
                _ => 0,
            };
            return Self { choices, given: Some(each), limit: None, unbounded: None, least: each };
        }
        let given = peek.maxima.iter().map(|maximum| maximum.tokens.value).max();
        // A smaller one is raised on its way to that wire.
        let given = given.map(|given| if to_responses { given.max(LEAST_RESPONSES_OUTPUT) } else { given });
        let mut least = given.unwrap_or(LEAST_OUTPUT).min(LEAST_OUTPUT);
        if call.wire == Wire::Responses || to_responses {
            least = least.max(LEAST_RESPONSES_OUTPUT);
        }
        // A maximum above the budget leaves it alone; below, the budget becomes the maximum less one.
        for budget in peeks().filter_map(|peek| peek.thinking.budget.as_ref()) {
            least = least.max(LEAST_THINKING.min(budget.value) + 1);
        }
        let limit = call.model.config.output_limit;
        if call.request_type == RequestType::Completion {
            // Each of several prompts gets its answers. Not every server has the vendor's default, so it is set.
            let choices = choices.saturating_mul(u64::from(peek.messages.max(1)));
            let unbounded = given.is_none().then_some(COMPLETION_DEFAULT);
            return Self { choices, given, limit, unbounded, least: least.min(given.unwrap_or(COMPLETION_DEFAULT)) };
        }
        let unbounded = (given.is_none() && limit.is_none()).then_some(OUTPUT_DEFAULT);
        Self { choices, given, limit, unbounded, least }
    }

    fn maximum(&self) -> u64 {
        let asked = self.given.or(self.unbounded).or(self.limit).unwrap_or(OUTPUT_DEFAULT);
        self.limit.map_or(asked, |limit| asked.min(limit))
    }

    fn output(&self) -> Output {
        let maximum = self.maximum();
        Output { choices: self.choices, maximum, least: self.least.min(maximum) }
    }
}

/// The most tokens that the prompt can have.
fn prompt_bound(call: &Call, peek: &Peek) -> u64 {
    // What is a batch of prompts has the room of as many.
    let several = if call.metered.is_some() { u64::from(peek.messages.max(1)) } else { 1 };
    let context = context(&call.model, call).map(|context| context.saturating_mul(several));
    let counted = estimate::prompt_bound(peek, call.catalog.settings.image_token_estimate);
    match (counted, context) {
        (Some(counted), Some(context)) => counted.min(context),
        (Some(counted), None) => counted,
        (None, context) => context.unwrap_or(CONTEXT_LONGEST),
    }
}

fn context(model: &GlobalModel, call: &Call) -> Option<u64> {
    let long = Capability::Context1m;
    let is_long = call.required.get(&long) == Some(&true) || call.preferred.contains(&long);
    if is_long { Some(CONTEXT_LONGEST) } else { model.config.context_limit }
}

fn out_of_money(short: &Short) -> Fault {
    let Short { left, needed } = short;
    let words = if *left <= NanoUsd::ZERO {
        "the budget of this key is used up".to_owned()
    } else {
        format!("the budget of this key does not cover the request: ${left} is left, and it may cost ${needed}")
    };
    Fault::new(Kind::OutOfMoney, words).detail(format!("left {left}, needed {needed}"))
}
