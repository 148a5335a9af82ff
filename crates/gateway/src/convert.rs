//! `tollgate convert`: the conversion among the wires as a tool, for whoever wonders what a client or an upstream will
//! see. Nothing is sent anywhere.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use wire::{
    Loss, Wire,
    convert::{self, Answer, Asked, Document, Ending, Memory, Quirks, Stream},
};

use crate::out;

/// Most bytes of a document that is no stream.
const FILE_MAX: u64 = 256 << 20;
/// Bytes of a stream that are read at a time.
const CHUNK: usize = 64 * 1024;
/// What made ids are made of: the same file always gives the same result.
const SEED: &str = "converted";

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The wire that the file is written in.
    #[arg(long, value_name = "WIRE")]
    from: Name,
    /// The wire to write it in.
    #[arg(long, value_name = "WIRE")]
    to: Name,
    /// The file is an event stream.
    #[arg(long)]
    stream: bool,
    /// A request, a whole answer or an error in JSON; or a stream.
    file: PathBuf,
}

/// A wire, by its name in the corpus.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    Anthropic,
    Chat,
    Responses,
    Gemini,
}

impl From<Name> for Wire {
    fn from(name: Name) -> Self {
        match name {
            Name::Anthropic => Self::Anthropic,
            Name::Chat => Self::Chat,
            Name::Responses => Self::Responses,
            Name::Gemini => Self::Gemini,
        }
    }
}

/// Converts the file; false if it is a stream that broke off or failed.
///
/// # Errors
/// The file cannot be read, is not what was said, or asks for what the target cannot do.
pub(crate) fn run(arguments: &Convert) -> Result<bool> {
    let name = arguments.file.display();
    let file = File::open(&arguments.file).with_context(|| format!("cannot open {name}"))?;
    if arguments.stream {
        return stream(arguments, file).with_context(|| format!("cannot convert {name}"));
    }
    let mut body = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut body).with_context(|| format!("cannot read {name}"))?;
    if body.len() as u64 > FILE_MAX {
        bail!("{name} is larger than 256 MiB");
    }
    whole(arguments, &body).with_context(|| format!("cannot convert {name}"))?;
    Ok(true)
}

fn answer(memory: &Memory) -> Answer<'_> {
    Answer { model: None, seed: SEED, created: 0, memory, issuer: None, show_thoughts: true, request_id: SEED }
}

fn whole(arguments: &Convert, body: &[u8]) -> Result<()> {
    let (from, to) = (arguments.from.into(), arguments.to.into());
    let (bytes, loss) = match convert::document(body) {
        Some(Document::Request) => {
            let converted = convert::request(from, to, body, &Asked::default(), Quirks::default())?;
            (converted.bytes, converted.loss)
        }
        Some(Document::Answer) => {
            let answered = convert::response(from, to, body, &answer(&Memory::default()))?;
            (answered.bytes, answered.loss)
        }
        // The status is not in the file: what the body says decides.
        Some(Document::Error) => (convert::error(to, 500, body, None, SEED).body, Loss::default()),
        None => bail!("it is neither a request nor an answer of any wire"),
    };
    out::line(String::from_utf8_lossy(&bytes))?;
    tell(&loss);
    Ok(())
}

fn stream(arguments: &Convert, mut file: File) -> Result<bool> {
    let memory = Memory::default();
    let mut stream = Stream::new(arguments.from.into(), arguments.to.into(), &answer(&memory));
    let mut stdout = io::stdout().lock();
    let (mut chunk, mut written) = (vec![0; CHUNK], Vec::new());
    let ending = loop {
        let read = file.read(&mut chunk)?;
        let step = match read {
            0 => stream.finish(&mut written).map(Some),
            read => stream.feed(&chunk[..read], &mut written).map(|()| None),
        };
        // What was written before a mistake stays good.
        stdout.write_all(&written)?;
        written.clear();
        if let Some(ending) = step? {
            break ending;
        }
    };
    stdout.flush()?;
    tell(stream.loss());
    match ending {
        Ending::Whole => {}
        Ending::Cut => out::complain("the stream breaks off before its end"),
        Ending::Failed => out::complain("the stream ends with an error"),
    }
    Ok(ending == Ending::Whole)
}

fn tell(loss: &Loss) {
    for lost in loss.items() {
        out::complain(format_args!("lost {}: {}", lost.pointer, lost.reason));
    }
    if loss.more() > 0 {
        out::complain(format_args!("and {} more", loss.more()));
    }
}
