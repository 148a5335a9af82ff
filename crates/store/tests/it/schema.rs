use crate::sample;
use sqlx::{PgPool, SqlitePool};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
};
use store::{DatabaseUrl, Db, OpenError, Store, StoreConfig, SyncMode, migrate};
use testkit::servers::Home;

testkit::on_both![
    migrations_are_applied_once,
    two_processes_that_start_at_once_agree,
    a_schema_that_is_newer_is_refused_and_left_as_it_is,
];

async fn connect(home: &Home) -> Db {
    let url = match home.database_url() {
        Some(url) => url.parse().unwrap(),
        None => DatabaseUrl::sqlite(home.path().join("t.db")),
    };
    Db::connect(&url).await.unwrap()
}

async fn migrations_are_applied_once(home: Home) {
    let db = connect(&home).await;
    let first = migrate::run(&db).await.unwrap();
    assert_eq!(first.last(), Some(&migrate::known()));
    assert!(migrate::run(&db).await.unwrap().is_empty());
}

async fn two_processes_that_start_at_once_agree(home: Home) {
    let (one, other) = (connect(&home).await, connect(&home).await);
    let (one, other) = tokio::join!(migrate::run(&one), migrate::run(&other));
    let applied = one.unwrap().len() + other.unwrap().len();
    assert_eq!(i64::try_from(applied).unwrap(), migrate::known());
}

async fn a_schema_that_is_newer_is_refused_and_left_as_it_is(home: Home) {
    let store = sample::store(&home).await;
    sample::run(&store, "INSERT INTO schema_migrations (version, name, applied_at) VALUES (1000, 'later', 0)").await;
    store.db().close().await;

    let error = Store::open(sample::config(home.path(), home.database_url())).await.unwrap_err();
    assert!(matches!(error, OpenError::Migrate(migrate::MigrateError::Newer { .. })));
    let expected = format!("schema version 1000, this binary knows versions up to {}", migrate::known());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_data_directory_is_private_and_keeps_its_node() {
    let home = Home::embedded().unwrap();
    let (first, again) = (sample::store(&home).await, sample::store(&home).await);
    assert_eq!(first.node(), again.node());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(first.data_dir().path()), 0o700);
    assert_eq!(mode(&first.data_dir().master_key()), 0o600);
}

#[tokio::test]
async fn a_bad_address_is_refused_without_being_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let database_url = Some(domain::secret::Secret::new("mysql://root:hunter2@db/x".to_owned()));
    let config = StoreConfig { data_dir: dir.path().into(), database_url, master_key: None, sync: SyncMode::Interval };
    let error = Store::open(config).await.unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

/// What one table promises.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// By column: type, nullability, default.
    columns: BTreeMap<String, String>,
    /// The columns and the condition of every unique index, the primary key's with them.
    unique: BTreeSet<String>,
    /// What rows refer to, and what happens to them with it.
    references: BTreeSet<String>,
}

fn column(kind: &str, not_null: bool, default: Option<&str>) -> String {
    // '' and ''::text, 0 and 0, FALSE and false are the same.
    let default = default.map(|text| text.split("::").next().unwrap_or(text).to_lowercase());
    let null = if not_null { "not null" } else { "null" };
    format!("{} {null} default {}", kind.to_lowercase(), default.as_deref().unwrap_or("none"))
}

fn unique(columns: &str, condition: Option<&str>) -> String {
    let condition = condition.map(|text| text.to_lowercase().replace(['(', ')'], ""));
    format!("{columns} where {}", condition.as_deref().unwrap_or("true"))
}

