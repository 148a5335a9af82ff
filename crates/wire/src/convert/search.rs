//! The search tool that vendors run themselves, with the options that they share.

use crate::{
    Wire,
    ir::{Extra, Json, object},
    loss::Loss,
};

/// Members of an approximate place.
const PLACE: [&str; 4] = ["city", "region", "country", "timezone"];

/// The search tool of another wire, as `to` has it: what holds its options, on Chat. Options without a place are named.
pub(crate) fn tool(whole: &Json, extra: &Extra, to: Wire, loss: &mut Loss) -> Json {
    let mut left = whole.clone();
    for name in ["type", "name"] {
        left.take(name);
    }
    let mut place = Json::empty();
    for name in PLACE {
        let found = left.take(&format!("user_location.{name}"));
        place.put_some(name, found.or_else(|| left.take(&format!("user_location.approximate.{name}"))));
    }
    left.take_word("user_location.type", "approximate");
    let allowed = left.take("allowed_domains").or_else(|| left.take("filters.allowed_domains"));
    let blocked = left.take("blocked_domains").or_else(|| left.take("filters.blocked_domains"));
    let size = left.take("search_context_size");
    let mut out = match to {
        Wire::Anthropic => object! { "type": "web_search_20250305", "name": "web_search" },
        Wire::Responses => object! { "type": "web_search" },
        Wire::Gemini => object! { "googleSearch": Json::empty() },
        Wire::Chat => Json::empty(),
    };
    let has_place = !place.is_void();
    match to {
        Wire::Anthropic | Wire::Responses if has_place => {
            let mut location = object! { "type": "approximate" };
            location.add(place.members());
            out.put("user_location", location);
        }
        Wire::Chat if has_place => {
            out.put("user_location", object! { "type": "approximate", "approximate": place });
        }
        _ if has_place => extra.lose("user_location", LACKS, loss),
        _ => {}
    }
    for (name, list) in [("allowed_domains", allowed), ("blocked_domains", blocked)] {
        match (to, name) {
            (Wire::Anthropic, _) => out.put_some(name, list),
            // Its filters only allow.
            (Wire::Responses, "allowed_domains") => out.put_some("filters.allowed_domains", list),
            _ if list.is_some() => extra.lose(name, LACKS, loss),
            _ => {}
        }
    }
    match to {
        Wire::Chat | Wire::Responses => out.put_some("search_context_size", size),
        // The middle is what is done unasked.
        _ if size.as_ref().and_then(Json::str).is_some_and(|size| size != "medium") => {
            extra.lose("search_context_size", LACKS, loss);
        }
        _ => {}
    }
    Extra::new(extra.wire, &extra.at, left).open(to, loss);
    out
}

/// Why an option is left out.
const LACKS: &str = "the target's search has no such option";
