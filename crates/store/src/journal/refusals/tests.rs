use super::*;
use crate::sample;

const NOON: i64 = 720 * MINUTE_US;

#[test]
fn refusals_of_a_key_and_a_reason_are_one_counter_per_minute() {
    let refusals = Refusals::default();
    for at in [NOON, NOON + 59_999_999, NOON + MINUTE_US] {
        refusals.add(sample::refusal(at));
    }
    refusals.add(Refusal { reason: "bad_request".to_owned(), ..sample::refusal(NOON) });
    refusals.add(Refusal { api_key_id: None, key_hash_prefix: Some([1, 2, 3, 4]), ..sample::refusal(NOON) });
    refusals.add(Refusal { path: "/v1/responses".to_owned(), ..sample::refusal(NOON) });
    assert_eq!(refusals.len(), 4);

    let taken = refusals.take(NOON + MINUTE_US);
    let counts: Vec<_> = taken.iter().map(|one| (one.reason.as_str(), one.count)).collect();
    assert_eq!(counts.len(), 3, "the minute under way stays");
    assert_eq!(counts[0], ("bad_request", 1));
    let ours = taken.iter().find(|one| one.api_key_id.is_some() && one.count == 3).unwrap();
    assert_eq!(ours.minute_us, NOON);
    assert_eq!(ours.last.as_ref().unwrap().path, "/v1/responses", "the last example");
    assert_eq!((refusals.len(), refusals.take(i64::MAX).len(), refusals.len()), (1, 1, 0));
}

#[test]
fn beyond_the_bound_refusals_are_counted_together_and_known_counters_go_on() {
    let refusals = Refusals::default();
    let of = |number: usize| {
        let prefix = u32::try_from(number).unwrap().to_be_bytes();
        Refusal { api_key_id: None, key_hash_prefix: Some(prefix), ..sample::refusal(NOON) }
    };
    for number in 0..COUNTERS_MAX + 5 {
        refusals.add(of(number));
    }
    refusals.add(of(0));
    assert_eq!(refusals.len(), COUNTERS_MAX);
    let taken = refusals.take(i64::MAX);
    assert_eq!(taken.len(), COUNTERS_MAX + 1);
    assert_eq!(taken.iter().map(|one| one.count).sum::<u64>(), COUNTERS_MAX as u64 + 6);
    assert_eq!(taken.iter().filter(|one| one.reason == OVERFLOW && one.count == 5).count(), 1);
}

#[test]
fn an_example_is_bounded() {
    let refusals = Refusals::default();
    refusals.add(Refusal { model: Some("ü".repeat(100_000)), path: "/".repeat(100_000), ..sample::refusal(NOON) });
    let last = refusals.take(i64::MAX).remove(0).last.unwrap();
    assert_eq!((last.path.chars().count(), last.model.unwrap().chars().count()), (TEXT_CHARS, TEXT_CHARS));
}
