//! The search tool that vendors run themselves, with the options that they share.

use super::{Quirks, Refused};
use crate::{
    Wire,
    ir::{Choice, Extra, Json, Request, Tool, object},
    loss::Loss,
};

/// Members of an approximate place.
const PLACE: [&str; 4] = ["city", "region", "country", "timezone"];

/// A search that the target cannot make is left out, unless it must be made. Gemini refuses one beside functions; of its third
/// generation it wants a switch for that, and parts back that no other wire has a place for.
pub(super) fn fit(request: &mut Request, to: Wire, quirks: Quirks, loss: &mut Loss) -> Result<(), Refused> {
    let functions = request.tools.iter().any(|tool| matches!(tool, Tool::Function(_) | Tool::Namespace { .. }));
    let beside = quirks.web_search && to == Wire::Gemini && functions;
    if quirks.web_search && !beside {
        return Ok(());
    }
    let why = if beside { "the target does not search beside functions" } else { "the target does not search" };
    for tool in &request.tools {
        if let Tool::WebSearch { whole, extra } = tool {
            let forced = match &request.choice {
                Some(Choice::Named(names)) if beside => names.iter().any(|name| whole.get("name").str() == Some(name)),
                Some(Choice::Required) => !beside,
                Some(Choice::Named(_)) => true,
                Some(Choice::Auto | Choice::None) => false,
                None => is_forced(request.extra.rest.get("tool_choice"), beside),
            };
            if forced {
                return Err(Refused::unsupported(&extra.at, why));
            }
            extra.lose("", why, loss);
        }
    }
    request.tools.retain(|tool| !matches!(tool, Tool::WebSearch { .. }));
    Ok(())
}

/// Whether a choice that stands as it came, having no place in the IR, wants a search made that the target cannot make
/// (beside functions, or at all): it names the search, or tools of which one must be called.
fn is_forced(choice: &Json, beside: bool) -> bool {
    let searches = |tool: &Json| tool.get("type").str().is_some_and(|kind| kind.starts_with("web_search"));
    let required = choice.get("mode").str() == Some("required");
    searches(choice)
        || required && (!beside || matches!(choice.get("tools"), Json::Array(tools) if tools.iter().any(searches)))
}

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
    // The one as it stands with Anthropic, the other as with Responses; with its path.
    let mut domains = |name: &'static str| {
        let within = format!("filters/{name}");
        let found = left.take(name).map(|list| (name.to_owned(), list));
        found.or_else(|| left.take(&format!("filters.{name}")).map(|list| (within, list)))
    };
    let (allowed, blocked) = (domains("allowed_domains"), domains("blocked_domains"));
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
        match (to, name, list) {
            (_, _, None) => {}
            (Wire::Anthropic, _, Some((_, list))) => out.put(name, list),
            // Its filters only allow.
            (Wire::Responses, "allowed_domains", Some((_, list))) => out.put("filters.allowed_domains", list),
            (_, _, Some((path, _))) => loss.add(format!("{}/{path}", extra.at), LACKS),
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
