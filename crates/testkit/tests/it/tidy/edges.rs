//! The walls between the crates.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use super::{none, root, rust_files};

/// Each crate, the crates of ours that it may use, and those that its tests may use beside them.
const ALLOWED: [(&str, &[&str], &[&str]); 8] = [
    ("tollgate-wire", &[], &[]),
    ("tollgate-domain", &[], &[]),
    ("tollgate-store", &["tollgate-domain"], &["tollgate-testkit"]),
    ("tollgate-relay", &["tollgate-domain", "tollgate-wire"], &["tollgate-testkit"]),
    ("tollgate-admin", &["tollgate-domain", "tollgate-store"], &["tollgate-testkit"]),
    (
        "tollgate",
        &["tollgate-admin", "tollgate-domain", "tollgate-relay", "tollgate-store", "tollgate-testkit", "tollgate-wire"],
        &[],
    ),
    ("tollgate-testkit", &[], &[]),
    (
        "tollgate-bench",
        &["tollgate-domain", "tollgate-relay", "tollgate-store", "tollgate-testkit", "tollgate-wire"],
        &[],
    ),
];

/// What only some crates may depend on, at build time and in tests.
const RESERVED: [(&str, &[&str], &str); 4] = [
    ("sqlx", &["tollgate-store"], "SQL lives in one crate"),
    ("chacha20poly1305", &["tollgate-store"], "sealing secrets is the vault's"),
    ("anyhow", &["tollgate", "tollgate-bench"], "a library's errors are types"),
    ("clap", &["tollgate", "tollgate-testkit", "tollgate-bench"], "only programs read a command line"),
];

/// What would read a clock, the environment, files, sockets or chance.
const IMPURE: [&str; 11] = [
    "SystemTime",
    "Instant::",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "tokio",
    "rand::",
    "getrandom",
    "::now()",
    "::now_v7",
];

#[test]
fn crates_depend_only_on_those_below_them() {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (name, dependencies) in manifests() {
        let Some((_, uses, tests)) = ALLOWED.iter().find(|(crate_name, ..)| *crate_name == name) else {
            findings.push(format!("{name} is not in the table"));
            continue;
        };
        for (dependency, kind) in &dependencies {
            let ours = ALLOWED.iter().any(|(crate_name, ..)| crate_name == dependency);
            let allowed = uses.contains(&dependency.as_str())
                || (kind.as_deref() == Some("dev") && tests.contains(&dependency.as_str()));
            if ours && !allowed {
                findings.push(format!("{name} → {dependency}"));
            }
            for (reserved, owners, reason) in RESERVED {
                if dependency == reserved && !owners.contains(&name.as_str()) {
                    findings.push(format!("{name} → {dependency}: {reason}"));
                }
            }
        }
        seen.push(name);
    }
    findings.extend(
        ALLOWED.iter().filter(|(name, ..)| !seen.iter().any(|s| s == name)).map(|(name, ..)| format!("{name} is gone")),
    );
    none(&findings, "edges that the table does not hold");
}

#[test]
fn pure_crates_stay_pure() {
    let mut findings = Vec::new();
    for file in rust_files("crates/wire/src").into_iter().chain(rust_files("crates/domain/src")) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            findings.extend(
                IMPURE.iter().filter(|word| code.contains(*word)).map(|word| format!("{}:{number}: {word}", file.path)),
            );
        }
    }
    none(&findings, "time, chance and the environment are parameters here");
}

/// Every crate of the workspace with its dependencies and their kind, as cargo reads the manifests.
fn manifests() -> BTreeMap<String, Vec<(String, Option<String>)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let named = dependencies.map(|entry| (text(&entry["name"]).unwrap(), text(&entry["kind"]))).collect();
            (text(&package["name"]).unwrap(), named)
        })
        .collect()
}
