mod recovery;
mod world;

use super::{batch::Bounds, *};
use crate::{
    db::Value,
    repo::{audit, bindings, candidates, quotas, usage},
    sample,
};
use domain::{
    bindings::{Binding, LASTS_US},
    format::RequestType,
    ids::{ClientKeyId, QuotaId, RequestId},
    limit::window::{Count, Span},
    money::NanoUsd,
    ports::Recorder as _,
    price::TokenCounts,
    records::{Account, Settled},
};
use testkit::servers::Home;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use world::{World, counters, expected};

testkit::on_both![
    a_settlement_becomes_its_rows_and_moves_every_counter,
    the_money_comes_from_the_account_that_the_settlement_names,
    what_a_user_has_used_follows_the_period_in_force,
    counting_tokens_leaves_a_row_and_counts_nowhere,
    a_process_that_ends_between_any_two_batches_ships_each_settlement_once,
    a_transaction_that_fails_at_its_last_statement_leaves_nothing,
    a_commit_whose_answer_was_lost_is_not_repeated,
    a_second_settlement_replaces_the_first_and_adds_the_difference,
    a_database_that_is_away_stops_nothing_and_catches_up,
    segments_go_when_they_are_shipped_but_not_before_the_requests_that_they_opened_have_ended,
    refusals_become_audit_rows_once,
    texts_from_outside_may_hold_anything,
    a_batch_is_written_in_few_statements_however_many_rows_it_has,
    rows_that_differ_in_one_thing_only_keep_it,
    a_quota_alerts_once_and_again_after_a_reset,
    days_and_months_count_what_got_a_response,
    what_an_answer_issued_is_bound_for_thirty_days_to_whom_it_was_issued_first,
];

async fn what_an_answer_issued_is_bound_for_thirty_days_to_whom_it_was_issued_first(home: Home) {
    let world = World::new(home).await;
    let bound = async || {
        let mut tx = world.store.db().read().await.unwrap();
        bindings::newest_any_owner(&mut tx, 2).await.unwrap()
    };
    let now = crate::SystemClock::now_us();
    let settle = async |number, client: ClientKeyId, finished_at, issued: &[u8]| {
        let mut settled = sample::settled(number);
        (settled.usage.api_key_id, settled.usage.finished_at) = (client, finished_at);
        settled.issued = issued.iter().map(|byte| [*byte; 16]).collect();
        world.settle(settled).await;
    };
    let of = |client, at| Binding { client, issuer: sample::provider_key(), expires_us: at + LASTS_US };
    let (first, other) = (sample::key(), sample::standalone());

    settle(1, first, now - 2, &[1]).await;
    settle(2, first, now - 1, &[2, 2]).await;
    settle(3, other, now, &[1, 3]).await;
    world.ship().await;
    assert_eq!(bound().await, [([2; 16], of(first, now - 1)), ([3; 16], of(other, now))], "the newest two of three");
    settle(4, other, now + 1, &[2]).await;
    settle(5, first, now + 2, &[1]).await;
    world.ship().await;
    let renewed = [([3; 16], of(other, now)), ([1; 16], of(first, now + 2))];
    assert_eq!(bound().await, renewed, "the first client's is renewed, and nobody else's");

    let forgotten = crate::upkeep::Bindings::default().forget(&world.store, now + LASTS_US).await.unwrap();
    assert_eq!(forgotten, 2, "what has expired is forgotten");
    assert_eq!(bound().await, [([1; 16], of(first, now + 2))]);
    // What expired and is still there is anybody's.
    settle(6, other, now + 2 + LASTS_US, &[1]).await;
    world.ship().await;
    assert_eq!(bound().await, [([1; 16], of(other, now + 2 + LASTS_US))]);
}

