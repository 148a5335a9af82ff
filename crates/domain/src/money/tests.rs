use super::*;
use proptest::prelude::*;

#[test]
fn amounts_are_read_as_decimal_text() {
    for (text, want) in [
        ("0", Ok(NanoUsd(0))),
        ("5", Ok(NanoUsd(5_000_000_000))),
        ("0.25", Ok(NanoUsd(250_000_000))),
        ("-1.5", Ok(NanoUsd(-1_500_000_000))),
        ("0.000000001", Ok(NanoUsd(1))),
        ("3e-7", Ok(NanoUsd(300))),
        ("1.0000000000", Ok(NanoUsd(1_000_000_000))),
        ("0.0000000001", Err(BadAmount::TooPrecise)),
        ("9300000000", Err(BadAmount::OutOfRange)),
        ("1,5", Err(BadAmount::NotDecimal)),
        ("", Err(BadAmount::NotDecimal)),
        (".", Err(BadAmount::NotDecimal)),
        ("NaN", Err(BadAmount::NotDecimal)),
    ] {
        assert_eq!(text.parse::<NanoUsd>(), want, "{text}");
    }
}

#[test]
fn amounts_are_written_as_short_as_they_are_exact() {
    for (nanos, want) in [
        (0, "0"),
        (1, "0.000000001"),
        (-1_500_000_000, "-1.5"),
        (10_000_000_000, "10"),
        (10_020_000_000, "10.02"),
        (i64::MAX, "9223372036.854775807"),
        (i64::MIN, "-9223372036.854775808"),
    ] {
        assert_eq!(NanoUsd(nanos).to_string(), want);
    }
    assert_eq!("0.000001".parse::<Factor>().unwrap().to_string(), "0.000001");
}

#[test]
fn ties_go_to_the_even_neighbour() {
    for (tokens, nanos_per_million, want) in
        [(1, 500_000, 0), (3, 500_000, 2), (1, 1_500_000, 2), (1, 2_500_000, 2), (1, 2_500_001, 3), (1_000_000, 7, 7)]
    {
        let price = PerMillion::new(nanos_per_million).unwrap();
        assert_eq!(part_cost(tokens, price), Ok(NanoUsd(want)), "{tokens} at {nanos_per_million}");
    }
}

#[test]
fn a_number_in_a_document_is_what_its_author_typed() {
    assert_eq!(serde_json::from_str::<PerMillion>("0.30").unwrap(), "0.3".parse().unwrap());
    assert_eq!(serde_json::from_str::<PerMillion>("3").unwrap(), "3".parse().unwrap());
    assert_eq!(serde_json::from_str::<Factor>("\"1.0\"").unwrap(), Factor::ONE);
}

proptest! {
    #[test]
    fn text_round_trips(nanos: i64) {
        prop_assert_eq!(NanoUsd(nanos).to_string().parse(), Ok(NanoUsd(nanos)));
    }

    #[test]
    fn a_part_never_costs_less_for_more_tokens(tokens in 0u64..1_000_000_000, more in 0u64..1000, nanos in 0u64..1_000_000_000_000) {
        let price = PerMillion::new(nanos).unwrap();
        prop_assert!(part_cost(tokens, price).unwrap() <= part_cost(tokens + more, price).unwrap());
    }

    #[test]
    fn rounding_is_at_most_half_a_nano_dollar(tokens in 0u64..1_000_000_000, nanos in 0u64..1_000_000_000_000) {
        let cost = part_cost(tokens, PerMillion::new(nanos).unwrap()).unwrap();
        let exact = i128::from(tokens) * i128::from(nanos);
        prop_assert!((i128::from(cost.0) * 1_000_000 - exact).abs() <= 500_000);
    }
}
