//! Every statement of this crate, as its source has it, prepared on both engines.

use super::*;
use crate::{Store, db::Db, sample};
use sqlx::{Either, Executor as _, SqlSafeStr as _, Statement as _};
use std::{fs, path::Path};
use testkit::servers::Home;

testkit::on_both![every_statement_of_the_source_is_one_that_the_engine_takes];

/// What begins a statement.
const VERBS: [&str; 4] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];
/// Words of statements that only PostgreSQL is asked.
const ONLY_POSTGRES: [&str; 2] = ["pg_", "clock_timestamp"];

/// What a template is written out as: `{…}` is what the source has there.
const INSTANCES: [(&str, &[&str]); 5] = [
    ("{COLUMNS}", &[""]),
    ("{PAGE}", &["1000"]),
    ("({list})", &["($1)", "($1, $2)"]),
    ("IN ({})", &["IN ($1)", "IN ($1, $2)"]),
    ("({select})", &["(SELECT id, 'model' AS kind, provider_model_name AS name FROM models WHERE id = $1)"]),
];

async fn every_statement_of_the_source_is_one_that_the_engine_takes(home: Home) {
    let store = sample::store(&home).await;
    let mut seen = 0;
    let mut failed = Vec::new();
    for (file, text) in sources() {
        for literal in literals(&text).filter(|literal| VERBS.iter().any(|verb| literal.starts_with(verb))) {
            seen += 1;
            let own = ONLY_POSTGRES.iter().any(|word| literal.contains(word));
            if own && matches!(store.db(), Db::Sqlite { .. }) {
                continue;
            }
            for sql in written_out(&file, &text, &literal) {
                if let Err(error) = prepare(&store, &sql).await {
                    failed.push(format!("{file}: {sql}: {error}"));
                }
            }
        }
    }
    assert!(seen > 50, "{seen} statements are not all");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What PostgreSQL takes a parameter for, and what it gives, must be one of the types that values have here.
async fn prepare(store: &Store, sql: &str) -> Result<(), String> {
    let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
    match store.db() {
        Db::Sqlite { readers, .. } => readers.prepare(sql).await.map(drop).map_err(|error| error.to_string()),
        Db::Postgres(pool) => {
            let statement = pool.prepare(sql).await.map_err(|error| error.to_string())?;
            let types = statement.parameters().and_then(Either::left).unwrap_or_default().iter();
            let columns = statement.columns().iter().map(sqlx::Column::type_info);
            // VOID is what taking a lock gives.
            let known = ["UUID", "INT8", "BOOL", "TEXT", "BYTEA", "VOID"];
            let odd = types.chain(columns).map(ToString::to_string).find(|name| !known.contains(&name.as_str()));
            odd.map_or(Ok(()), |name| Err(format!("a value of type {name}")))
        }
    }
}

/// The files of this crate that hold statements, tests left out.
fn sources() -> Vec<(String, String)> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "tests.rs"
            && name != "sample.rs"
        {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// The string literals of a source, as the compiler joins their lines.
fn literals(source: &str) -> impl Iterator<Item = String> {
    let mut rest = source;
    std::iter::from_fn(move || {
        let begin = rest.find('"')? + 1;
        let mut literal = String::new();
        let mut chars = rest[begin..].char_indices();
        loop {
            match chars.next() {
                Some((_, '\\')) => match chars.next()? {
                    (_, '\n') => {
                        let after = chars.as_str();
                        let blanks = after.len() - after.trim_start().len();
                        chars.by_ref().take(after[..blanks].chars().count()).for_each(drop);
                    }
                    (_, escaped) => literal.push(escaped),
                },
                Some((at, '"')) => {
                    rest = &rest[begin + at + 1..];
                    return Some(literal);
                }
                Some((_, other)) => literal.push(other),
                None => return None,
            }
        }
    })
}

/// The statements that a literal of a file stands for.
fn written_out(file: &str, source: &str, literal: &str) -> Vec<String> {
    match (file, literal) {
        // PostgreSQL needs the types of the values in it; the tests of settlements run these.
        ("insert.rs", _) => Vec::new(),
        ("repo.rs", literal) if !literal.contains("{select}") => of_entities(literal),
        // Where a list of columns stands, the file has it in a table or a constant of its own.
        ("usage.rs", literal) if literal.contains("{rest}") => {
            ["WHERE u.request_id = $1", "ORDER BY u.request_id DESC LIMIT $1"]
                .map(|rest| literal.replacen("{}", "u.*", 1).replace("{rest}", rest))
                .into()
        }
        _ => instances(source, literal),
    }
}

fn instances(source: &str, literal: &str) -> Vec<String> {
    let mut all = vec![literal.to_owned()];
    for (template, instances) in INSTANCES {
        if !literal.contains(template) {
            continue;
        }
        let columns = (template == "{COLUMNS}").then(|| constant(source, "COLUMNS"));
        let write = |sql: &String| match &columns {
            Some(columns) => vec![sql.replace(template, columns)],
            None => instances.iter().map(|instance| sql.replace(template, instance)).collect(),
        };
        all = all.iter().flat_map(write).collect();
    }
    for sql in &mut all {
        assert!(!sql.contains('{'), "a template without an instance: {sql}");
        // Rows are added to the head of an insertion.
        let head = sql.strip_suffix(')').filter(|head| head.starts_with("INSERT ") && !head.contains("VALUES"));
        if let Some((_, columns)) = head.and_then(|head| head.split_once('(')) {
            *sql = format!("{sql} VALUES ({})", placeholders(1, columns.split(',').count()));
        }
    }
    all
}

/// The text of a constant of a source.
fn constant(source: &str, name: &str) -> String {
    let (_, rest) = source.split_once(&format!("const {name}: &str =")).unwrap();
    literals(rest).next().unwrap()
}

/// A template of this module for every configuration table.
fn of_entities(literal: &str) -> Vec<String> {
    fn of<E: Entity>(literal: &str) -> String {
        let sets: Vec<_> = E::COLUMNS.iter().zip(3..).map(|(column, at)| format!(", {column} = ${at}")).collect();
        let literal = literal.replace("{table}", E::TABLE).replace("{condition}", "").replace("{sets}", &sets.concat());
        let columns = E::COLUMNS.join(", ");
        let values = placeholders(3, E::COLUMNS.len());
        let fillings = match literal.split(' ').next() {
            Some("SELECT") => [columns.as_str(), E::TABLE, ""],
            Some("INSERT") => [E::TABLE, &columns, &values],
            _ => [E::TABLE, "", ""],
        };
        fillings.iter().fold(literal, |literal, filling| literal.replacen("{}", filling, 1))
    }
    [
        of::<api_keys::ClientKeyRow>,
        of::<endpoints::EndpointRow>,
        of::<global_models::GlobalModelRow>,
        of::<mappings::MappingRow>,
        of::<models::ModelRow>,
        of::<provider_keys::ProviderKeyRow>,
        of::<providers::ProviderRow>,
        of::<users::UserRow>,
    ]
    .map(|of| of(literal))
    .into()
}
