//! The status page, as HTML without scripts and as text.

use super::{Figures, Readiness};
use std::{fmt::Write as _, time::Duration};

/// Figures by heading, as both forms show them.
fn sections(figures: &Figures) -> [(&'static str, Vec<(&'static str, String)>); 4] {
    let journal = &figures.journal;
    [
        (
            "Process",
            vec![
                ("Uptime", duration(figures.uptime)),
                ("Listens on", figures.listen.join(", ")),
                ("Catalog revision", figures.revision.to_string()),
            ],
        ),
        (
            "Requests",
            vec![("Open now", count(figures.open_requests)), ("Ended since the start", count(figures.requests))],
        ),
        (
            "Catalog",
            vec![
                ("Models", count(figures.global_models)),
                ("Providers", count(figures.providers)),
                ("Provider keys", count(figures.provider_keys)),
                ("Users", count(figures.users)),
                ("Client keys", count(figures.client_keys)),
            ],
        ),
        (
            "Journal",
            vec![
                ("Segments", count(journal.segments)),
                ("Size", bytes(journal.bytes)),
                ("Not in the database yet", count(journal.unshipped)),
            ],
        ),
    ]
}

/// For programs and terminals.
pub(super) fn text(version: &str, known: Option<&(Readiness, Figures)>) -> String {
    let mut text = format!("Tollgate {version}\n");
    let Some((readiness, figures)) = known else { return text };
    let _ = writeln!(text, "{}", readiness.word());
    for reason in readiness.reasons() {
        let _ = writeln!(text, "  {reason}");
    }
    for (heading, rows) in sections(figures) {
        let _ = writeln!(text, "\n{heading}");
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<24} {value}");
        }
    }
    text
}

/// For browsers. Strangers get product and version.
pub(super) fn html(version: &str, known: Option<&(Readiness, Figures)>) -> String {
    const STYLE: &str = include_str!("page.css");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Tollgate</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>Tollgate</h1>\n<span class=\"version\">{}</span>\n",
        escaped(version)
    );
    if let Some((readiness, figures)) = known {
        let word = readiness.word();
        let _ = writeln!(page, "<strong class=\"state {word}\">{word}</strong>\n</header>");
        if !readiness.reasons().is_empty() {
            page.push_str("<ul class=\"reasons\">\n");
            for reason in readiness.reasons() {
                let _ = writeln!(page, "<li>{}</li>", escaped(reason));
            }
            page.push_str("</ul>\n");
        }
        page.push_str("<div class=\"sections\">\n");
        for (heading, rows) in sections(figures) {
            let _ = writeln!(page, "<section>\n<h2>{heading}</h2>\n<dl>");
            for (name, value) in rows {
                let _ = writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
            }
            page.push_str("</dl>\n</section>\n");
        }
        page.push_str(
            "</div>\n<footer><span>As of this page's loading.</span> \
             <a href=\"/readyz\">Readiness</a> <a href=\"/metrics\">Metrics</a></footer>\n",
        );
    } else {
        page.push_str("</header>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Text that stands in HTML as it is.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The two largest units: `3 d 4 h`, `5 min 6 s`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// Digits in groups of three.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size with one decimal, rounded down.
fn bytes(size: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if size >= unit {
            return format!("{}.{} {name}", size / unit, size % unit * 10 / unit);
        }
    }
    format!("{size} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h 0 min"),
            (90_061, "1 d 1 h"),
            (86_400, "1 d 0 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), want);
        }
        for (number, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), want);
        }
        for (size, want) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (64 << 20, "64.0 MiB")] {
            assert_eq!(bytes(size), want);
        }
    }

    #[test]
    fn what_is_shown_cannot_become_markup() {
        let readiness = Readiness::Degraded(vec!["<script>alert(\"1\")</script> & 'more'".to_owned()]);
        let page = html("1", Some(&(readiness, Figures::default())));
        assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;more&#39;"), "{page}");
        assert!(!page.contains("<script"));
    }
}
