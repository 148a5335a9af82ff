//! Log lines on standard error: their JSON form, and the way out.
//!
//! Every request writes a line, so both are made for that: the form is written in one pass without an intermediate
//! document, and a thread of its own hands lines over in groups, so that neither a slow nor a stuck reader of standard
//! error holds a request up.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};
use store::SystemClock;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer},
};

/// How long a line waits for others; warnings and errors wait for none.
const GATHER: Duration = Duration::from_millis(50);
/// Lines that wait are handed over at once from this size on.
const ENOUGH: usize = 64 << 10;
/// Lines beyond this are dropped and counted: nobody takes them.
const WAITING_MAX: usize = 4 << 20;
/// How long the last lines may take.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// One JSON object per line: `timestamp`, `level`, the event's fields with `message`, `target`.
pub(crate) struct JsonLines(pub(crate) Lines);

thread_local! {
    /// Where a thread's lines are put together.
    static LINE: RefCell<Line> = const { RefCell::new(Line { text: String::new(), second: 0, shown: String::new() }) };
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let tell = |line: &mut Line| {
            line.write(event, SystemClock::now_us());
            self.0.push(line.text.as_bytes(), *event.metadata().level() <= Level::WARN);
        };
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => tell(&mut line),
            // A value that logs while it is shown.
            Err(_) => tell(&mut Line::default()),
        });
    }
}

/// A line in the making. Its room is used again.
#[derive(Default)]
struct Line {
    text: String,
    /// The second of the last line, and how it was shown.
    second: i64,
    shown: String,
}

impl Line {
    fn write(&mut self, event: &Event<'_>, now_us: i64) {
        self.text.clear();
        self.text.push_str("{\"timestamp\":\"");
        self.stamp(now_us);
        self.text.push_str("\",\"level\":\"");
        self.text.push_str(event.metadata().level().as_str());
        self.text.push('"');
        event.record(&mut Fields(&mut self.text));
        self.text.push_str(",\"target\":\"");
        self.text.push_str(event.metadata().target());
        self.text.push_str("\"}\n");
    }

    fn stamp(&mut self, now_us: i64) {
        let (second, micros) = (now_us.div_euclid(1_000_000), now_us.rem_euclid(1_000_000));
        if self.second != second || self.shown.is_empty() {
            self.second = second;
            self.shown = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
            self.shown.pop(); // the "Z", which follows the fraction
        }
        self.text.push_str(&self.shown);
        self.text.push('.');
        // Six digits, after one that keeps their zeros.
        self.text.push_str(&itoa::Buffer::new().format(1_000_000 + micros)[1..]);
        self.text.push('Z');
    }
}

/// Writes fields as members of an object.
struct Fields<'w>(&'w mut String);

impl Fields<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut String)) {
        // Names are constants of the source, which need no escapes.
        let name = field.name();
        if !name.starts_with("log.") {
            self.0.push_str(",\"");
            self.0.push_str(name);
            self.0.push_str("\":");
            value(self.0);
        }
    }

    fn text(&mut self, field: &Field, write: impl FnOnce(&mut Escaped<'_>)) {
        self.member(field, |out| {
            out.push('"');
            write(&mut Escaped(out));
            out.push('"');
        });
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A value that cannot be shown is shown as far as it goes.
        self.text(field, |out| {
            let _ = write!(out, "{value:?}");
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |out| out.push(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| out.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| out.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| out.push_str(if value { "true" } else { "false" }));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.member(field, |out| {
                let _ = write!(out, "{value}");
            });
        } else {
            self.record_debug(field, &value);
        }
    }
}

/// Escapes what may not stand in a JSON string (RFC 8259, 7).
struct Escaped<'o>(&'o mut String);

impl Escaped<'_> {
    fn push(&mut self, text: &str) {
        let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // Most texts have none; looked at to their end, many bytes are looked at together.
        if !text.bytes().fold(false, |any, byte| any | special(byte)) {
            self.0.push_str(text);
            return;
        }
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !special(byte) {
                continue;
            }
            self.0.push_str(&text[plain..at]);
            plain = at + 1;
            match byte {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                _ => {
                    let _ = write!(self.0, "\\u{byte:04x}");
                }
            }
        }
        self.0.push_str(&text[plain..]);
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
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
        let hurried = !state.at_once && (urgent || state.waiting.len() >= ENOUGH);
        state.at_once |= hurried;
        let asleep = mem::take(&mut state.asleep);
        drop(state);
        // Once, and not before the lock is free: waking costs a request more than its line does.
        if asleep || hurried {
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
            lines.shrink_to(ENOUGH * 2);
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
