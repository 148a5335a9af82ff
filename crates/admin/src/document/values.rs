//! Readers of single values: text, numbers, money, times and names, each with its bounds.

use super::tree::{Node, Value};
use domain::{format::UnknownName, money::BadAmount};
use std::{ops::RangeInclusive, str::FromStr};

type Read<T> = Result<T, String>;

fn expected<T>(what: &str, node: &Node) -> Read<T> {
    Err(format!("expected {what}, found {}", node.value.kind()))
}

pub(super) fn boolean(node: &Node) -> Read<bool> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => expected("true or false", node),
    }
}

fn raw_text(node: &Node) -> Read<&str> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => expected("text (put it in quotes)", node),
        _ => expected("text", node),
    }
}

/// Text of 1 to `max` characters, without control characters, blanks around it taken off.
pub(super) fn text(max: usize) -> impl Fn(&Node) -> Read<String> {
    move |node| {
        let text = raw_text(node)?.trim();
        let length = text.chars().count();
        if length == 0 || length > max {
            return Err(format!("must have 1 to {max} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("must not hold control characters".to_owned());
        }
        Ok(text.to_owned())
    }
}

/// Text of several lines, at most `max` characters.
pub(super) fn prose(max: usize) -> impl Fn(&Node) -> Read<String> {
    move |node| {
        let text = raw_text(node)?.trim();
        if text.chars().count() > max || text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(format!("must have at most {max} characters and no control characters"));
        }
        Ok(text.to_owned())
    }
}

/// A provider's name: it appears in paths such as `acme/CLAUDE`.
pub(super) fn provider_name(node: &Node) -> Read<String> {
    let name = raw_text(node)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) {
        return Err("must be 1 to 100 of the characters A-Z a-z 0-9 _ . -".to_owned());
    }
    Ok(name.to_owned())
}

/// A user's name as it identifies the user; the bounds of a new name are checked when one is made.
pub(super) fn username(node: &Node) -> Read<String> {
    text(100)(node)
}

/// An e-mail address in the form in which addresses are compared.
pub(super) fn email(node: &Node) -> Read<String> {
    use unicode_normalization::UnicodeNormalization;
    let address: String = text(254)(node)?.nfkc().collect::<String>().to_lowercase();
    match address.split_once('@') {
        Some((local, host))
            if !local.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && !address.contains(char::is_whitespace) =>
        {
            Ok(address)
        }
        _ => Err("is not an e-mail address".to_owned()),
    }
}

/// A whole number within bounds; written as a number or as text.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Node) -> Read<T>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    move |node| {
        let (Value::Number(digits) | Value::Text(digits)) = &node.value else {
            return expected("a whole number", node);
        };
        match digits.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }
}

/// A limit: any count, 0 allows nothing.
pub(super) fn limit(node: &Node) -> Read<u32> {
    // The database keeps counts as signed numbers of 32 bits.
    integer(0..=i32::MAX.unsigned_abs())(node)
}

/// An amount, price or factor, from the digits that were written.
pub(super) fn decimal<T: FromStr<Err = BadAmount>>(node: &Node) -> Read<T> {
    match &node.value {
        Value::Number(digits) | Value::Text(digits) => {
            digits.trim().parse().map_err(|error: BadAmount| error.to_string())
        }
        _ => expected("a decimal number", node),
    }
}

/// One of a closed set of names.
pub(super) fn name<T: FromStr<Err = UnknownName>>(node: &Node) -> Read<T> {
    named(raw_text(node)?)
}

/// The same, of a text that is not a value of its own.
pub(super) fn named<T: FromStr<Err = UnknownName>>(text: &str) -> Read<T> {
    text.parse().map_err(|error: UnknownName| {
        let hint =
            super::nearest(text, error.wanted).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        format!("{error}{hint}")
    })
}

/// An instant, RFC 3339 with its offset, as Unix microseconds.
pub(super) fn instant(node: &Node) -> Read<i64> {
    let text = raw_text(node)?;
    let instant: jiff::Timestamp =
        text.parse().map_err(|_| "expected a time such as 2026-01-31T12:00:00Z".to_owned())?;
    Ok(instant.as_microsecond())
}

/// An address range, or a single address.
pub(super) fn network(node: &Node) -> Read<ipnet::IpNet> {
    let text = raw_text(node)?;
    let net = text.parse::<ipnet::IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
    net.map_err(|_| "expected an address or a range such as 10.0.0.0/8".to_owned())
}

/// A table that must be there empty or not at all: no key of it has a meaning.
pub(super) fn nothing(node: &Node) -> Read<()> {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => Ok(()),
        _ => Err("has no fields yet; it must be empty".to_owned()),
    }
}

/// A URL: one of `schemes`, a host, no credentials, no query.
pub(super) fn url(max: usize, schemes: &'static [&'static str]) -> impl Fn(&Node) -> Read<String> {
    move |node| {
        let text = text(max)(node)?;
        let shape = || format!("expected a URL such as {}://host/path", schemes.first().copied().unwrap_or("https"));
        let uri: http::Uri = text.parse().map_err(|_| shape())?;
        let scheme = uri.scheme_str().ok_or_else(shape)?;
        if !schemes.contains(&scheme) {
            return Err(format!("must begin with one of {}", schemes.join(", ")));
        }
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.host().is_empty() {
            return Err(shape());
        }
        if authority.as_str().contains('@') {
            return Err("must not hold credentials; they have fields of their own".to_owned());
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("must not hold a query or a fragment".to_owned());
        }
        Ok(text)
    }
}
