use super::*;
use proptest::prelude::*;

const S: i64 = 1_000_000;
/// A cap of 32 minutes and chance in its middle: an opening lasts exactly its nominal time.
const MIDDLE: Backoff = Backoff { first_us: FIRST_US, cap_us: 32 * 60 * S, chance: 1 << 31 };

fn ended(ok: bool, by: u64) -> Event {
    Event::Ended { ok, by: Caller(by), probe: false }
}

fn probed(ok: bool) -> Event {
    Event::Ended { ok, by: Caller(9), probe: true }
}

/// A breaker after these outcomes, one per second from second 1,000.
fn after(outcomes: &[(bool, u64)]) -> Breaker {
    let mut breaker = Breaker::default();
    for (second, (ok, by)) in (1_000..).zip(outcomes) {
        breaker.step(ended(*ok, *by), second * S, MIDDLE);
    }
    breaker
}

#[test]
fn what_opens_a_circuit() {
    let (y, n) = (true, false);
    for (name, outcomes, opens) in [
        ("four failures are too few", vec![(n, 1); 4], false),
        ("five of one lonely caller", vec![(n, 1); 5], true),
        ("half of six", vec![(y, 1), (y, 1), (y, 1), (n, 1), (n, 1), (n, 1)], true),
        ("less than half", vec![(y, 1), (y, 1), (y, 1), (y, 1), (n, 1), (n, 1)], false),
        ("all failures of one of two callers", vec![(y, 2), (n, 1), (n, 1), (n, 1), (n, 1), (n, 1)], false),
        ("failures of both", vec![(y, 2), (n, 1), (n, 1), (n, 1), (n, 2)], true),
        ("a flood of one, with the other pushed out of the ring", [vec![(y, 2)], vec![(n, 1); 40]].concat(), false),
        ("the last twenty decide", [vec![(y, 1); 20], vec![(n, 1); 10]].concat(), true),
        ("and not those before", [vec![(n, 1); 4], vec![(y, 1); 20], vec![(n, 1); 9]].concat(), false),
    ] {
        assert_eq!(matches!(after(&outcomes).state, State::Open { .. }), opens, "{name}");
    }
}

#[test]
fn the_last_request_of_another_is_remembered_past_a_flood() {
    let flood = |ok| [vec![(ok, 2)], vec![(false, 1); 40]].concat();
    let of = |outcomes: &[(bool, u64)], by, second: i64| after(outcomes).window.another(Caller(by), second * S);
    assert_eq!(of(&flood(true), 1, 1_041), Some(true));
    assert_eq!(of(&flood(false), 1, 1_041), Some(false));
    assert_eq!(of(&flood(true), 2, 1_041), Some(false), "seen by the other one");
    assert_eq!(of(&flood(true), 1, 1_300), None, "five minutes later");
    assert_eq!(of(&[(true, 1); 9], 1, 1_010), None, "alone");
}

#[test]
fn outcomes_leave_the_window_after_five_minutes() {
    let mut breaker = after(&[(false, 1); 4]);
    breaker.step(ended(false, 1), 1_301 * S, MIDDLE);
    assert_eq!(breaker.state, State::Closed { since_us: 0 }, "three are left: seconds 1,002 and 1,003, and 1,301");
}

#[test]
fn an_open_circuit_probes_closes_and_forgets() {
    let mut breaker = after(&[(false, 1); 5]);
    let opened = 1_004 * S;
    assert_eq!(breaker.state, State::Open { since_us: opened, until_us: opened + 30 * S });
    let due = opened + 30 * S;
    assert_eq!(breaker.step(Event::Asked { forced: false }, due - 1, MIDDLE), None, "too early");
    assert_eq!(breaker.step(Event::Asked { forced: false }, due, MIDDLE), Some(Change::Probe));
    assert_eq!(breaker.step(Event::Asked { forced: false }, due, MIDDLE), None, "one probe at a time");
    assert_eq!(breaker.step(ended(true, 1), due, MIDDLE), None, "an older request is no probe");
    assert_eq!(breaker.stand(due), Stand::Out { until_us: due + S, open: false });
    breaker.step(Event::Unprobed, due, MIDDLE);
    assert_eq!(breaker.stand(due), Stand::Due, "its client left: the next one probes");
    for (good, change) in [(1, None), (2, None), (3, Some(Change::Closed))] {
        assert_eq!(breaker.step(Event::Asked { forced: false }, due, MIDDLE), Some(Change::Probe), "probe {good}");
        assert_eq!(breaker.step(probed(true), due, MIDDLE), change, "success {good}");
    }
    assert_eq!(breaker.window, Window::default());

    let mut early = breaker;
    let mut late = breaker;
    for (breaker, at, wait) in [(&mut early, due + 60 * S, 60 * S), (&mut late, due + 600 * S, 30 * S)] {
        for _ in 0..5 {
            breaker.step(ended(false, 1), at, MIDDLE);
        }
        assert_eq!(breaker.state, State::Open { since_us: at, until_us: at + wait });
    }
}

