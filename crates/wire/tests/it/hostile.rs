//! Bytes that nobody should send: no panic, no deep recursion, no quiet misreading.

use bytes::Bytes;
use proptest::{prelude::*, sample::select};
use wire::{ArrayFramer, Kind, PeekError, UsageFilter, Wire, peek, read_error, recode::strip_params};

use crate::support::{WIRES, cases, cut_at, tap_stream, tap_whole};

/// A file of the corpus with some of its bytes changed, and its end perhaps cut off.
fn damaged(file: &'static str) -> impl Strategy<Value = (Wire, Vec<u8>)> {
    let changes = prop::collection::vec((any::<usize>(), any::<u8>()), 0..6);
    (select((0..cases(file).len()).collect::<Vec<_>>()), changes, any::<usize>(), any::<bool>()).prop_map(
        move |(which, changes, end, cut)| {
            let case = cases(file).swap_remove(which);
            let mut bytes = case.bytes;
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end % bytes.len());
            }
            (case.wire, bytes)
        },
    )
}

/// Text in which everything that is special to JSON and SSE comes often.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let bytes = select(b"{}[]\":,\\u0dn19-.etf \r\ndata:event[DONE]\xef\xbb\xbf\xff".to_vec());
    prop::collection::vec(bytes, 0..300)
}

fn read_everything(wire: Wire, bytes: &[u8], cuts: &[usize]) {
    let _ = peek(wire, Kind::Generate, bytes);
    let _ = strip_params(bytes, &["a".into()]);
    let _ = read_error(bytes);
    let pieces = cut_at(bytes, cuts);
    assert_eq!(tap_stream(wire, &pieces), tap_stream(wire, &[bytes]));
    assert_eq!(tap_whole(wire, &pieces), tap_whole(wire, &[bytes]));
    let (mut filter, mut framer) = (UsageFilter::new(), ArrayFramer::new());
    let (mut passed, mut array) = (Vec::new(), Vec::new());
    for piece in pieces {
        filter.push(Bytes::copy_from_slice(piece), &mut passed);
        framer.push(piece, &mut array);
    }
    filter.finish(&mut passed);
    assert!(passed.concat().len() <= bytes.len());
}

proptest! {
    #[test]
    fn noise_is_survived_at_any_chunking(
        (_, wire) in select(WIRES.to_vec()), bytes in noise(), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        read_everything(wire, &bytes, &cuts);
    }

    #[test]
    fn damaged_streams_are_survived((wire, bytes) in damaged("stream.sse"), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        read_everything(wire, &bytes, &cuts);
    }

    #[test]
    fn damaged_requests_are_survived((wire, bytes) in damaged("request.json")) {
        read_everything(wire, &bytes, &[]);
    }

    #[test]
    fn what_is_accepted_is_json((wire, bytes) in damaged("request.json")) {
        let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        match peek(wire, Kind::Generate, &bytes) {
            Ok(_) => prop_assert!(parsed, "accepted: {}", String::from_utf8_lossy(&bytes)),
            Err(PeekError::NotJson { .. }) => prop_assert!(!parsed, "refused: {}", String::from_utf8_lossy(&bytes)),
            Err(PeekError::NotUtf8 { at }) => {
                prop_assert_eq!(std::str::from_utf8(&bytes).map_err(|bad| bad.valid_up_to()), Err(at));
            }
            Err(_) => {}
        }
    }
}

#[test]
fn deep_nesting_is_refused_in_requests_and_passed_over_in_answers() {
    let depth = 5_000_000;
    let open = vec![b'['; depth];
    for (_, wire) in WIRES {
        let body = [br#"{"model":"m","x":"#, open.as_slice()].concat();
        assert_eq!(peek(wire, Kind::Generate, &body), Err(PeekError::TooDeep));
    }
    let close = vec![b']'; depth];
    let answer = [
        br#"{"id":"c","x":"#.as_slice(),
        &open,
        &close,
        br#","usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}"#,
    ]
    .concat();
    let (seen, complete) = tap_whole(Wire::Chat, &[&answer]);
    assert!(complete && seen.usage.input == 2 && seen.usage.output == 1);
}

#[test]
fn a_long_value_is_kept_in_part_and_marked() {
    let id = "x".repeat(100_000);
    let answer = format!(r#"{{"id":"{id}","model":"m","choices":[]}}"#);
    for size in [1, 1000, answer.len()] {
        let pieces: Vec<&[u8]> = answer.as_bytes().chunks(size).collect();
        let (seen, _) = tap_whole(Wire::Chat, &pieces);
        assert!(seen.cut);
        assert_eq!(seen.id.map(|id| id.len()), Some(wire::tap::KEPT_MAX));
        assert_eq!(seen.model.as_deref(), Some("m"));
    }
}
