use crate::support::{EXAMPLE, Gateway};
use admin::ApplyError;
use domain::egress::EgressPolicy;
use store::repo::{api_keys, provider_keys};
use testkit::servers::Home;

testkit::on_both![
    a_bad_document_is_refused_whole_and_changes_nothing,
    the_good_part_of_a_bad_document_is_not_applied_either,
    a_name_that_the_database_has_twice_is_refused_with_its_ids,
    the_last_active_admin_stays,
    what_egress_allows_is_applied_and_an_unknown_host_is_a_warning,
    names_are_looked_up_with_the_system_unless_told_otherwise,
];

/// Documents on top of the example, and every problem that each must be refused for.
async fn a_bad_document_is_refused_whole_and_changes_nothing(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let before = gateway.picture().await;
    for (document, want) in [
        (
            "providers:\n  - name: new\n  - name: new\n",
            &["line 3: providers[1].name: a provider of this name is in line 2 already"][..],
        ),
        (
            "providers:\n  - name: new\n    endpoints:\n      - api_format: OPENAI\n        timeout: 30\n        keys:\n          \
             - {name: a}\n          - {name: a, api_key: x}\n",
            &[
                "line 4: providers[0].endpoints[0].base_url: is required for a new endpoint",
                "line 7: providers[0].endpoints[0].keys[0].api_key: is required for a new key",
                "line 8: providers[0].endpoints[0].keys[1].name: this endpoint's key of this name is in line 7 already",
            ],
        ),
        (
            "providers:\n  - name: acme\n    models:\n      - global_model: claude-sonet-4-5\n      - global_model: local-test\n",
            &[
                "line 4: providers[0].models[0].global_model: there is no global model claude-sonet-4-5; did you mean \
                 claude-sonnet-4-5?",
                "line 5: providers[0].models[1].provider_model_name: is required for a new model",
            ],
        ),
        (
            "providers:\n  - name: acme\n    models:\n      - global_model: local-test\n        \
             provider_model_name: claude-sonnet-4-5-20250929\n",
            &[
                "line 5: providers[0].models[0].provider_model_name: another model is claude-sonnet-4-5-20250929 already",
            ],
        ),
        (
            "providers:\n  - name: acme\n    billing_type: monthly_quota\n",
            &[
                "line 2: providers[0].quota_last_reset_at: is required with billing_type monthly_quota: periods are counted \
                 from it",
            ],
        ),
        (
            "providers:\n  - name: acme\n    endpoints:\n      - api_format: CLAUDE\n        keys:\n          - name: main\n            \
             allowed_models:\n              - claude-sonnet-4-5\n              - gpt\n",
            &["line 9: providers[0].endpoints[0].keys[0].allowed_models[1]: there is no model gpt"],
        ),
        (
            "global_models:\n  - name: m\n    is_active: true\n",
            &[
                "line 3: global_models[0].is_active: a model without prices cannot be active; set is_active to false, or give \
                 it prices",
            ],
        ),
        (
            "global_models:\n  - name: claude-sonnet-4-5\n    default_tiered_pricing: null\n",
            &[
                "line 3: global_models[0].default_tiered_pricing: a model without prices cannot be active; set is_active to \
                 false, or give it prices",
            ],
        ),
        (
            "global_models:\n  - name: m\n    default_tiered_pricing:\n      tiers:\n        \
             - {up_to: 10, input_price_per_1m: 1, output_price_per_1m: 1}\n        \
             - {up_to: 5, input_price_per_1m: 1, output_price_per_1m: 1}\n        \
             - {input_price_per_1m: 1, output_price_per_1m: 1}\n",
            &["line 4: global_models[0].default_tiered_pricing: tier 1: up_to must be larger than in the tier before"],
        ),
        (
            "global_models:\n  - name: local-test\n    is_free: false\n",
            &["line 3: global_models[0].is_free: tier 0: input and output cost nothing; set is_free if that is meant"],
        ),
        (
            "global_models:\n  - name: local-test\n  - name: local-test\n",
            &["line 3: global_models[1].name: a global model of this name is in line 2 already"],
        ),
        (
            "users:\n  - username: al\n    email: ann@example.com\n    password: short\n  - username: bob\n",
            &[
                "line 2: users[0].username: a new user's name has 3 to 30 of the characters A-Z a-z 0-9 _ -",
                "line 3: users[0].email: another user has this address",
                "line 4: users[0].password: a password has 10 to 1000 characters",
                "line 5: users[1].email: is required for a new user",
                "line 5: users[1].password: is required for a new user; null makes one who cannot log in by password",
            ],
        ),
        (
            "users: [{username: ann, default_provider_id: acne}]",
            &["line 1: users[0].default_provider_id: there is no provider acne; did you mean acme?"],
        ),
        (
            "users:\n  - username: ann\n    allowed_providers: [acme, acne]\n    allowed_endpoints:\n      - acme/OPENAI\n    \
             allowed_models: [gpt]\n    model_capability_settings:\n      gpt: {context_1m: true}\n",
            &[
                "line 3: users[0].allowed_providers[1]: there is no provider acne; did you mean acme?",
                "line 5: users[0].allowed_endpoints[0]: there is no endpoint acme/OPENAI; did you mean acme/CLAUDE?",
                "line 6: users[0].allowed_models[0]: there is no global model gpt",
                "line 8: users[0].model_capability_settings.gpt: there is no global model gpt",
            ],
        ),
        (
            "api_keys:\n  - name: a\n  - name: b\n    user: bob\n  - name: c\n    user: ann\n    balance_usd: 1\n  \
             - name: laptop\n    user: ann\n    is_standalone: true\n",
            &[
                "line 2: api_keys[0].user: is required, unless is_standalone is true",
                "line 4: api_keys[1].user: there is no user bob",
                "line 7: api_keys[2].balance_usd: belongs to a key with is_standalone: true",
                "line 10: api_keys[3].is_standalone: cannot change: what a key spends from is settled when it is made",
            ],
        ),
        (
            "api_keys:\n  - name: laptop\n    user: ann\n  - name: laptop\n    user: ann\n",
            &["line 4: api_keys[1].name: this owner's key of this name is in line 2 already"],
        ),
        (
            "api_keys:\n  - name: copy\n    user: ann\n    key: ${LAPTOP_KEY}\n",
            &["line 4: api_keys[0].key: another client key has this text"],
        ),
        (
            "api_keys:\n  - name: laptop\n    user: ann\n    mappings:\n      - provider: acme\n      - provider: acme\n      \
             - provider: other\n",
            &[
                "line 6: api_keys[0].mappings[1].provider: a mapping to this provider is in line 5 already",
                "line 7: api_keys[0].mappings[2].provider: there is no provider other",
            ],
        ),
        (
            "providers:\n  - name: acme\n    endpoints:\n      - api_format: CLAUDE\n        base_url: http://127.0.0.1:1\n      \
             - {api_format: OPENAI, base_url: https://inside.example.com}\n      \
             - {api_format: GEMINI, base_url: \"http://[::1]:9\"}\n      \
             - {api_format: OPENAI_CLI, base_url: \"http://169.254.169.254/latest\"}\n",
            &[
                "line 5: providers[0].endpoints[0].base_url: 127.0.0.1 is not a public address; the setting egress.allow does \
                 not hold it",
                "line 6: providers[0].endpoints[1].base_url: 10.1.2.3 is not a public address; the setting egress.allow does \
                 not hold it",
                "line 7: providers[0].endpoints[2].base_url: ::1 is not a public address; the setting egress.allow does not \
                 hold it",
                "line 8: providers[0].endpoints[3].base_url: 169.254.169.254 is a link-local or metadata address, which is \
                 never dialled",
            ],
        ),
        // What the text itself shows: no database is asked.
        (
            "settings:\n  timezone: Mars/Base\n",
            &["line 2: settings.timezone: is no time zone known here; expected one such as Europe/Berlin"],
        ),
        ("proviers: []\n", &["line 1: proviers: is not a known field; did you mean providers?"]),
    ] {
        let problems = gateway.refused(document).await;
        assert_eq!(problems, want, "{document}");
        assert_eq!(gateway.picture().await, before, "{document}");
    }
    let [unfinished] = &gateway.refused("users: [\n").await[..] else {
        panic!("the first mistake in the text ends it")
    };
    assert!(unfinished.starts_with("line 2: "), "{unfinished}");
}

