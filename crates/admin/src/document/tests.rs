use super::*;
use domain::{
    catalog::HeaderMode,
    format::{ApiFormat, Capability},
    money::NanoUsd,
};
use std::path::PathBuf;

fn env(name: &str) -> Option<String> {
    match name {
        "ACME_KEY" => Some("sk-acme-from-environment\n".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Document, Problems> {
    Document::parse(text, Syntax::Yaml, &Sources { env: &env, folder: PathBuf::from(".") })
}

/// The problems of a document, as they are printed.
fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_three_syntaxes_say_the_same() {
    let yaml = "
providers:
  - name: acme
    monthly_quota_usd: 12.50
    rate_limit: 0
    endpoints:
      - api_format: CLAUDE
        base_url: https://api.example.com
        headers: {x-team: gateway, User-Agent: {value: acme/1, mode: override}, x-trace: {mode: remove}}
        keys:
          - {name: main, api_key: \"${ACME_KEY}\", rate_multiplier: 0.25, capabilities: {context_1m: true}}
";
    let json = r#"{"providers": [{"name": "acme", "monthly_quota_usd": 12.50, "rate_limit": 0, "endpoints": [{
        "api_format": "CLAUDE", "base_url": "https://api.example.com",
        "headers": {"x-team": "gateway", "User-Agent": {"value": "acme/1", "mode": "override"}, "x-trace": {"mode": "remove"}},
        "keys": [{"name": "main", "api_key": "${ACME_KEY}", "rate_multiplier": 0.25, "capabilities": {"context_1m": true}}]}]}]}"#;
    let toml = r#"
[[providers]]
name = "acme"
monthly_quota_usd = 12.50
rate_limit = 0
[[providers.endpoints]]
api_format = "CLAUDE"
base_url = "https://api.example.com"
headers = {x-team = "gateway", User-Agent = {value = "acme/1", mode = "override"}, x-trace = {mode = "remove"}}
[[providers.endpoints.keys]]
name = "main"
api_key = "${ACME_KEY}"
rate_multiplier = 0.25
capabilities = {context_1m = true}
"#;
    for (text, syntax) in [(yaml, Syntax::Yaml), (json, Syntax::Json), (toml, Syntax::Toml)] {
        let sources = Sources { env: &env, folder: PathBuf::from(".") };
        let document = Document::parse(text, syntax, &sources).unwrap();
        let provider = &document.providers[0];
        assert_eq!(provider.monthly_quota_usd, Patch::Set(NanoUsd(12_500_000_000)), "{syntax:?}");
        assert_eq!(provider.rate_limit, Patch::Set(0));
        let endpoint = &provider.endpoints[0];
        assert_eq!(endpoint.api_format, ApiFormat::Claude);
        let headers = endpoint.headers.value().unwrap();
        let modes: Vec<_> =
            headers.iter().map(|(name, rule)| (name.as_str(), rule.value.as_str(), rule.mode)).collect();
        assert_eq!(
            modes,
            [
                ("user-agent", "acme/1", HeaderMode::Override),
                ("x-team", "gateway", HeaderMode::Default),
                ("x-trace", "", HeaderMode::Remove),
            ]
        );
        let key = &endpoint.keys[0];
        assert_eq!(key.api_key.as_ref().unwrap().expose(), "sk-acme-from-environment");
        assert_eq!(key.rate_multiplier.unwrap().millionths(), 250_000);
        assert_eq!(key.capabilities.value().unwrap().get(&Capability::Context1m), Some(&true));
    }
}

#[test]
fn absent_null_and_a_value_are_three_things() {
    let text = "api_keys: [{name: a, rate_limit: 7}, {name: b, rate_limit: null}, {name: c}]";
    let keys = parse(text).unwrap().api_keys;
    let limits: Vec<_> = keys.into_iter().map(|key| key.rate_limit).collect();
    assert_eq!(limits, [Patch::Set(7), Patch::Null, Patch::Absent]);
}

