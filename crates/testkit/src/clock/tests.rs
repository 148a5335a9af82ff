use std::time::Duration;

use super::Clock;

#[tokio::test(start_paused = true)]
async fn dates_are_spelled_as_the_vendors_spell_them() {
    for (unix_s, rfc3339, fixdate) in [
        (784_111_777, "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"), // the example of RFC 9110
        (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_767_225_599, "2025-12-31T23:59:59Z", "Wed, 31 Dec 2025 23:59:59 GMT"),
    ] {
        let clock = Clock::starting_at(unix_s);
        assert_eq!(clock.rfc3339_in(Duration::ZERO), rfc3339);
        assert_eq!(clock.imf_fixdate(), fixdate);
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_moves_with_paused_time() {
    let clock = Clock::starting_at(100);
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(clock.now_unix_s(), 107);
}