async fn shape_of_sqlite(pool: &SqlitePool) -> BTreeMap<String, Shape> {
    const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    const INDEXES: &str = "SELECT i.name, COALESCE(s.sql, '') FROM pragma_index_list($1) i \
                           LEFT JOIN sqlite_schema s ON s.name = i.name WHERE i.\"unique\"";
    const INDEXED: &str = "SELECT name FROM pragma_index_info($1) ORDER BY seqno";
    const COLUMNS: &str = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info($1) ORDER BY pk, cid";
    const REFERENCES: &str = "SELECT \"from\", \"table\", on_delete FROM pragma_foreign_key_list($1)";
    let mut shapes = BTreeMap::new();
    for table in sqlx::query_scalar::<_, String>(TABLES).fetch_all(pool).await.unwrap() {
        let mut shape = Shape::default();
        let mut key = Vec::new();
        let rows: Vec<(String, String, bool, Option<String>, i64)> =
            sqlx::query_as(COLUMNS).bind(&table).fetch_all(pool).await.unwrap();
        for (name, kind, not_null, default, place) in rows {
            // SQLite alone lets a key be null that does not say so.
            shape.columns.insert(name.clone(), column(&kind, not_null || place > 0, default.as_deref()));
            key.extend((place > 0).then_some(name));
        }
        shape.unique.insert(unique(&key.join(", "), None));
        let indexes: Vec<(String, String)> = sqlx::query_as(INDEXES).bind(&table).fetch_all(pool).await.unwrap();
        for (index, sql) in indexes {
            let columns: Vec<String> = sqlx::query_scalar(INDEXED).bind(&index).fetch_all(pool).await.unwrap();
            shape.unique.insert(unique(&columns.join(", "), sql.split_once(" WHERE ").map(|(_, text)| text)));
        }
        let references: Vec<(String, String, String)> =
            sqlx::query_as(REFERENCES).bind(&table).fetch_all(pool).await.unwrap();
        shape.references.extend(references.iter().map(|(from, to, gone)| format!("{from} → {to} {gone}")));
        shapes.insert(table, shape);
    }
    shapes
}

async fn shape_of_postgres(pool: &PgPool) -> BTreeMap<String, Shape> {
    const TABLES: &str = "SELECT CAST(oid AS BIGINT), CAST(relname AS TEXT) FROM pg_class \
                          WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace";
    const COLUMNS: &str = "SELECT CAST(a.attname AS TEXT), format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                           pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a \
                           LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                           WHERE a.attrelid = CAST($1 AS oid) AND a.attnum > 0 AND NOT a.attisdropped";
    const UNIQUE: &str = "SELECT (SELECT string_agg(pg_get_indexdef(indexrelid, n, false), ', ' ORDER BY n) \
                          FROM generate_series(1, indnatts) n), pg_get_expr(indpred, indrelid) \
                          FROM pg_index WHERE indrelid = CAST($1 AS oid) AND indisunique";
    const REFERENCES: &str = "SELECT CAST(a.attname AS TEXT), CAST(t.relname AS TEXT), CAST(c.confdeltype AS TEXT) \
                              FROM pg_constraint c JOIN pg_class t ON t.oid = c.confrelid \
                              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
                              WHERE c.contype = 'f' AND c.conrelid = CAST($1 AS oid)";
    let mut shapes = BTreeMap::new();
    for (id, table) in sqlx::query_as::<_, (i64, String)>(TABLES).fetch_all(pool).await.unwrap() {
        let mut shape = Shape::default();
        let columns: Vec<(String, String, bool, Option<String>)> =
            sqlx::query_as(COLUMNS).bind(id).fetch_all(pool).await.unwrap();
        let columns = columns.into_iter();
        shape.columns.extend(columns.map(|(name, kind, set, default)| (name, column(&kind, set, default.as_deref()))));
        let indexes: Vec<(String, Option<String>)> = sqlx::query_as(UNIQUE).bind(id).fetch_all(pool).await.unwrap();
        shape.unique.extend(indexes.iter().map(|(columns, condition)| unique(columns, condition.as_deref())));
        let references: Vec<(String, String, String)> =
            sqlx::query_as(REFERENCES).bind(id).fetch_all(pool).await.unwrap();
        let gone = |code: &str| match code {
            "c" => "CASCADE",
            "n" => "SET NULL",
            _ => "NO ACTION",
        };
        shape.references.extend(references.iter().map(|(from, to, code)| format!("{from} → {to} {}", gone(code))));
        shapes.insert(table, shape);
    }
    shapes
}

#[tokio::test]
async fn both_engines_have_the_same_tables_with_the_same_promises() {
    let homes = (Home::embedded().unwrap(), Home::on_server().unwrap());
    let (here, there) = (sample::store(&homes.0).await, sample::store(&homes.1).await);
    let (Db::Sqlite { readers: sqlite, .. }, Db::Postgres(postgres)) = (here.db(), there.db()) else {
        panic!("one of each")
    };
    let (sqlite, postgres) = (shape_of_sqlite(sqlite).await, shape_of_postgres(postgres).await);
    assert!(sqlite.len() > 15 && sqlite["usage"].columns.len() > 50, "{:?}", sqlite.keys());
    for (name, shape) in &sqlite {
        assert_eq!(Some(shape), postgres.get(name), "{name}");
    }
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
}
