//! Log lines on standard error: their JSON form, and the way out.
//!
//! Every request writes a line, so both are made for that: the form is written in one pass without an intermediate
//! document, and a thread of its own hands lines over in groups, so that neither a slow nor a stuck reader of standard
//! error holds a request up.

use std::{
    fmt::{self, Write as _},
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// How long a line waits for others; warnings and errors wait for none.
const GATHER: Duration = Duration::from_millis(50);
/// Lines that wait are handed over at once from this size on.
const ENOUGH: usize = 16 << 10;
/// Lines beyond this are dropped and counted: nobody takes them.
const WAITING_MAX: usize = 4 << 20;
/// How long the last lines may take.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// One JSON object per line: `timestamp`, `level`, the event's fields with `message`, `target`.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        write!(out, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut fields = Fields { out: out.by_ref(), result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writeln!(out, ",\"target\":\"{}\"}}", event.metadata().target())
    }
}

/// Writes fields as members of an object.
struct Fields<'w> {
    out: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // Names are constants of the source, which need no escapes.
        let name = field.name();
        if self.result.is_ok() && !name.starts_with("log.") {
            self.result = write!(self.out, ",\"{name}\":").and_then(|()| value(&mut self.out));
        }
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaped(out).write_fmt(value)?;
            out.write_char('"')
        });
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.member(field, |out| write!(out, "{value}"));
        } else {
            self.text(field, format_args!("{value}"));
        }
    }
}

/// Escapes what may not stand in a JSON string (RFC 8259, 7).
struct Escaped<'o, 'w>(&'o mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.0.write_str(&text[plain..at])?;
            plain = at + 1;
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                _ => write!(self.0, "\\u{byte:04x}")?,
            }
        }
        self.0.write_str(&text[plain..])
    }
}

/// Takes lines and brings them to where they are read; clones share one way.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    /// The thread waits to be woken.
    asleep: bool,
    /// Nothing waits for company.
    at_once: bool,
    stop: bool,
}

/// The thread that hands lines over; dropped, it hands over what is left.
pub(crate) struct Out {
    lines: Lines,
    /// Hangs up when the thread ends.
    ended: mpsc::Receiver<()>,
}

impl Lines {
    /// Begins to hand lines over.
    pub(crate) fn to(mut out: impl io::Write + Send + 'static) -> io::Result<Out> {
        let lines = Self(Arc::new(Shared { state: Mutex::default(), work: Condvar::new() }));
        let shared = lines.0.clone();
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            shared.run(&mut out);
            drop(end);
        })?;
        Ok(Out { lines, ended })
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut state = self.0.lock();
        if state.waiting.len() + line.len() > WAITING_MAX {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        state.at_once |= urgent || state.waiting.len() >= ENOUGH;
        if state.asleep || state.at_once {
            state.asleep = false;
            self.0.work.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, out: &mut impl io::Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            state.asleep = true;
            let woken = self.work.wait_while(state, |state| state.waiting.is_empty() && !state.stop);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
            let gathered = self.work.wait_timeout_while(state, GATHER, |state| !state.at_once && !state.stop);
            state = gathered.unwrap_or_else(PoisonError::into_inner).0;
            state.at_once = false;
            mem::swap(&mut state.waiting, &mut lines);
            let (dropped, stop) = (mem::take(&mut state.dropped), state.stop);
            drop(state);
            // Nobody is there to be told that nobody reads.
            let _ = out.write_all(&lines);
            if dropped > 0 {
                let _ =
                    writeln!(out, "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"lines\":{dropped}}}");
            }
            if stop {
                return;
            }
            lines.clear();
            lines.shrink_to(ENOUGH * 4);
        }
    }
}

impl Out {
    /// Where lines go in.
    pub(crate) fn lines(&self) -> Lines {
        self.lines.clone()
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut state = self.lines.0.lock();
        state.stop = true;
        self.lines.0.work.notify_one();
        drop(state);
        // An error says that it has ended, or that nobody takes its lines.
        let _ = self.ended.recv_timeout(LAST_WITHIN);
    }
}

/// One line on its way in.
pub(crate) struct Entry<'l> {
    lines: &'l Lines,
    urgent: bool,
}

impl io::Write for Entry<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.push(bytes, self.urgent);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Entry<'l>;

    fn make_writer(&'l self) -> Entry<'l> {
        Entry { lines: self, urgent: true }
    }

    fn make_writer_for(&'l self, metadata: &Metadata<'_>) -> Entry<'l> {
        Entry { lines: self, urgent: *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests;
