//! Pictures and files: types that are what the bytes say, names where files have them, and turns that may hold them.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Wire,
    ir::{Extra, Json, Kind, Media, Part, Request, Role, Source, Turn},
    loss::Loss,
};

/// Makes what a request shows fit for the target.
pub(super) fn fit(request: &mut Request, to: Wire, loss: &mut Loss) {
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        fit_part(part, loss);
    }
    // Gemini's models show pictures of their own; all others are only shown some.
    if to != Wire::Gemini {
        request.turns = std::mem::take(&mut request.turns).into_iter().flat_map(shown_by_the_user).collect();
    }
}

fn fit_part(part: &mut Part, loss: &mut Loss) {
    match &mut part.kind {
        Kind::Media { what, source, name, .. } => {
            if let Source::Base64 { mime, data } = source
                && let Some(found) = type_of(data)
                && Media::of_mime(found) == *what
            {
                found.clone_into(mime);
            }
            if *what != Media::Document && name.take().is_some() {
                part.lose_name("only files have names", loss);
            }
        }
        Kind::Result { content, .. } => content.iter_mut().for_each(|part| fit_part(part, loss)),
        _ => {}
    }
}

/// What the first bytes of a file say it is: vendors refuse pictures that are not what they are said to be.
fn type_of(data: &str) -> Option<&'static str> {
    let head = STANDARD.decode(data.get(..16)?).ok()?;
    match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    }
}

/// What an assistant shows moves to a turn of the user: behind its own, or before it if calls wait for their results.
fn shown_by_the_user(mut turn: Turn) -> Vec<Turn> {
    let shows = |part: &Part| matches!(part.kind, Kind::Media { .. });
    if turn.role != Role::Assistant || !turn.parts.iter().any(shows) {
        return vec![turn];
    }
    let (parts, rest) = std::mem::take(&mut turn.parts).into_iter().partition(shows);
    turn.parts = rest;
    let extra = Extra::new(turn.extra.wire, &turn.extra.at, Json::empty());
    let shown = Turn { role: Role::User, parts, plain: false, extra };
    let calls = turn.parts.iter().any(|part| matches!(part.kind, Kind::Call { .. }));
    let turns = if calls { [shown, turn] } else { [turn, shown] };
    turns.into_iter().filter(|turn| !turn.parts.is_empty()).collect()
}

/// The type that a picture's address tells, for a target that must be told one.
pub(crate) fn type_of_url(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    match end.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => "image/jpeg",
    }
}

/// The address is of a file that one vendor keeps, not of one that anybody can fetch.
pub(super) fn kept_by_vendor(url: &str) -> bool {
    let http = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    http.is_none_or(|rest| rest.starts_with("generativelanguage.googleapis.com/"))
}
