//! An empty gateway's store, and documents to apply to it.

use admin::{
    ApplyError, ApplyOptions, Report, Resolver, Secrets, apply,
    document::{Document, Problems, Sources, Syntax},
    export,
};
use domain::{catalog::Catalog, egress::EgressPolicy, secret::Secret};
use std::{collections::BTreeMap, path::PathBuf};
use store::{Store, StoreConfig, SyncMode};
use testkit::servers::Home;

/// 2026-02-10T12:00:00Z.
pub(crate) const NOW: i64 = 1_770_724_800_000_000;

/// Of each kind one, as an operator would write it.
pub(crate) const EXAMPLE: &str = r#"
global_models:
  - name: claude-sonnet-4-5
    display_name: Claude Sonnet 4.5
    default_tiered_pricing:
      tiers: [{up_to: null, input_price_per_1m: "3", output_price_per_1m: "15", cache_creation_price_per_1m: "3.75", cache_read_price_per_1m: "0.30"}]
    supported_capabilities: [cache_1h, context_1m]
    config: {streaming: true, vision: true, function_calling: true, extended_thinking: true, context_limit: 200000, output_limit: 64000}
  - name: local-test
    is_free: true
    default_tiered_pricing: {tiers: [{up_to: null, input_price_per_1m: 0, output_price_per_1m: 0}]}
providers:
  - name: acme
    display_name: Acme
    billing_type: pay_as_you_go
    provider_priority: 50
    endpoints:
      - api_format: CLAUDE
        base_url: https://api.example.com
        headers: {x-team: gateway, user-agent: {value: acme/1, mode: override}}
        keys:
          - {name: main, api_key: "${ACME_KEY}", rate_multiplier: "1.0", capabilities: {context_1m: true}}
    models:
      - {global_model: claude-sonnet-4-5, provider_model_name: claude-sonnet-4-5-20250929}
users:
  - {username: ann, email: ann@example.com, password: "${ANN_PASSWORD}", quota: {type: monthly, usd: "10.00"}}
api_keys:
  - name: laptop
    user: ann
    key: "${LAPTOP_KEY}"
    rate_limit: 100
    allowed_endpoints: [acme/CLAUDE]
    mappings: [{provider: acme, priority_adjustment: -10}]
  - {name: kiosk, is_standalone: true, balance_usd: "5.00"}
settings: {provider_priority_mode: provider, scheduling_mode: cache_affinity}
"#;

pub(crate) const LAPTOP_KEY: &str = "sk-laptop-0123456789abcdefghijklmno";

/// A new data directory and database.
pub(crate) struct Gateway {
    pub(crate) store: Store,
    pub(crate) options: ApplyOptions,
    pub(crate) egress: EgressPolicy,
    pub(crate) home: Home,
}

impl Gateway {
    pub(crate) async fn new(home: Home) -> Self {
        let config = StoreConfig {
            data_dir: home.path().join("data"),
            database_url: home.database_url().map(|url| Secret::new(url.to_owned())),
            master_key: None,
            sync: SyncMode::default(),
        };
        let addresses = [("api.example.com", "93.184.215.14"), ("inside.example.com", "10.1.2.3")];
        let table = addresses.map(|(name, ip)| (name.to_owned(), vec![ip.parse().unwrap()]));
        let options = ApplyOptions { resolver: Resolver::Table(BTreeMap::from(table)), ..ApplyOptions::new(NOW) };
        Self { store: Store::open(config).await.unwrap(), options, egress: EgressPolicy::default(), home }
    }

    /// With the example in it.
    pub(crate) async fn with_example(home: Home) -> Self {
        let gateway = Self::new(home).await;
        gateway.apply(EXAMPLE).await.unwrap();
        gateway
    }

    pub(crate) async fn apply(&self, text: &str) -> Result<Report, ApplyError> {
        apply(&self.store, &parse(text)?, &self.options, &self.egress).await
    }

    pub(crate) async fn dry_run(&self, text: &str) -> Result<Report, ApplyError> {
        apply(&self.store, &parse(text)?, &self.options.clone().dry_run(), &self.egress).await
    }

    pub(crate) async fn prune(&self, text: &str) -> Result<Report, ApplyError> {
        apply(&self.store, &parse(text)?, &self.options.clone().prune(), &self.egress).await
    }

    /// The lines of the diff.
    pub(crate) async fn diff(&self, text: &str) -> Vec<String> {
        let report = self.apply(text).await.unwrap();
        report.changes.iter().map(ToString::to_string).collect()
    }

    /// The problems for which a document is refused.
    pub(crate) async fn refused(&self, text: &str) -> Vec<String> {
        match self.apply(text).await {
            Err(ApplyError::Refused(Problems(problems))) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The same database as somebody sees it who has stolen it.
    pub(crate) async fn with_another_master_key(&self) -> Store {
        let config = StoreConfig {
            data_dir: self.store.data_dir().path().to_owned(),
            database_url: self.home.database_url().map(|url| Secret::new(url.to_owned())),
            master_key: Some(Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned())),
            sync: SyncMode::default(),
        };
        Store::open(config).await.unwrap()
    }

    pub(crate) async fn export(&self, secrets: Secrets) -> String {
        export(&self.store, secrets).await.unwrap()
    }

    pub(crate) async fn catalog(&self) -> Catalog {
        Catalog::build(store::load(&self.store).await.unwrap()).unwrap()
    }

    /// All that a catalog is built from, its revision included, to see that nothing changed.
    pub(crate) async fn picture(&self) -> String {
        format!("{:#?}", store::load(&self.store).await.unwrap())
    }
}

pub(crate) fn parse(text: &str) -> Result<Document, Problems> {
    let env = |name: &str| match name {
        "ACME_KEY" => Some("sk-acme-upstream".to_owned()),
        "ANN_PASSWORD" => Some("correct horse battery".to_owned()),
        "LAPTOP_KEY" => Some(LAPTOP_KEY.to_owned()),
        _ => None,
    };
    Document::parse(text, Syntax::Yaml, &Sources { env: &env, folder: PathBuf::from(".") })
}