#[test]
fn all_problems_come_at_once_with_line_and_field() {
    let text = "
users:
  - username: ann
    emial: ann@example.com
    role: boss
providers:
  - display_name: Acme
    endpoints:
      - api_format: CLAUD
        timeout: 5
        keys:
          - {name: main, api_key: \"${MISSING}\", rate_multiplier: 0.0000001}
settings: {scheduling_mode: fixed}
";
    assert_eq!(
        problems(text),
        [
            "line 4: users[0].emial: is not a known field; did you mean email?",
            "line 5: users[0].role: expected one of user, admin",
            "line 7: providers[0].name: is required",
            "line 9: providers[0].endpoints[0].api_format: expected one of CLAUDE, CLAUDE_CLI, OPENAI, OPENAI_CLI, GEMINI, \
             GEMINI_CLI; did you mean CLAUDE?",
            "line 10: providers[0].endpoints[0].timeout: must be a whole number from 10 to 3600",
            "line 12: providers[0].endpoints[0].keys[0].api_key: the environment has no MISSING",
            "line 12: providers[0].endpoints[0].keys[0].rate_multiplier: has more decimal places than are kept",
            "line 13: settings.scheduling_mode: expected one of cache_affinity, fixed_order, load_balance; did you mean \
             fixed_order?",
        ]
    );
}

#[test]
fn values_outside_their_bounds_are_refused() {
    let long = "x".repeat(101);
    for (text, want) in [
        ("providers: [{name: a/b}]", "A-Z a-z 0-9 _ . -"),
        ("users: [{username: ann, email: ann.example.com}]", "is not an e-mail address"),
        ("api_keys: [{name: a, rate_limit: -1}]", "whole number from 0 to 2147483647"),
        ("api_keys: [{name: a, rate_limit: 1.5}]", "whole number from 0 to 2147483647"),
        ("api_keys: [{name: a, balance_usd: -1}]", "must not be negative"),
        ("api_keys: [{name: a, key: short}]", "16 to 256 printable"),
        ("api_keys: [{name: a, key: {literl: x}}]", "did you mean literal?"),
        ("api_keys: [{name: a, key_hash: 00ff}]", "expected 64 hexadecimal digits"),
        ("api_keys: [{name: a, key_last4: abcd}]", "is what key_prefix and key_last4 belong to"),
        ("users: [{username: ann, password_hash: $1$old}]", "expected a hash by argon2id or bcrypt"),
        ("users: [{username: ann, password: x, password_hash: $2b$12$x}]", "has no meaning beside password"),
        ("api_keys: [{name: a, expires_at: tomorrow}]", "expected a time such as"),
        ("api_keys: [{name: a, allowed_ips: [10.0.0.0/33]}]", "expected an address or a range"),
        ("api_keys: [{name: a, mappings: [{provider: p, weight_multiplier: 0}]}]", "must be above 0"),
        ("api_keys: [{name: 12}]", "expected text (put it in quotes)"),
        ("providers: [{name: a, config: {region: eu}}]", "it must be empty"),
        (
            "providers: [{name: a, endpoints: [{api_format: OPENAI, base_url: ftp://x}]}]",
            "must begin with one of https, http",
        ),
        (
            "providers: [{name: a, endpoints: [{api_format: OPENAI, base_url: https://u:p@x}]}]",
            "must not hold credentials",
        ),
        ("providers: [{name: a, endpoints: [{api_format: OPENAI, base_url: https://x?q=1}]}]", "a query or a fragment"),
        ("providers: [{name: a, endpoints: [{api_format: OPENAI, max_retries: 11}]}]", "from 0 to 10"),
        ("providers: [{name: a, endpoints: [{api_format: OPENAI, custom_path: v1}]}]", "must begin with /"),
        ("providers: [{name: a, endpoints: [{api_format: OPENAI, headers: {host: x}}]}]", "belongs to the connection"),
        ("providers: [{name: a, endpoints: [{api_format: OPENAI, headers: {x: {mode: override}}}]}]", "is required"),
        ("users: [{username: ann, quota: {type: monthly}}]", "is required for a quota with a period"),
        ("users: [{username: ann, is_active: null}]", "cannot be null"),
        ("settings: {timezone: Mars/Base}", "no time zone known here"),
        ("users: {}", "expected a list, found a table of fields"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(want)), "{text}: {found:?}");
    }
    assert_eq!(
        problems(&format!("api_keys: [{{name: {long}}}]")),
        ["line 1: api_keys[0].name: must have 1 to 100 characters"]
    );
}

#[test]
fn an_address_is_read_in_the_form_in_which_it_is_compared() {
    let users = parse("users: [{username: ann, email: \" Ann@EXAMPLE.com\u{ff0e}au \"}]").unwrap().users;
    assert_eq!(users[0].email.as_deref(), Some("ann@example.com.au"));
}

#[test]
fn secrets_come_from_files_beside_the_document() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "sk-from-a-file\n").unwrap();
    let sources = Sources { env: &env, folder: folder.path().to_owned() };
    let text = "providers: [{name: a, endpoints: [{api_format: OPENAI, keys: [{name: k, api_key: file:key}]}]}]";
    let document = Document::parse(text, Syntax::Yaml, &sources).unwrap();
    assert_eq!(document.providers[0].endpoints[0].keys[0].api_key.as_ref().unwrap().expose(), "sk-from-a-file");

    let missing = Document::parse(&text.replace("file:key", "file:nope"), Syntax::Yaml, &sources).unwrap_err();
    assert!(missing.to_string().contains("cannot read nope"), "{missing}");
}

#[test]
fn a_secret_is_never_repeated_in_a_message_or_in_debug() {
    let text = "providers: [{name: a, endpoints: [{api_format: OPENAI, keys: [{name: k, api_key: \"hush\\nhush\"}]}]}]";
    assert!(!parse(text).unwrap_err().to_string().contains("hush"));
    let fine = text.replace("\\n", "-");
    assert!(!format!("{:?}", parse(&fine).unwrap()).contains("hush"));
}
