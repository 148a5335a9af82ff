use super::*;

const S: i64 = 1_000_000;

#[test]
fn which_limit_a_429_is_about() {
    let none = Hints::default();
    let secs = |s| Some(Duration::from_secs(s));
    for (name, hints, in_flight, want) in [
        ("no requests left", Hints { requests_left: Some(0), ..none }, 9, LimitKind::Rpm),
        ("per minute", Hints { says_minute: true, ..none }, 9, LimitKind::Rpm),
        ("tokens per minute", Hints { says_minute: true, says_tokens: true, ..none }, 9, LimitKind::Tpm),
        ("no tokens left", Hints { tokens_left: Some(0), requests_left: Some(5), ..none }, 9, LimitKind::Tpm),
        ("per day", Hints { says_day: true, requests_left: Some(5), ..none }, 9, LimitKind::Quota),
        ("too many at a time", Hints { says_concurrent: true, ..none }, 1, LimitKind::Concurrent),
        ("requests left, and no time named", Hints { requests_left: Some(5), ..none }, 2, LimitKind::Concurrent),
        ("and a short one", Hints { requests_left: Some(5), retry_after: secs(5), ..none }, 2, LimitKind::Concurrent),
        ("and a long one", Hints { requests_left: Some(5), retry_after: secs(6), ..none }, 2, LimitKind::Unknown),
        ("but alone", Hints { requests_left: Some(5), ..none }, 1, LimitKind::Unknown),
        ("nothing said", none, 9, LimitKind::Unknown),
    ] {
        assert_eq!(hints.kind(in_flight), want, "{name}");
    }
}

#[test]
fn what_a_429_does_to_the_limit() {
    for (name, limit, kind, in_flight, want) in [
        ("the first one tells", None, LimitKind::Concurrent, 8, Some(6)),
        ("a lower one counts", Some(20), LimitKind::Concurrent, 8, Some(6)),
        ("a higher one does not", Some(5), LimitKind::Concurrent, 8, Some(5)),
        ("never below one", Some(3), LimitKind::Concurrent, 1, Some(1)),
        ("unknown, and nothing known", None, LimitKind::Unknown, 8, None),
        ("unknown lowers what is known", Some(20), LimitKind::Unknown, 8, Some(18)),
        ("to one at least", Some(1), LimitKind::Unknown, 8, Some(1)),
        ("a rate says nothing about it", Some(20), LimitKind::Rpm, 8, Some(20)),
        ("nor do tokens", Some(20), LimitKind::Tpm, 8, Some(20)),
        ("nor does a quota", None, LimitKind::Quota, 8, None),
    ] {
        let mut learning = Learning { limit, ..Learning::default() };
        learning.limited(kind, in_flight, true, 7);
        assert_eq!(learning.limit, want, "{name}");
        assert_eq!(learning.last, Some(Last429 { at_us: 7, kind, in_flight }), "{name}");
        assert_eq!(learning.history.len(), usize::from(limit != want), "{name}");
    }
    let mut fixed = Learning::default();
    fixed.limited(LimitKind::Concurrent, 8, false, 7);
    fixed.limited(LimitKind::Rpm, 8, false, 7);
    assert_eq!((fixed.limit, fixed.concurrent_429, fixed.rpm_429), (None, 1, 1), "counted, not learned");
}

#[test]
fn a_limit_in_use_grows_by_two_once_five_minutes_are_quiet() {
    let mut learning = Learning::default();
    learning.limited(LimitKind::Concurrent, 12, true, 0);
    assert_eq!(learning.limit, Some(10));
    for second in 0..299 {
        learning.began(10, second * S);
    }
    assert_eq!(learning.limit, Some(10), "within five minutes of the 429");
    learning.began(10, 300 * S);
    assert_eq!(learning.limit, Some(12));
    for (second, in_flight) in (301..).zip([9, 9, 8, 8]) {
        learning.began(in_flight, second * S);
    }
    assert_eq!(learning.limit, Some(12), "four samples are too few");
    learning.began(9, 305 * S);
    assert_eq!(learning.limit, Some(14), "three of five were at 70 % or more");
    let reasons: Vec<_> = learning.history.iter().map(|adjustment| (adjustment.old, adjustment.new)).collect();
    assert_eq!(reasons, [(None, 10), (Some(10), 12), (Some(12), 14)]);
}

#[test]
fn a_limit_little_used_is_tried_higher_twice_an_hour() {
    let mut learning = Learning { limit: Some(10), ..Learning::default() };
    let begun = |learning: &mut Learning, from: i64, count: i64, in_flight| {
        (from..from + count).for_each(|second| learning.began(in_flight, second * S));
        learning.limit
    };
    assert_eq!(begun(&mut learning, 1_800, 30, 2), Some(10), "a fifth is too little");
    assert_eq!(begun(&mut learning, 2_000, 9, 3), Some(10), "nine samples are too few");
    assert_eq!(begun(&mut learning, 2_009, 1, 3), Some(12));
    assert_eq!(begun(&mut learning, 2_100, 100, 4), Some(12), "not twice within half an hour");
    assert_eq!(begun(&mut learning, 4_000, 10, 4), Some(14));
    assert_eq!(learning.history.back().map(|last| last.reason), Some(Reason::Probe));
    let mut wide = Learning { limit: Some(199), ..Learning::default() };
    assert_eq!(begun(&mut wide, 2_000, 60, 199), Some(200), "the cap");
}

#[test]
fn history_keeps_the_last_twenty() {
    let mut learning = Learning::default();
    for in_flight in (20..60).rev() {
        learning.limited(LimitKind::Concurrent, in_flight, true, i64::from(in_flight));
    }
    assert_eq!(learning.history.len(), HISTORY);
    assert_eq!(learning.history.back().map(|last| last.new), Some(17));
}

#[test]
fn how_much_is_kept_for_warm_callers() {
    let sure = Reservation { requests: 100, success_millis: 1_000, since_429_us: None, stability_millis: 1_000 };
    let unsure = Reservation { success_millis: 500, since_429_us: Some(12 * 3_600 * S), stability_millis: 500, ..sure };
    for (name, key, in_flight, limit, millis, cold) in [
        ("a key with few requests", Reservation { requests: 99, ..sure }, 19, 20, 100, 18),
        ("below half", sure, 9, 20, 100, 18),
        ("at half", sure, 10, 20, 100, 18),
        ("half way to full", sure, 13, 20, 225, 15),
        ("at four fifths", sure, 16, 20, 350, 13),
        ("full", sure, 20, 20, 350, 13),
        ("half as sure", unsure, 20, 20, 225, 15),
        ("a limit of one is for everybody", sure, 1, 1, 350, 1),
        ("a limit of two leaves one", sure, 2, 2, 350, 1),
        ("a limit of none stays none", sure, 0, 0, 100, 0),
    ] {
        assert_eq!(key.millis(in_flight, limit), millis, "{name}");
        assert_eq!(key.cold_limit(in_flight, limit), cold, "{name}");
        assert!(surely_free(limit) <= cold, "{name}");
    }
}

#[test]
fn adjustments_that_agree_are_stable() {
    let mut learning = Learning::default();
    assert_eq!(learning.stability_millis(), 1_000);
    learning.limited(LimitKind::Concurrent, 20, true, 0);
    learning.limited(LimitKind::Concurrent, 10, true, 0);
    assert_eq!(learning.stability_millis(), 470, "8 of 17");
}