#[test]
fn two_failed_probes_open_again_for_twice_as_long() {
    let mut breaker = after(&[(false, 1); 5]);
    let mut now = 1_004 * S;
    for wait in [30, 60, 120, 240, 480, 960, 1_920, 1_920] {
        let State::Open { until_us, .. } = breaker.state else { panic!("{:?}", breaker.state) };
        assert_eq!(until_us - now, wait * S, "capped at 32 minutes");
        now = until_us;
        for _ in 0..2 {
            assert_eq!(breaker.step(Event::Asked { forced: false }, now, MIDDLE), Some(Change::Probe));
            breaker.step(probed(false), now, MIDDLE);
        }
    }
}

#[test]
fn a_refused_credential_opens_for_eight_minutes_at_least() {
    let mut breaker = Breaker::default();
    assert_eq!(breaker.step(Event::Condemned, 0, MIDDLE), Some(Change::Opened { until_us: 480 * S }));
    assert_eq!(breaker.opened_us(), Some(0));
    breaker.step(Event::Reset, 5, MIDDLE);
    assert_eq!((breaker.stand(5), breaker.trips, breaker.opened_us()), (Stand::Closed, 0, None));
}

#[test]
fn a_probe_can_be_forced_but_not_doubled() {
    let mut breaker = after(&[(false, 1); 5]);
    assert_eq!(breaker.step(Event::Asked { forced: true }, 1_005 * S, MIDDLE), Some(Change::Probe));
    assert_eq!(breaker.step(Event::Asked { forced: true }, 1_005 * S, MIDDLE), None);
    let lost = 1_005 * S + PROBE_LEASE_US;
    assert_eq!(
        breaker.step(Event::Asked { forced: false }, lost, MIDDLE),
        Some(Change::Probe),
        "a lost one is replaced"
    );
}

#[test]
fn an_opening_varies_by_a_fifth_within_its_cap() {
    let wait = |chance, cap_us, trips| Backoff { first_us: FIRST_US, cap_us, chance }.wait_us(trips);
    assert_eq!(wait(0, 1_000 * S, 0), 24 * S);
    assert!((36 * S - 1..=36 * S).contains(&wait(u32::MAX, 1_000 * S, 0)));
    assert_eq!(wait(u32::MAX, 100 * S, 5), 100 * S);
}

#[test]
fn health_weighs_the_recent_more() {
    let mut window = Window::default();
    assert_eq!(window.health_millis(0), 1_000);
    for (at_us, ok) in [(1, false), (2, true), (3, true)] {
        window.push(Outcome { at_us, ok, by: Caller(1) });
    }
    assert_eq!(window.health_millis(3), 833, "(2 + 3) of (1 + 2 + 3)");
    assert_eq!(window.health_millis(1 + WINDOW_US), 1_000, "the failure is out of the window");
    let mut other = Window::default();
    other.push(Outcome { at_us: 3, ok: false, by: Caller(1) });
    let both = window.weights(3) + other.weights(3);
    assert_eq!(both.health_millis(), 714, "an endpoint's: 5 of 6 and 0 of 1");
}

proptest! {
    #[test]
    fn one_caller_among_others_never_opens(outcomes in prop::collection::vec((0u64..2, any::<bool>()), 1..200)) {
        // Caller 0 is good, caller 1 is anything; both are always around.
        let mut breaker = Breaker::default();
        let mut now = 0;
        for (by, ok) in outcomes {
            now += S;
            breaker.step(ended(true, 0), now, MIDDLE);
            breaker.step(ended(ok || by == 0, by), now, MIDDLE);
            prop_assert_eq!(breaker.opened_us(), None);
        }
    }

    #[test]
    fn at_most_one_probe_is_out(events in prop::collection::vec(0u8..5, 1..200)) {
        let mut breaker = after(&[(false, 1); 5]);
        let (mut now, mut out) = (1_004 * S, false);
        for event in events {
            now += 10 * S;
            match event {
                0..=2 => {
                    let asked = breaker.step(Event::Asked { forced: event == 0 }, now, MIDDLE);
                    prop_assert!(asked.is_none() || !out || now >= 1_004 * S + PROBE_LEASE_US);
                    out |= asked == Some(Change::Probe);
                }
                _ => {
                    if std::mem::take(&mut out) {
                        breaker.step(probed(event == 3), now, MIDDLE);
                    }
                }
            }
        }
    }
}
