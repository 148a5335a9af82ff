//! Exact money: integers of nano-dollars, decimal text at the edges, no floats in between.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt,
    iter::{self, Sum},
    ops::Add,
    str::FromStr,
};

/// Digits after the point of a dollar amount.
const PLACES: usize = 9;

/// An amount in nano-dollars (10⁻⁹ USD); `i64` holds about ± 9.2 billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub i64);

/// A price in nano-dollars per million tokens, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerMillion(u64);

/// A factor in millionths, 0 to 1000: a provider key's rate, or a default price relative to the input price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u32);

/// An amount that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount is beyond what can be accounted for")]
pub struct Overflow;

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    /// Something other than digits, one point and an optional sign.
    #[error("expected a decimal number such as 0.25")]
    NotDecimal,
    /// More digits after the point than are kept.
    #[error("has more decimal places than are kept")]
    TooPrecise,
    /// Outside the type's range.
    #[error("is out of range")]
    OutOfRange,
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, if it fits.
    pub fn checked_add(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).map(Self).ok_or(Overflow)
    }
}

impl Add for NanoUsd {
    type Output = Self;
    /// Saturates: a sum of that size is caught by [`NanoUsd::checked_add`] where it is charged.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

impl PerMillion {
    /// A price of `nanos` nano-dollars per million tokens; `None` above what `i64` can store.
    pub fn new(nanos: u64) -> Option<Self> {
        i64::try_from(nanos).ok().map(|_| Self(nanos))
    }

    /// Nano-dollars per million tokens.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This price times a factor, rounded half-even.
    pub fn times(self, factor: Factor) -> Result<Self, Overflow> {
        let exact = u128::from(self.0) * u128::from(factor.0);
        u64::try_from(half_even(exact, 1_000_000)).ok().and_then(Self::new).ok_or(Overflow)
    }
}

impl Factor {
    /// One: the price as it is.
    pub const ONE: Self = Self(1_000_000);
    /// Nothing is charged.
    pub const ZERO: Self = Self(0);
    /// The largest factor, 1000.
    const MAX: u32 = 1_000_000_000;

    /// A factor of `millionths`; `None` above 1000.
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::MAX { Some(Self(millionths)) } else { None }
    }

    /// The factor in millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// An amount times this factor, rounded half-even.
    pub fn of(self, amount: NanoUsd) -> Result<NanoUsd, Overflow> {
        let exact = u128::from(amount.0.unsigned_abs()) * u128::from(self.0);
        let rounded = i64::try_from(half_even(exact, 1_000_000)).map_err(|_| Overflow)?;
        Ok(NanoUsd(if amount.0 < 0 { -rounded } else { rounded }))
    }
}

/// Prices one part of a request: `tokens` at `price`, rounded half-even to a nano-dollar.
pub fn part_cost(tokens: u64, price: PerMillion) -> Result<NanoUsd, Overflow> {
    let exact = u128::from(tokens) * u128::from(price.0);
    i64::try_from(half_even(exact, 1_000_000)).map(NanoUsd).map_err(|_| Overflow)
}

/// `exact ÷ unit`, a tie going to the even neighbour.
fn half_even(exact: u128, unit: u128) -> u128 {
    let (whole, rest) = (exact / unit, exact % unit);
    let up = rest * 2 > unit || (rest * 2 == unit && whole % 2 == 1);
    whole + u128::from(up)
}

/// Reads decimal text with at most `places` digits after the point, scaled to an integer.
fn scaled(text: &str, places: usize) -> Result<i128, BadAmount> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| BadAmount::NotDecimal)?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    if all.is_empty() || all.len() > 40 || !all.bytes().all(|digit| digit.is_ascii_digit()) || exponent.abs() > 40 {
        return Err(BadAmount::NotDecimal);
    }
    let mut value = all.parse::<u128>().map_err(|_| BadAmount::OutOfRange)?;
    let places = i32::try_from(places).unwrap_or(0);
    let fraction = i32::try_from(fraction.len()).unwrap_or(0);
    let shift = places - fraction + exponent;
    for _ in 0..shift.abs() {
        if shift > 0 {
            value = value.checked_mul(10).ok_or(BadAmount::OutOfRange)?;
        } else if value % 10 == 0 {
            value /= 10;
        } else {
            return Err(BadAmount::TooPrecise);
        }
    }
    let value = i128::try_from(value).map_err(|_| BadAmount::OutOfRange)?;
    Ok(if negative { -value } else { value })
}

/// Writes a scaled integer as decimal text without trailing zeros, and without an allocation: every request logs an amount.
fn decimal(f: &mut fmt::Formatter<'_>, negative: bool, value: u64, mut places: usize) -> fmt::Result {
    let unit: u64 = iter::repeat_n(10, places).product();
    let (sign, whole, mut fraction) = (if negative { "-" } else { "" }, value / unit, value % unit);
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    while fraction % 10 == 0 {
        fraction /= 10;
        places -= 1;
    }
    write!(f, "{sign}{whole}.{fraction:0places$}")
}

impl FromStr for NanoUsd {
    type Err = BadAmount;
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        i64::try_from(scaled(text, PLACES)?).map(Self).map_err(|_| BadAmount::OutOfRange)
    }
}

impl FromStr for PerMillion {
    type Err = BadAmount;
    /// Reads dollars per million tokens.
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        u64::try_from(scaled(text, PLACES)?).ok().and_then(Self::new).ok_or(BadAmount::OutOfRange)
    }
}

impl FromStr for Factor {
    type Err = BadAmount;
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        u32::try_from(scaled(text, 6)?).ok().and_then(Self::from_millionths).ok_or(BadAmount::OutOfRange)
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0 < 0, self.0.unsigned_abs(), PLACES)
    }
}

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, false, self.0, PLACES)
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, false, u64::from(self.0), 6)
    }
}

impl Default for Factor {
    fn default() -> Self {
        Self::ONE
    }
}

/// Serialises as decimal text; reads text or a number that the format hands over as text, an integer or a float.
///
/// A float is turned into its shortest decimal text first, which is what the author of the document typed.
macro_rules! decimal_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a decimal number, as text or as a number")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(Text)
                } else {
                    Deserialize::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}
decimal_serde!(NanoUsd);
decimal_serde!(PerMillion);
decimal_serde!(Factor);

#[cfg(test)]
mod tests;