async fn days_and_months_count_what_got_a_response(home: Home) {
    const DAY_US: i64 = 86_400_000_000;
    let world = World::new(home).await;
    let (first, second) = (sample::ARRIVED, sample::ARRIVED + DAY_US);
    for (number, at, status) in
        [(1, first, Some(429)), (2, second, Some(200)), (3, second, None), (4, first, Some(200))]
    {
        let mut settled = sample::settled(number);
        for row in &mut settled.candidates {
            (row.started_at, row.status_code) = (at, status);
        }
        world.settle(settled).await;
        world.ship().await;
    }
    let mut tx = world.store.db().read().await.unwrap();
    let periods = crate::repo::live::periods(&mut tx).await.unwrap()[&sample::provider_key()];
    let month = 31 * DAY_US;
    let span = |start_us, length| Span { start_us, end_us: start_us + length };
    assert_eq!(periods.day, Count { span: span(second, DAY_US), used: 2 }, "the last day");
    assert_eq!(periods.month, Count { span: span(first, month), used: 2 + 2 + 2 });
    drop(tx);

    let done = crate::upkeep::due(&world.store, second + DAY_US + 1).await.unwrap();
    assert_eq!(done.windows, 1, "the first day, a day after its end");
    assert_eq!(crate::upkeep::due(&world.store, second + DAY_US + 1).await.unwrap().windows, 0);
}

