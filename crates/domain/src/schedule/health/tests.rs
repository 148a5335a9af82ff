use super::*;
use crate::{catalog::tests::id, schedule::breaker::State};

const S: i64 = 1_000_000;
const BACKOFF: Backoff = Backoff { first_us: 30 * S, cap_us: 1_920 * S, chance: 1 << 31 };

fn failed(verdict: Verdict, by: u64) -> Failed {
    Failed {
        verdict,
        model: id(1),
        by: Caller(by),
        probe: false,
        hints: Hints::default(),
        in_flight: 8,
        learns: true,
        suspect: false,
    }
}

#[test]
fn what_each_verdict_does_to_its_key() {
    use Verdict::{
        CallersFault, CannotDo, EndpointFault, KeyUnusable, NotPermitted, Overloaded, RateLimited, Transient,
        UnknownModel,
    };
    // (opens at once, failures in the window, rests for its model, rests for another one)
    for (verdict, want) in [
        (KeyUnusable, (true, 0, None, None)),
        (NotPermitted, (false, 0, Some(300 * S), None)),
        (CallersFault, (false, 0, None, None)),
        (CannotDo, (false, 0, None, None)),
        (UnknownModel, (false, 0, None, None)),
        (RateLimited, (false, 0, Some(5 * S), Some(5 * S))),
        (Overloaded, (false, 1, None, None)),
        (Transient, (false, 1, None, None)),
        (EndpointFault, (false, 1, None, None)),
    ] {
        let mut key = KeyState::new(0);
        key.failed(&failed(verdict, 1), 0, BACKOFF);
        let opened = matches!(key.breaker.state, State::Open { .. });
        let failures = key.breaker.window.recent(0).count();
        assert_eq!((opened, failures, key.cooling(id(1), 1), key.cooling(id(2), 1)), want, "{verdict}");
    }
}

#[test]
fn a_flood_of_callers_mistakes_or_of_suspects_moves_nothing() {
    let mut key = KeyState::new(0);
    for at in 0..1_000 {
        for verdict in [Verdict::CallersFault, Verdict::CannotDo, Verdict::UnknownModel] {
            assert_eq!(key.failed(&failed(verdict, at), i64::try_from(at).unwrap(), BACKOFF), None);
        }
    }
    for _ in 0..9 {
        key.failed(&Failed { suspect: true, ..failed(Verdict::Transient, 1) }, 0, BACKOFF);
    }
    assert_eq!(key.breaker, Breaker::default());
    assert_eq!((key.learning, key.stats, key.cool_until_us), (Learning::default(), Stats::default(), 0));
}

#[test]
fn permission_refused_to_two_callers_is_the_keys_fault() {
    let refused = |by| failed(Verdict::NotPermitted, by);
    let mut key = KeyState::new(0);
    assert_eq!(key.failed(&refused(1), 0, BACKOFF), None);
    assert_eq!(key.failed(&refused(1), 0, BACKOFF), None, "the same one again");
    key.succeeded(Caller(2), false, Duration::ZERO, 0, BACKOFF);
    assert_eq!(key.failed(&refused(2), 0, BACKOFF), None, "a success came between");
    assert!(matches!(key.failed(&refused(1), 0, BACKOFF), Some(Change::Opened { .. })));
}

#[test]
fn a_rest_is_never_shortened_nor_endless() {
    let after = |waits: &[Option<u64>]| {
        let mut key = KeyState::new(0);
        for wait in waits {
            let hints = Hints { retry_after: wait.map(Duration::from_secs), ..Hints::default() };
            key.failed(&Failed { hints, ..failed(Verdict::RateLimited, 1) }, 0, BACKOFF);
        }
        assert_eq!(key.usable_since_us, key.cool_until_us);
        key.cool_until_us / S
    };
    assert_eq!(after(&[Some(60), Some(10), None]), 60);
    assert_eq!(after(&[Some(u64::MAX)]), 86_400);
}

#[test]
fn a_probe_that_tells_nothing_gives_its_place_back() {
    for verdict in [Verdict::CallersFault, Verdict::RateLimited, Verdict::NotPermitted] {
        let mut key = KeyState::new(0);
        key.failed(&failed(Verdict::KeyUnusable, 1), 0, BACKOFF);
        assert_eq!(key.step(Event::Asked { forced: true }, S, BACKOFF), Some(Change::Probe));
        key.failed(&Failed { probe: true, ..failed(verdict, 1) }, S, BACKOFF);
        assert_eq!(key.stand(S), Stand::Due, "{verdict}");
    }
}

#[test]
fn an_opening_voids_what_was_warm_before_it_and_a_reset_clears_all() {
    let mut key = KeyState::new(0);
    assert!(key.is_warm_since(5));
    key.failed(&failed(Verdict::KeyUnusable, 1), 10, BACKOFF);
    assert!(!key.is_warm_since(10) && key.is_warm_since(11));
    key.failed(&failed(Verdict::RateLimited, 1), 20, BACKOFF);
    key.failed(&failed(Verdict::NotPermitted, 1), 20, BACKOFF);
    key.reset(30);
    assert_eq!((key.stand(30), key.cooling(id(1), 30)), (Stand::Closed, None));
}

#[test]
fn openings_are_not_forgotten_by_a_restart() {
    let close = |key: &mut KeyState, now_us| {
        for _ in 0..3 {
            key.step(Event::Asked { forced: true }, now_us, BACKOFF);
            key.step(Event::Ended { ok: true, by: Caller(1), probe: true }, now_us, BACKOFF);
        }
    };
    let fail = |key: &mut KeyState, now_us| {
        for by in 1..=5 {
            key.failed(&failed(Verdict::Transient, by), now_us, BACKOFF);
        }
        let State::Open { until_us, .. } = key.breaker.state else { panic!("{:?}", key.breaker) };
        until_us - now_us
    };
    let mut key = KeyState::new(0);
    assert_eq!(fail(&mut key, 0), 30 * S);
    close(&mut key, 60 * S);
    // What the database keeps of a closed circuit.
    key.breaker.state = State::Closed { since_us: 0 };
    key.resume(3_600 * S);
    assert_eq!(key.usable_since_us, 3_600 * S);
    let mut later = key.clone();
    assert_eq!(fail(&mut key, 3_700 * S), 60 * S, "the second opening");
    assert_eq!(fail(&mut later, 4_200 * S), 30 * S, "after ten healthy minutes");
}
