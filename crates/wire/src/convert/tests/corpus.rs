//! The corpus: every document round, and over to every other wire.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::support::{WIRES, answer, answered, folded, memory, said, stream, value, whole, word};
use crate::{
    Wire,
    convert::{Asked, Ending, Quirks, decode_request, parse, request, response},
    gemini,
    ir::Json,
};

struct Case {
    name: String,
    bytes: Vec<u8>,
}

fn cases(wire: Wire, file: &str) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(word(wire));
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let with_file = folders.into_iter().filter(|folder| folder.join(file).exists());
    with_file
        .map(|folder| Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            bytes: fs::read(folder.join(file)).unwrap(),
        })
        .collect()
}

#[test]
fn a_request_comes_back_as_it_was() {
    for wire in WIRES {
        for case in cases(wire, "request.json") {
            let there = request(wire, wire, &case.bytes, &Asked::default(), Quirks::default()).unwrap();
            let mut want = value(&case.bytes);
            if wire == Wire::Gemini {
                // The vendor's other spelling is not kept.
                let mut body = Json::parse(&case.bytes).unwrap();
                gemini::camel(&mut body);
                want = value(&body.to_bytes());
            }
            assert_eq!(value(&there.bytes), want, "{wire:?} {}", case.name);
            assert!(there.loss.is_empty(), "{wire:?} {}: {:?}", case.name, there.loss);
        }
    }
}

#[test]
fn an_answer_comes_back_as_it_was() {
    let memory = memory();
    for wire in WIRES {
        for case in cases(wire, "response.json") {
            let there = response(wire, wire, &case.bytes, &answer(&memory)).unwrap();
            assert_eq!(value(&there.bytes), value(&case.bytes), "{wire:?} {}", case.name);
        }
    }
}

#[test]
fn a_stream_comes_back_with_what_it_said() {
    for wire in WIRES {
        for case in cases(wire, "stream.sse") {
            let (bytes, ending, ..) = stream(wire, wire, [case.bytes.as_slice()]);
            assert_eq!(ending, Ending::Whole, "{wire:?} {}", case.name);
            let mut want = said(&folded(wire, &case.bytes).unwrap());
            let mut got = said(&folded(wire, &bytes).unwrap());
            // Signatures go out in envelopes, which the calls' ids and the rest do not care about.
            assert_eq!(std::mem::take(&mut want.signatures).len(), std::mem::take(&mut got.signatures).len());
            want.calls.iter_mut().chain(&mut got.calls).for_each(|(id, ..)| drop(id.take()));
            assert_eq!(got, want, "{wire:?} {}", case.name);
        }
    }
}

fn show(bytes: &[u8]) -> String {
    serde_json::to_string_pretty(&value(bytes)).unwrap()
}

fn losses(loss: &crate::Loss) -> String {
    let lines: Vec<String> = loss.items().iter().map(|lost| format!("- {}: {}", lost.pointer, lost.reason)).collect();
    lines.join("\n")
}

#[test]
fn every_case_on_every_other_wire() {
    let quirks = Quirks::default();
    for from in WIRES {
        for to in WIRES.into_iter().filter(|to| *to != from) {
            let pair = format!("{}-{}", word(from), word(to));
            for case in cases(from, "request.json") {
                let asked = Asked { model: Some("upstream-model"), ..Asked::default() };
                let shown = match request(from, to, &case.bytes, &asked, quirks) {
                    Ok(converted) => {
                        decode_request(to, parse(&converted.bytes).unwrap()).unwrap();
                        format!("{}\n\nlost:\n{}", show(&converted.bytes), losses(&converted.loss))
                    }
                    Err(refused) => format!("refused: {refused}"),
                };
                insta::assert_snapshot!(format!("request_{}.{pair}", case.name), shown);
            }
            for case in cases(from, "response.json") {
                let (bytes, loss) = answered(from, to, &case.bytes);
                whole(to, &bytes);
                let shown = format!("{}\n\nlost:\n{}", show(&bytes), losses(&loss));
                insta::assert_snapshot!(format!("response_{}.{pair}", case.name), shown);
            }
            for case in cases(from, "stream.sse") {
                let (bytes, ending, loss, _) = stream(from, to, [case.bytes.as_slice()]);
                assert_eq!(ending, Ending::Whole, "{pair} {}", case.name);
                assert!(folded(to, &bytes).is_some(), "{pair} {}", case.name);
                let shown =
                    format!("{}\nlost:\n{}", String::from_utf8_lossy(&bytes).replace("\r\n", "\n"), losses(&loss));
                insta::assert_snapshot!(format!("stream_{}.{pair}", case.name), shown);
            }
        }
    }
}

#[test]
fn a_recorded_stream_folds_to_what_its_fold_converts_to() {
    for from in WIRES {
        for to in WIRES.into_iter().filter(|to| *to != from) {
            for case in cases(from, "stream.sse") {
                let folded_first = folded(from, &case.bytes).unwrap();
                let (bytes, ..) = stream(from, to, [case.bytes.as_slice()]);
                let mut streamed = said(&folded(to, &bytes).unwrap());
                let mut want = said(&folded_first);
                super::laws::level(from, to, &mut want);
                super::laws::level(from, to, &mut streamed);
                assert_eq!(streamed, want, "{from:?}-{to:?} {}", case.name);
            }
        }
    }
}