async fn a_quota_alerts_once_and_again_after_a_reset(home: Home) {
    let world = World::new(home).await;
    let store = &world.store;
    let cost = sample::cost().total.0;
    let mut tx = store.db().begin().await.unwrap();
    let row = crate::repo::users::UserRow { quota_usd: Some(NanoUsd(cost * 5 / 2)), ..sample::user_row() };
    assert!(crate::repo::users::update(&mut tx, &row).await.unwrap());
    tx.commit().await.unwrap();
    let ship = async |number| {
        let account = Some(Account::User(sample::user()));
        world.settle(Settled { account, ..sample::settled(number) }).await;
        world.ship().await;
    };
    let told =
        async || sample::number(store, "SELECT CAST(COALESCE(SUM(threshold), 0) AS BIGINT) FROM notifications").await;

    ship(1).await;
    assert_eq!(told().await, 0, "40 %");
    ship(2).await;
    assert_eq!(told().await, 50 + 80, "80 %");
    ship(3).await;
    assert_eq!(told().await, 50 + 80 + 100);
    ship(4).await;
    assert_eq!(told().await, 50 + 80 + 100, "once");

    let mut tx = store.db().begin().await.unwrap();
    let used = crate::repo::quotas::reset(&mut tx, sample::user()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(used, Some(NanoUsd(4 * cost)));
    ship(5).await;
    ship(6).await;
    assert_eq!(told().await, 2 * (50 + 80) + 100, "another period");
    let report = crate::verify::run(store.db(), 10).await.unwrap();
    assert_eq!(report.differences, 0, "{:?}", report.shown);
}

async fn a_settlement_becomes_its_rows_and_moves_every_counter(home: Home) {
    let world = World::new(home).await;
    world.settle(sample::settled(1)).await;
    assert_eq!(world.journal().stats().unshipped, 1);
    world.ship().await;

    assert_eq!(world.row(1).await, Some(sample::settled(1).usage));
    let mut tx = world.store.db().read().await.unwrap();
    let request = sample::request(1);
    assert_eq!(candidates::tried_any_owner(&mut tx, request).await.unwrap(), sample::settled(1).candidates);
    assert_eq!(candidates::trace_any_owner(&mut tx, request).await.unwrap(), sample::settled(1).trace);
    let totals = usage::totals_any_owner(&mut tx).await.unwrap();
    assert_eq!((totals.requests, totals.cost), (1, sample::cost().total));
    assert_eq!(usage::latest_any_owner(&mut tx, 5).await.unwrap().len(), 1);
    drop(tx);
    assert_eq!(counters(&world).await, expected(1, 0));
    assert_eq!(world.journal().stats().unshipped, 0);
    let last = "SELECT last_error_at AS n FROM provider_api_keys WHERE last_error_msg = 'try again'";
    assert_eq!(world.int(last).await, sample::ARRIVED + 41_000);
    assert_eq!(world.int("SELECT MAX(last_used_at) AS n FROM api_keys").await, sample::ARRIVED);
}

async fn the_money_comes_from_the_account_that_the_settlement_names(home: Home) {
    struct Case {
        name: &'static str,
        account: Option<Account>,
        key: ClientKeyId,
        /// Cost in: first period, second period, the user's row, outside periods, the standalone key.
        spent: [i64; 5],
    }
    let cost = sample::cost().total.0;
    let (user, key, kiosk) = (sample::user(), sample::key(), sample::standalone());
    let (first, second) = (sample::quota(), QuotaId::from(Uuid::from_u128(99)));
    let quota = |id| Some(Account::Quota(user, id));
    let (own, outside) = (Some(Account::Key(kiosk)), Some(Account::User(user)));
    for case in [
        Case { name: "a period in force", account: quota(second), key, spent: [0, cost, cost, 0, 0] },
        Case { name: "a period that is over", account: quota(first), key, spent: [cost, 0, 0, 0, 0] },
        Case { name: "none was open then", account: outside, key, spent: [0, 0, 0, cost, 0] },
        Case { name: "a balance", account: own, key: kiosk, spent: [0, 0, 0, 0, cost] },
    ] {
        let world = World::new(home.another().unwrap()).await;
        sample::open_quota(&world.store, first).await;
        sample::open_quota(&world.store, second).await;
        let mut settled = sample::settled(1);
        settled.account = case.account;
        settled.usage.api_key_id = case.key;
        world.settle(settled).await;
        world.ship().await;
        let spent = [
            world.int("SELECT used_usd AS n FROM user_quotas WHERE NOT is_active").await,
            world.int("SELECT used_usd AS n FROM user_quotas WHERE is_active").await,
            world.int("SELECT used_usd AS n FROM users").await,
            world.int("SELECT forgiven_usd AS n FROM users").await,
            world.int("SELECT balance_used_usd AS n FROM api_keys WHERE is_standalone").await,
        ];
        assert_eq!(spent, case.spent, "{}", case.name);
        let left = world.int("SELECT current_balance_usd AS n FROM api_keys WHERE is_standalone").await;
        assert_eq!(left, 1_000_000_000 - case.spent[4], "{}", case.name);
        assert_eq!(world.int("SELECT total_usd AS n FROM users").await, cost, "{}", case.name);
        let mut tx = world.store.db().read().await.unwrap();
        let stored = usage::account_any_owner(&mut tx, sample::request(1)).await.unwrap();
        assert_eq!(stored, case.account, "{}", case.name);
    }
}

async fn what_a_user_has_used_follows_the_period_in_force(home: Home) {
    let world = World::new(home).await;
    let cost = sample::cost().total.0;
    let (a, b) = (sample::quota(), QuotaId::from(Uuid::from_u128(99)));
    let user = Account::User(sample::user());
    let of = |quota| Account::Quota(sample::user(), quota);
    /// What happens next.
    enum Step {
        Open(QuotaId),
        Close,
        Settle(Account),
    }
    let mut number = 0;
    // Costs in the user's row, and taken out of it.
    for (name, step, used, forgiven) in [
        ("without a period", Step::Settle(user), 1, 0),
        ("a period opens", Step::Open(a), 0, 1),
        ("what it pays", Step::Settle(of(a)), 1, 1),
        ("a request from before it", Step::Settle(user), 1, 2),
        ("another follows", Step::Open(b), 0, 2),
        ("a request of the one before", Step::Settle(of(a)), 0, 2),
        ("what it pays", Step::Settle(of(b)), 1, 2),
        ("the last one closes", Step::Close, 0, 2),
        ("a request of its time", Step::Settle(of(b)), 0, 2),
        ("without a period again", Step::Settle(user), 1, 2),
    ] {
        match step {
            Step::Open(id) => sample::open_quota(&world.store, id).await,
            Step::Close => {
                let mut tx = world.store.db().begin().await.unwrap();
                assert!(quotas::close(&mut tx, sample::user()).await.unwrap());
                tx.commit().await.unwrap();
            }
            Step::Settle(account) => {
                number += 1;
                world.settle(Settled { account: Some(account), ..sample::settled(number) }).await;
                world.ship().await;
            }
        }
        let counted = [
            world.int("SELECT used_usd AS n FROM users").await,
            world.int("SELECT forgiven_usd AS n FROM users").await,
        ];
        assert_eq!(counted, [used * cost, forgiven * cost], "{name}");
    }
    assert_eq!(world.int("SELECT used_usd AS n FROM user_quotas WHERE quota_usd > 0 ORDER BY id").await, 2 * cost);
}

async fn counting_tokens_leaves_a_row_and_counts_nowhere(home: Home) {
    let world = World::new(home).await;
    let mut settled = sample::settled(1);
    settled.usage.request_type = RequestType::CountTokens;
    settled.account = None;
    world.settle(settled).await;
    world.ship().await;
    let moved: Vec<_> = counters(&world).await.into_iter().filter(|(_, count)| *count != 0).collect();
    assert_eq!(moved, [("rows", 1), ("candidates", 2), ("traces", 1)]);
}

async fn a_process_that_ends_between_any_two_batches_ships_each_settlement_once(home: Home) {
    const SETTLEMENTS: u128 = 7;
    for batches in 0..=5 {
        let world = World::with_segments(home.another().unwrap(), 2_000).await;
        for number in 1..=SETTLEMENTS {
            world.journal().opened(sample::opened(number)).await.unwrap();
            world.settle(sample::settled(number)).await;
        }
        let mut shipper = world.shipper();
        shipper.bounds = Bounds { settlements: 2, bytes: 1 << 20 };
        for _ in 0..batches {
            shipper.step(false).await.unwrap();
        }
        drop(shipper);
        let world = world.restart().await;
        assert_eq!(world.opening.interrupted, [], "{batches} batches");
        world.ship().await;
        assert_eq!(counters(&world).await, expected(7, 0), "{batches} batches");
        assert_eq!(world.journal().stats().unshipped, 0, "{batches} batches");
        assert_eq!(world.segments(), 1, "{batches} batches");
    }
}

async fn a_transaction_that_fails_at_its_last_statement_leaves_nothing(home: Home) {
    let world = World::new(home).await;
    world.settle(sample::settled(1)).await;
    world.run("ALTER TABLE journal_marks RENAME TO away").await;
    let mut shipper = world.shipper();
    for _ in 0..3 {
        assert!(matches!(shipper.pass().await, Err(ShipError::Db(_))));
        assert_eq!(counters(&world).await, expected(0, 0));
        assert_eq!(world.journal().stats().unshipped, 1);
    }
    world.run("ALTER TABLE away RENAME TO journal_marks").await;
    world.settle(sample::settled(2)).await;
    shipper.pass().await.unwrap();
    assert_eq!(counters(&world).await, expected(2, 0));
}

async fn a_commit_whose_answer_was_lost_is_not_repeated(home: Home) {
    let world = World::new(home).await;
    world.settle(sample::settled(1)).await;
    world.ship().await;
    // As it stands when the commit went through and its answer did not: the place is unknown.
    let mut shipper = world.shipper();
    shipper.pass().await.unwrap();
    assert_eq!(counters(&world).await, expected(1, 0));
    // And even from a place that is behind: a row that is there moves nothing.
    shipper.at = Some(Position { offset: 0, ..world.journal().end() });
    shipper.pass().await.unwrap();
    assert_eq!(counters(&world).await, expected(1, 0));
}

async fn a_second_settlement_replaces_the_first_and_adds_the_difference(home: Home) {
    let mut later = sample::settled(1);
    later.usage.tokens = TokenCounts { output: 300, ..sample::tokens() };
    let more = NanoUsd(200 * 15_000);
    later.usage.cost.output = later.usage.cost.output + more;
    later.usage.cost.total = later.usage.cost.total + more;
    later.usage.actual = later.usage.cost.actual(sample::half()).unwrap();
    for together in [true, false] {
        let world = World::new(home.another().unwrap()).await;
        let mut shipper = world.shipper();
        world.settle(sample::settled(1)).await;
        world.settle(sample::settled(2)).await;
        if !together {
            shipper.pass().await.unwrap();
            assert_eq!(counters(&world).await, expected(2, 0));
        }
        world.settle(later.clone()).await;
        shipper.pass().await.unwrap();
        assert_eq!(counters(&world).await, expected(2, more.0), "in one batch: {together}");
        assert_eq!(world.row(1).await, Some(later.usage.clone()));
        assert_eq!(world.journal().stats().unshipped, 0);
    }
}

async fn a_database_that_is_away_stops_nothing_and_catches_up(home: Home) {
    let world = World::new(home).await;
    let shipper = world.shipper();
    let shipping = shipper.shipping();
    let (cancel, tracker) = (CancellationToken::new(), tokio_util::task::TaskTracker::new());
    tracker.spawn(shipper.run(cancel.clone()));
    world.settle(sample::settled(1)).await;
    shipping.caught_up().await;
    world.run("ALTER TABLE usage RENAME TO away").await;
    for number in 2..=5 {
        world.journal().opened(sample::opened(number)).await.unwrap();
        world.settle(sample::settled(number)).await;
    }
    let caught_up = shipping.caught_up();
    tokio::pin!(caught_up);
    tokio::select! {
        () = &mut caught_up => panic!("there is no table to ship to"),
        () = logged_failure(&world) => {}
    }
    assert!(world.journal().is_writable());
    assert_eq!(world.journal().stats().unshipped, 4);
    world.run("ALTER TABLE away RENAME TO usage").await;
    caught_up.await;
    assert_eq!(counters(&world).await, expected(5, 0));

    world.settle(sample::settled(6)).await;
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
    assert_eq!(counters(&world).await, expected(6, 0), "the end ships what is left");
}

/// Waits until a try to ship has failed: a shipper of our own meets what the other meets.
async fn logged_failure(world: &World) {
    assert!(world.shipper().pass().await.is_err());
}

async fn segments_go_when_they_are_shipped_but_not_before_the_requests_that_they_opened_have_ended(home: Home) {
    let world = World::with_segments(home, 1_500).await;
    let mut shipper = world.shipper();
    world.journal().opened(sample::opened(1)).await.unwrap();
    for number in 2..=9 {
        world.journal().opened(sample::opened(number)).await.unwrap();
        world.settle(sample::settled(number)).await;
    }
    shipper.pass().await.unwrap();
    assert_eq!(counters(&world).await, expected(8, 0));
    let all = world.segments();
    assert!(all > 3, "the request of the first segment is still open: {all}");

    world.settle(sample::settled(1)).await;
    shipper.pass().await.unwrap();
    assert_eq!((world.segments(), world.journal().stats().segments), (1, 1));
    assert_eq!(counters(&world).await, expected(9, 0));
}

async fn refusals_become_audit_rows_once(home: Home) {
    let world = World::new(home).await;
    let mut shipper = world.shipper();
    for _ in 0..3 {
        world.journal().refused(sample::refusal(60_000_000));
    }
    world.run("ALTER TABLE audit_logs RENAME TO away").await;
    assert!(shipper.pass().await.is_err());
    world.journal().refused(sample::refusal(60_000_000));
    world.run("ALTER TABLE away RENAME TO audit_logs").await;
    shipper.pass().await.unwrap();
    shipper.pass().await.unwrap();
    let mut tx = world.store.db().read().await.unwrap();
    let rows = audit::latest_any_owner(&mut tx, world.store.node(), 10).await.unwrap();
    assert_eq!(rows.len(), 2, "what came while the first waited is a counter of its own");
    assert_eq!(rows[1].event_type, "request_rate_limited");
    assert_eq!(rows[1].description, "3 requests refused before admission: rate_limited");
    assert_eq!((rows[1].api_key_id, rows[1].ip_address.as_deref()), (Some(sample::key()), Some("192.0.2.1")));
    assert_eq!(rows[1].metadata["path"], "/v1/messages");
    assert_eq!(audit::broken_any_owner(&mut tx, world.store.node()).await.unwrap(), None);
}

async fn texts_from_outside_may_hold_anything(home: Home) {
    let world = World::new(home).await;
    let mut settled = sample::settled(1);
    settled.usage.model = "a\0b".to_owned();
    settled.usage.user_agent = Some("\0".to_owned());
    settled.candidates[0].error_message = Some("x\0".to_owned());
    settled.candidates[0].upstream_model = "\0".to_owned();
    world.settle(settled).await;
    world.ship().await;
    assert_eq!(world.row(1).await.unwrap().model, "a\u{fffd}b");
}

async fn a_batch_is_written_in_few_statements_however_many_rows_it_has(home: Home) {
    let world = World::new(home).await;
    let numbers: Vec<u128> = (1..=1_203).collect();
    for number in &numbers {
        world.settle(sample::settled(*number)).await;
    }
    world.ship().await;
    assert_eq!(counters(&world).await, expected(1_203, 0));
    let ids: Vec<RequestId> = numbers.iter().map(|number| sample::request(*number)).collect();
    let mut tx = world.store.db().read().await.unwrap();
    assert_eq!(usage::known(&mut tx, &ids).await.unwrap().len(), 1_203);
    assert_eq!(tx.rows("SELECT id FROM usage_texts", vec![]).await.unwrap().len(), 3, "shared texts once");
    let row = [Value::from(5_i64), Value::from("x")];
    let rows = [row.clone(), row].concat();
    let mut tx = world.store.db().begin().await.unwrap();
    let inserted = tx.insert_many("INSERT INTO usage_texts (id, value)", 2, rows, "ON CONFLICT (id) DO NOTHING");
    assert_eq!(inserted.await.unwrap(), 1);
}

/// A statement gives what many rows share once: a row that differs in any of it must not end up with another row's value.
async fn rows_that_differ_in_one_thing_only_keep_it(home: Home) {
    let changes: [fn(&mut domain::records::UsageRow); 16] = [
        |_| {},
        |row| row.client_request_id = None,
        |row| row.provider = "other".to_owned(),
        |row| row.model = "other".to_owned(),
        |row| row.target_model = None,
        |row| row.provider_api_key_id = None,
        |row| row.tokens.reasoning += 1,
        |row| row.tokens.cache_write_1h += 1,
        |row| row.cost.request = domain::money::NanoUsd(7),
        |row| row.actual.cache_creation = domain::money::NanoUsd(7),
        |row| row.prices.tier_index += 1,
        |row| row.rate_multiplier = domain::money::Factor::ONE,
        |row| row.is_converted = true,
        |row| row.status_code = 201,
        |row| row.error_message = Some("other".to_owned()),
        |row| row.user_agent = Some("other".to_owned()),
    ];
    let world = World::new(home).await;
    let mut wanted = Vec::new();
    for number in 1..=160_u128 {
        let mut settled = sample::settled(number);
        changes[usize::try_from(number % 16).unwrap()](&mut settled.usage);
        settled.account = match number % 3 {
            0 => settled.account,
            1 => Some(Account::Quota(sample::user(), sample::quota())),
            _ => Some(Account::Key(settled.usage.api_key_id)),
        };
        settled.candidates[0].connect_ms = Some(u32::try_from(number % 2).unwrap());
        wanted.push(settled.clone());
        world.settle(settled).await;
    }
    world.ship().await;
    let mut tx = world.store.db().read().await.unwrap();
    for want in wanted {
        let request = want.usage.request_id;
        assert_eq!(usage::find_any_owner(&mut tx, request).await.unwrap(), Some(want.usage));
        assert_eq!(usage::account_any_owner(&mut tx, request).await.unwrap(), want.account);
        let tried = crate::repo::candidates::tried_any_owner(&mut tx, request).await.unwrap();
        assert_eq!(tried, want.candidates);
    }
}
