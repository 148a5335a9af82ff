//! The usage filter and the array framer.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use wire::{ArrayFramer, UsageFilter, Wire};

use crate::{
    oracle,
    support::{cases, cut_at},
};

fn filter(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut out) = (UsageFilter::new(), Vec::new());
    for piece in pieces {
        filter.push(Bytes::copy_from_slice(piece), &mut out);
    }
    filter.finish(&mut out);
    out.concat()
}

fn frame(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut framer, mut out) = (ArrayFramer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece, &mut out);
    }
    framer.finish(&mut out);
    out
}

/// A chat stream with and without its usage chunk, for a kind of line end.
fn streams(end: &str) -> (String, String) {
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}\n\n";
    let (before, after) = (
        ": hello\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
    );
    let with = format!("{before}{usage}{after}").replace('\n', end);
    (with, format!("{before}{after}").replace('\n', end))
}

#[test]
fn an_empty_piece_changes_nothing() {
    let (with, without) = streams("\r\n");
    let cut = with.find("\n\r\ndata: {\"choices\":[]}\r").unwrap() + 2;
    let (first, rest) = with.as_bytes().split_at(cut);
    assert_eq!(first.last(), Some(&b'\r'));
    assert_eq!(String::from_utf8(filter(&[first, b"", rest])).unwrap(), without);
}

proptest! {
    #[test]
    fn the_usage_chunk_goes_and_nothing_else(
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]), cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let (with, without) = streams(end);
        let got = filter(&cut_at(with.as_bytes(), &cuts));
        prop_assert_eq!(String::from_utf8(got).unwrap(), without);
    }

    #[test]
    fn a_framed_array_has_every_event(
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]), cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        for case in cases("stream.sse").iter().filter(|case| case.wire == Wire::Gemini) {
            let text = String::from_utf8(case.bytes.clone()).unwrap().replace("\r\n", end);
            let array = frame(&cut_at(text.as_bytes(), &cuts));
            let elements: Vec<Value> = serde_json::from_slice(&array).unwrap();
            prop_assert_eq!(elements, oracle::events(&case.bytes));
        }
    }
}

#[test]
fn what_passes_is_not_copied() {
    let (with, _) = streams("\n");
    let stream = Bytes::from(with);
    let (mut filter, mut out) = (UsageFilter::new(), Vec::new());
    filter.push(stream.clone(), &mut out);
    assert_eq!(out.len(), 2, "one piece before the chunk, one behind it");
    assert!(out.iter().all(|piece| stream.as_ptr_range().contains(&piece.as_ptr())));
}

#[test]
fn a_frame_too_long_to_hold_passes_as_it_comes() {
    let mut filter = UsageFilter::new();
    let mut out = Vec::new();
    filter.push(Bytes::from_static(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"pad\":\""), &mut out);
    assert!(out.is_empty());
    filter.push(Bytes::from(vec![b'x'; 70_000]), &mut out);
    assert_eq!(out.concat().len(), 70_000 + 55);
    filter.push(Bytes::from_static(b"\"}\n\n"), &mut out);
    assert_eq!(out.concat().len(), 70_000 + 59, "its end follows");
}

#[test]
fn an_array_is_valid_whatever_came() {
    for (name, stream, want) in [
        ("nothing", "", "[]"),
        ("one event", "data: {\"a\":1}\n\n", "[{\"a\":1}\n]"),
        ("two events", "data: {\"a\":1}\r\n\r\ndata:{\"b\":2}\r\n\r\n", "[{\"a\":1}\n,\n{\"b\":2}\n]"),
        ("an event over two lines", "data: {\"a\":\ndata: 1}\n\n", "[{\"a\":\n1}\n]"),
        ("comments and blanks", ": ping\n\ndata:\n\ndata: \n\n", "[]"),
        ("a foreign end mark", "data: {\"a\":1}\n\ndata: [DONE]\n\n", "[{\"a\":1}\n]"),
    ] {
        assert_eq!(String::from_utf8(frame(&[stream.as_bytes()])).unwrap(), want, "{name}");
    }
}

#[test]
fn an_error_ends_an_array_only_between_elements() {
    for (stream, follows, want) in [
        ("data: {\"a\":1}\n\n", true, "[{\"a\":1}\n,\n{\"error\":{}}\n]"),
        ("", true, "[{\"error\":{}}\n]"),
        ("data: {\"a\":", false, "[{\"a\":"),
    ] {
        let (mut framer, mut out) = (ArrayFramer::new(), Vec::new());
        framer.push(stream.as_bytes(), &mut out);
        assert_eq!(framer.error(b"{\"error\":{}}", &mut out), follows, "{stream}");
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