async fn the_good_part_of_a_bad_document_is_not_applied_either(home: Home) {
    let gateway = Gateway::new(home).await;
    let before = gateway.picture().await;
    let problems = gateway.refused(&EXAMPLE.replace("user: ann", "user: bea")).await;
    assert_eq!(problems, ["line 29: api_keys[0].user: there is no user bea"]);
    assert_eq!(gateway.picture().await, before);
}

async fn a_name_that_the_database_has_twice_is_refused_with_its_ids(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let (provider_key, client_key) = {
        let mut tx = gateway.store.db().begin().await.unwrap();
        let mut provider_key = provider_keys::all(&mut tx).await.unwrap().remove(0);
        provider_key.id = store::mint();
        provider_keys::insert(&mut tx, &provider_key).await.unwrap();
        let mut client_key = api_keys::all_any_owner(&mut tx).await.unwrap().remove(0);
        client_key.id = store::mint();
        client_key.key_hash = [9; 32];
        api_keys::insert(&mut tx, &client_key).await.unwrap();
        tx.commit().await.unwrap();
        (provider_key.id.to_string(), client_key.id.to_string())
    };
    let before = gateway.picture().await;
    let problems = gateway.refused(EXAMPLE).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("line 22: providers[0].endpoints[0].keys[0].name: the database has more than one"));
    assert!(problems[0].ends_with(&provider_key), "{problems:?}");
    assert!(
        problems[1].starts_with("line 28: api_keys[0].name: ") && problems[1].ends_with(&client_key),
        "{problems:?}"
    );
    assert_eq!(gateway.picture().await, before);
}

