use super::*;
use crate::{Store, db::Value, repo::quotas, sample, settle::Shipper};
use domain::{
    format::RequestType,
    ids::QuotaId,
    ports::Recorder as _,
    records::{Account, Settled},
};
use sqlx::AssertSqlSafe;
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

testkit::on_both![
    a_settled_world_is_clean_and_each_corrupted_column_is_found_alone,
    what_bills_are_made_of_and_rows_that_are_gone_are_missed,
    periods_that_come_and_go_leave_the_books_balanced,
    only_so_many_differences_are_kept_and_all_are_counted,
];

/// A store, and the shipping of what a test settles.
struct World {
    store: Store,
    _home: Home,
}

impl World {
    async fn new(home: Home) -> Self {
        let store = sample::store(&home).await;
        sample::seed(&store).await;
        Self { store, _home: home }
    }

    /// Settles and ships.
    async fn settle(&self, settled: impl IntoIterator<Item = Settled>) {
        let opening = self.store.open_journal().await.unwrap();
        for one in settled {
            opening.journal.settled(Box::new(one)).await.unwrap();
        }
        opening.journal.refused(sample::refusal(60_000_000));
        let shipper = Shipper::new(&self.store, opening.journal.clone());
        let (shipping, cancel, tasks) = (shipper.shipping(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(shipper.run(cancel.clone()));
        shipping.caught_up().await;
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    }

    /// Requests that were charged to everything there is, and some that were not charged.
    async fn busy(home: Home) -> Self {
        let world = Self::new(home).await;
        world.settle([sample::settled(1)]).await;
        sample::open_quota(&world.store, sample::quota()).await;
        let quota = Settled { account: Some(quota()), ..sample::settled(2) };
        let mut own = Settled { account: Some(Account::Key(sample::standalone())), ..sample::settled(3) };
        own.usage.api_key_id = sample::standalone();
        let mut counted = Settled { account: None, ..sample::settled(4) };
        counted.usage.request_type = RequestType::CountTokens;
        (counted.usage.tokens, counted.usage.delivered) = Default::default();
        (counted.usage.cost, counted.usage.actual) = Default::default();
        world.settle([quota, own, counted]).await;
        world
    }

    /// What is found after a change that is taken back: table and column of each difference.
    async fn found_after(&self, sql: String, row: u128) -> Vec<(&'static str, &'static str)> {
        let mut tx = self.store.db().begin().await.unwrap();
        let parameters = if sql.contains("$1") { vec![Value::from(Uuid::from_u128(row))] } else { vec![] };
        let touched = tx.run(AssertSqlSafe(sql.clone()), parameters).await.unwrap();
        assert_eq!(touched, 1, "{sql}");
        let report = check(&mut tx, 100).await.unwrap();
        tx.undo().await.unwrap();
        report.shown.iter().map(|difference| (difference.table, difference.column)).collect()
    }
}

fn quota() -> Account {
    Account::Quota(sample::user(), sample::quota())
}

fn request(number: u128) -> u128 {
    sample::request(number).uuid().as_u128()
}

async fn a_settled_world_is_clean_and_each_corrupted_column_is_found_alone(home: Home) {
    let world = World::busy(home).await;
    let clean = run(world.store.db(), 10).await.unwrap();
    assert_eq!((clean.requests, clean.differences), (4, 0), "{:?}", clean.shown);

    let bills: [(&str, &'static str); 15] = [
        "input_cost_usd",
        "output_cost_usd",
        "cache_creation_cost_usd",
        "cache_read_cost_usd",
        "request_cost_usd",
        "total_cost_usd",
        "cache_cost_usd",
        "actual_input_cost_usd",
        "actual_output_cost_usd",
        "actual_cache_creation_cost_usd",
        "actual_cache_read_cost_usd",
        "actual_request_cost_usd",
        "actual_total_cost_usd",
        "cache_creation_input_tokens",
        "total_tokens",
    ]
    .map(|column| ("usage", column));
    let counters: [(&str, &'static str); 23] = [
        ("users", "total_usd"),
        ("users", "used_usd"),
        ("users", "forgiven_usd"),
        ("user_quotas", "used_usd"),
        ("api_keys", "total_requests"),
        ("api_keys", "total_cost_usd"),
        ("api_keys", "balance_used_usd"),
        ("api_keys", "current_balance_usd"),
        ("api_keys", "last_used_at"),
        ("balance_entries", "amount_usd"),
        ("providers", "monthly_used_usd"),
        ("providers", "past_usd"),
        ("provider_api_keys", "request_count"),
        ("provider_api_keys", "success_count"),
        ("provider_api_keys", "error_count"),
        ("provider_api_keys", "total_response_time_ms"),
        ("provider_api_keys", "last_used_at"),
        ("provider_api_keys", "last_error_at"),
        ("global_models", "usage_count"),
        ("request_candidates", "actual_cost_usd"),
        ("request_candidates", "latency_ms"),
        ("audit_logs", "created_at"),
        ("audit_logs", "seq"),
    ];
    for (table, column) in bills.into_iter().chain(counters) {
        let (condition, row) = match table {
            "usage" => ("request_id = $1", request(2)),
            "request_candidates" => ("request_id = $1 AND retry_index = 1", request(2)),
            "api_keys" => ("is_standalone", 0),
            "audit_logs" => ("seq = 2", 0),
            _ => ("TRUE", 0),
        };
        let wanted = match (table, column) {
            ("balance_entries", _) => ("api_keys", "current_balance_usd"),
            ("providers", _) | ("request_candidates", "actual_cost_usd") => {
                ("providers", "monthly_used_usd + past_usd")
            }
            ("request_candidates", _) => ("provider_api_keys", "total_response_time_ms"),
            ("audit_logs", _) => ("audit_logs", "hash"),
            same => same,
        };
        let sql = format!("UPDATE {table} SET {column} = {column} + 1 WHERE {condition}");
        assert_eq!(world.found_after(sql, row).await, [wanted], "{table}.{column}");
    }
}

async fn what_bills_are_made_of_and_rows_that_are_gone_are_missed(home: Home) {
    let world = World::busy(home).await;
    let (bill, attempts) = (("usage", "input_cost_usd"), ("provider_api_keys", "request_count"));
    let of_period = [("user_quotas", "used_usd"), ("users", "used_usd"), ("users", "forgiven_usd")];
    let set = |what: &str| format!("UPDATE usage SET {what} WHERE request_id = $1");
    for (sql, wanted) in [
        (set("input_tokens = input_tokens + 1"), vec![bill, ("usage", "total_tokens")]),
        (set("input_price_per_1m = input_price_per_1m + 1000000"), vec![bill]),
        (set("rate_multiplier = 1000000"), vec![("usage", "actual_total_cost_usd")]),
        (set("price_per_request = 5"), vec![("usage", "request_cost_usd"), ("usage", "total_cost_usd")]),
        (set("output_tokens = -1"), vec![("usage", "output_tokens")]),
        (set("rate_multiplier = -1"), vec![("usage", "rate_multiplier")]),
        (set("request_type = 'count_tokens'"), vec![bill, ("global_models", "usage_count"), attempts]),
        (set("quota_id = NULL"), of_period.to_vec()),
        (set("quota_id = request_id"), vec![("user_quotas", "id")]),
        (set("user_id = NULL"), vec![("users", "total_usd"), of_period[0]]),
        (set("from_balance = TRUE"), vec![("api_keys", "balance_used_usd"), of_period[0]]),
        (
            "DELETE FROM usage WHERE request_id = $1".to_owned(),
            vec![("request_candidates", "request_id"), of_period[0]],
        ),
        (
            "DELETE FROM request_candidates WHERE request_id = $1 AND retry_index = 0".to_owned(),
            vec![attempts, ("provider_api_keys", "error_count"), ("providers", "monthly_used_usd + past_usd")],
        ),
    ] {
        let found = world.found_after(sql.clone(), request(2)).await;
        assert!(wanted.iter().all(|difference| found.contains(difference)), "{sql}: {found:?}");
    }
    let (delivered, count) = (set("delivered = FALSE"), set("price_per_request = 5, delivered = FALSE"));
    assert!(world.found_after(delivered, request(2)).await.is_empty(), "there was no price per request");
    assert!(world.found_after(count, request(4)).await.is_empty(), "counting tokens costs nothing at any price");
}

async fn periods_that_come_and_go_leave_the_books_balanced(home: Home) {
    let world = World::new(home).await;
    let (first, second) = (sample::quota(), QuotaId::from(Uuid::from_u128(99)));
    let user = Account::User(sample::user());
    let of = |quota| Account::Quota(sample::user(), quota);
    for (number, account) in [(1, user), (2, of(first)), (3, user), (4, of(second)), (5, of(first)), (6, user)] {
        match number {
            2 => sample::open_quota(&world.store, first).await,
            4 => sample::open_quota(&world.store, second).await,
            6 => {
                let mut tx = world.store.db().begin().await.unwrap();
                quotas::close(&mut tx, sample::user()).await.unwrap();
                tx.commit().await.unwrap();
            }
            _ => {}
        }
        world.settle([Settled { account: Some(account), ..sample::settled(number) }]).await;
        let report = run(world.store.db(), 10).await.unwrap();
        assert_eq!((u128::from(report.requests), report.shown), (number, vec![]));
    }
}

async fn only_so_many_differences_are_kept_and_all_are_counted(home: Home) {
    let world = World::new(home).await;
    // More than a page of rows, each with a bill that is wrong.
    let wrong = (1..=1_003).map(|number| {
        let mut settled = sample::settled(number);
        settled.usage.cost.input = domain::money::NanoUsd(1);
        settled
    });
    world.settle(wrong).await;
    let report = run(world.store.db(), 3).await.unwrap();
    assert_eq!((report.requests, report.differences, report.shown.len()), (1_003, 1_003, 3));
    let first = &report.shown[0];
    assert_eq!(first.id, sample::request(1).uuid());
    let said = format!("usage {}: input_cost_usd is 1 and should be {}", first.id.hyphenated(), sample::cost().input.0);
    assert_eq!(first.to_string(), said);
}
