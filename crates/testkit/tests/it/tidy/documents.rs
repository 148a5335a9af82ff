//! Where the links of the documents lead.

use std::path::Path;

use super::{files, has_extension, none, root};

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files("", |path| has_extension(path, "md")) {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new("")).to_owned();
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if target.is_empty() { root().join(&file.path) } else { root().join(&folder).join(target) };
            if !path.exists() {
                findings.push(format!("{}: {link}", file.path));
            } else if !heading.is_empty() && has_extension(&path, "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                if !headings(&text).any(|anchor| anchor == heading) {
                    findings.push(format!("{}: no heading for {link}", file.path));
                }
            }
        }
    }
    none(&findings, "links that lead nowhere");
}

/// The targets of the inline links of a text, code spans and blocks left out.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(text) {
        for plain in line.split('`').step_by(2) {
            found.extend(plain.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target));
        }
    }
    found
}

/// The anchors that a reader's browser gives to the headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[test]
fn links_are_found_outside_code_only() {
    let text = "see [a](b.md) and `[c](d.md)`\n```\n[e](f.md)\n```\n[g](h.md#i)";
    assert_eq!(links(text), ["b.md", "h.md#i"]);
    assert_eq!(headings("## What `x` costs, exactly").collect::<Vec<_>>(), ["what-x-costs-exactly"]);
}