async fn the_last_active_admin_stays(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.diff("users: [{username: ann, role: admin}]").await;
    for (document, field) in [
        ("users: [{username: ann, role: user}]", "users[0].role"),
        ("users: [{username: ann, is_active: false}]", "users[0].is_active"),
    ] {
        assert_eq!(gateway.refused(document).await, [format!("line 1: {field}: would leave no active admin")]);
    }
    let handed_over =
        "users: [{username: ann, role: user}, {username: bob, email: bob@example.com, password: null, role: admin}]";
    assert_eq!(gateway.diff(handed_over).await.len(), 2);
}

async fn what_egress_allows_is_applied_and_an_unknown_host_is_a_warning(home: Home) {
    let mut gateway = Gateway::with_example(home).await;
    gateway.egress = EgressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()]);
    let inside = "providers: [{name: acme, endpoints: [{api_format: CLAUDE, base_url: https://inside.example.com}]}]";
    assert_eq!(
        gateway.diff(inside).await,
        ["~ endpoint acme/CLAUDE: base_url https://api.example.com -> https://inside.example.com"]
    );
    let gone = inside.replace("inside.", "gone.");
    let report = gateway.apply(&gone).await.unwrap();
    assert_eq!(report.warnings, ["the host of https://gone.example.com does not resolve now"]);
}

async fn names_are_looked_up_with_the_system_unless_told_otherwise(home: Home) {
    let mut gateway = Gateway::with_example(home).await;
    gateway.options.resolver = admin::Resolver::System;
    let document = |host: &str| {
        format!("providers: [{{name: acme, endpoints: [{{api_format: CLAUDE, base_url: \"http://{host}:1\"}}]}}]")
    };
    let problems = gateway.refused(&document("localhost")).await;
    assert!(problems[0].contains("egress.allow"), "{problems:?}");
    // An old way to write 127.0.0.1.
    let disguised = gateway.apply(&document("2130706433")).await;
    assert!(matches!(disguised, Err(ApplyError::Refused(_))), "{disguised:?}");
}
