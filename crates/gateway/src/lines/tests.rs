use super::*;
use std::sync::mpsc::{Receiver, Sender};
use tracing_subscriber::layer::SubscriberExt as _;

/// Where a test's lines go: each hand-over is a message.
struct Wire(Sender<Vec<u8>>);

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wire() -> (Out, Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    (Lines::to(Wire(sender)).unwrap(), receiver)
}

fn logged(say: impl FnOnce()) -> String {
    let (out, wire) = wire();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(JsonLines(out.lines())), say);
    drop(out);
    String::from_utf8(wire.into_iter().flatten().collect()).unwrap()
}

#[test]
fn every_line_is_a_json_object_with_its_fields_as_they_were() {
    let text = "quote \" back \\ line \n tab \t return \r bell \u{7} ünï";
    let lines = logged(|| {
        tracing::info!(request.id = %text, count = 7_u64, less = -1_i64, half = 0.5, never = f64::NAN, yes = true,
                       nothing = None::<u64>, plain = text, shown = ?text, "said {text}");
        tracing::warn!("second");
    });
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &lines[..] else { panic!("{lines:?}") };
    let told: jiff::Timestamp = first["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(told.as_microsecond() <= SystemClock::now_us(), "{told}");
    let mut rest = first.clone();
    rest.as_object_mut().unwrap().remove("timestamp");
    let want = serde_json::json!({
        "level": "INFO", "target": module_path!(), "message": format!("said {text}"), "request.id": text, "count": 7,
        "less": -1, "half": 0.5, "never": "NaN", "yes": true, "plain": text, "shown": format!("{text:?}"),
    });
    assert_eq!(rest, want);
    assert_eq!((&second["level"], &second["message"]), (&"WARN".into(), &"second".into()));
}

#[test]
fn a_stamp_has_its_microseconds_also_when_its_second_was_shown_before() {
    let mut line = Line::default();
    for (now_us, want) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000_000_007, "2023-11-14T22:13:20.000007Z"),
        (1_700_000_000_999_999, "2023-11-14T22:13:20.999999Z"),
        (1_700_000_001_000_000, "2023-11-14T22:13:21.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ] {
        line.text.clear();
        line.stamp(now_us);
        assert_eq!(line.text, want);
    }
}

#[test]
fn lines_leave_in_order_and_the_last_ones_at_the_end() {
    let (out, wire) = wire();
    let lines = out.lines();
    let mut want = String::new();
    for number in 0..1_000 {
        let line = format!("{number}\n");
        lines.push(line.as_bytes(), false);
        want.push_str(&line);
    }
    drop(out);
    let groups: Vec<_> = wire.into_iter().collect();
    assert_eq!(String::from_utf8(groups.concat()).unwrap(), want);
    assert!(groups.len() < 100, "{} groups", groups.len());
}

#[test]
fn a_stuck_reader_costs_lines_and_holds_nobody_up() {
    let (entered, inside) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let (sender, wire) = mpsc::channel();
    struct Stuck(Wire, Sender<()>, Receiver<()>);
    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.send(()).map_err(io::Error::other)?;
            // Opened once, the gate stays open: its other side is gone.
            let _ = self.2.recv();
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let out = Lines::to(Stuck(Wire(sender), entered, gate)).unwrap();
    let lines = out.lines();
    lines.push(b"first\n", true);
    inside.recv().unwrap();
    let line = vec![b'x'; 1 << 20];
    for _ in 0..10 {
        lines.push(&line, false);
    }
    drop(open);
    drop(out);
    let told: Vec<u8> = wire.into_iter().flatten().collect();
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("first\n"));
    assert!(told.contains("\"lines\":6"), "{}", &told[told.len() - 100..]);
    assert_eq!(told.matches('x').count(), 4 << 20);
}
