use super::*;
use crate::DatabaseUrl;

#[test]
fn a_script_keeps_its_own_engines_blocks() {
    let script = "-- why\nCREATE TABLE a (\n    id UUID\n)\n-- only: sqlite\nWITHOUT ROWID\n-- end\n\
                  -- only: postgres\nPARTITION BY RANGE (id)\n-- end\n;\n";
    assert_eq!(script_for("sqlite", script), "CREATE TABLE a (\n    id UUID\n)\nWITHOUT ROWID\n;\n");
    assert_eq!(script_for("postgres", script), "CREATE TABLE a (\n    id UUID\n)\nPARTITION BY RANGE (id)\n;\n");
}

#[test]
fn versions_rise_by_one_from_one() {
    for (index, (version, ..)) in MIGRATIONS.iter().enumerate() {
        assert_eq!(*version, i64::try_from(index).unwrap() + 1);
    }
}

#[tokio::test]
async fn rows_from_before_accounts_get_theirs_and_counters_keep_their_sums() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::connect(&DatabaseUrl::sqlite(dir.path().join("t.db"))).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.script(script_for("sqlite", MIGRATIONS[0].2)).await.unwrap();
    let rows = "
        CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL);
        INSERT INTO schema_migrations VALUES (1, 'init', 0);
        INSERT INTO users (id, created_at, updated_at, email, username, role, used_usd, is_active)
            VALUES (x'01', 0, 0, 'a@x', 'a', 'user', 40, TRUE), (x'02', 0, 0, 'b@x', 'b', 'user', 7, TRUE);
        INSERT INTO user_quotas (id, created_at, updated_at, user_id, quota_type, quota_usd, period_start, period_end,
            used_usd, is_active)
            VALUES (x'11', 100, 200, x'01', 'daily', 1, 0, 0, 20, FALSE), (x'12', 200, 250, x'01', 'daily', 1, 0, 0, 40, TRUE);
        INSERT INTO api_keys (id, created_at, updated_at, user_id, key_hash, is_standalone, current_balance_usd,
            balance_used_usd, is_active, auto_delete_on_expiry)
            VALUES (x'21', 0, 0, x'01', x'21', FALSE, NULL, 0, TRUE, FALSE),
                   (x'22', 0, 0, x'01', x'22', TRUE, 950, 50, TRUE, FALSE);";
    tx.script(rows.to_owned()).await.unwrap();
    for (request, user, key, created_at, cost) in
        [(1, 1, 0x21, 99, 10), (2, 1, 0x21, 100, 20), (3, 1, 0x21, 200, 40), (4, 1, 0x22, 150, 50), (5, 2, 0x21, 1, 7)]
    {
        let row = format!(
            "INSERT INTO usage (request_id, user_id, api_key_id, model, input_price_per_1m, output_price_per_1m, \
             cache_read_price_per_1m, price_per_request, cache_creation_price_per_1m, cache_creation_1h_price_per_1m, \
             tier_index, api_format, response_time_ms, created_at, finished_at, total_cost_usd) VALUES \
             (x'{request:02x}', x'{user:02x}', x'{key:02x}', 'm', 0, 0, 0, 0, 0, 0, 0, 'OPENAI', 0, {created_at}, 0, {cost})"
        );
        tx.script(row).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(run(&db).await.unwrap(), (2..=known()).collect::<Vec<_>>());

    let texts = async |sql: &'static str| {
        let mut tx = db.read().await.unwrap();
        let rows = tx.rows(sql, vec![]).await.unwrap();
        rows.iter().map(|row| row.text("t").unwrap()).collect::<Vec<_>>()
    };
    let accounts = "SELECT hex(quota_id) || ' ' || from_balance AS t FROM usage ORDER BY request_id";
    assert_eq!(texts(accounts).await, [" 0", "11 0", "12 0", " 1", " 0"]);
    assert_eq!(texts("SELECT used_usd || ' ' || forgiven_usd AS t FROM users ORDER BY id").await, ["40 10", "7 0"]);
    let granted = "SELECT hex(api_key_id) || ' ' || kind || ' ' || amount_usd AS t FROM balance_entries";
    assert_eq!(texts(granted).await, ["22 top_up 1000"]);
}
