//! What is wrong, or odd, with a catalog: the document's, else the database's.

use crate::{
    apply::{ApplyError, ApplyOptions, Dial, Names, Report, State, Way, examine, forbidden_proxy, outcome},
    document::Document,
    export::unnamed,
};
use domain::{
    catalog::{Access, Catalog, Endpoint, Route},
    egress::EgressPolicy,
    money::NanoUsd,
    ports::Keyring as _,
    secret::Secret,
};
use std::{collections::HashSet, fmt};
use store::{Store, repo::endpoints::EndpointRow, vault::Column};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something will not work.
    Error,
    /// Something may not be meant.
    Warning,
}

/// One thing worth knowing about a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about, such as `endpoint acme/CLAUDE`.
    pub about: String,
    /// What there is to say.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        write!(f, "{level}: {}: {}", self.about, self.message)
    }
}

/// A catalog that was checked; nothing was written.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Errors first.
    pub findings: Vec<Finding>,
    /// What the document would change; its warnings are among the findings.
    pub report: Option<Report>,
    /// Active endpoints by name, with the passwords of their proxies: for whoever wants to reach them.
    pub endpoints: Vec<(String, Endpoint, Option<Secret>)>,
}

impl Checked {
    /// Whether anything will not work.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }
}

/// Checks what `document` would make of the catalog, or without one the catalog of the database.
///
/// A document that would be refused is an error; what is only found in the catalog is a finding.
pub async fn check(
    store: &Store,
    document: Option<&Document>,
    options: &ApplyOptions,
    egress: &EgressPolicy,
) -> Result<Checked, ApplyError> {
    let mut findings = Findings(Vec::new());
    let (report, state) = match document {
        Some(document) => {
            let (mut report, state) = outcome(store, document, &options.clone().dry_run(), egress).await?;
            for warning in report.warnings.drain(..) {
                findings.warning("document".to_owned(), warning);
            }
            (Some(report), state)
        }
        None => (None, State::read(&mut store.db().read().await?).await?),
    };
    let told: HashSet<_> = document.iter().flat_map(|document| document.base_urls()).map(|(url, _)| url).collect();
    let catalog = state.catalog()?;
    let names = Names::of(&state);
    findings.settings(&state);
    findings.secrets(&state, &names, store);
    for problem in unnamed(&state, &names) {
        findings.warning("catalog".to_owned(), problem);
    }
    findings.models(&state, &catalog, options.now_us);
    findings.upstream(&state, &names, options.now_us);
    findings.people(&state, &names, options.now_us);

    let endpoints: Vec<_> = state.endpoints.rows().filter(|endpoint| is_on(&catalog, endpoint)).collect();
    let urls = endpoints.iter().map(|endpoint| (endpoint.base_url.as_str(), Way::through(endpoint.proxy.as_ref())));
    let dials = examine(urls.clone(), egress, &options.resolver).await;
    for (endpoint, dialled) in endpoints.iter().zip(urls) {
        let about = format!("endpoint {}", names.endpoint(endpoint.id));
        let proxy = endpoint.proxy.as_ref().filter(|proxy| proxy.enabled);
        if let Some(why) = proxy.and_then(|proxy| forbidden_proxy(proxy, egress)) {
            findings.error(about.clone(), format!("its proxy: {why}"));
        }
        match dials.get(&dialled) {
            Some(Dial::Forbidden(why)) => findings.error(about, why.to_string()),
            Some(Dial::Unresolved) if !told.contains(endpoint.base_url.as_str()) => {
                findings.warning(about, format!("the host of {} does not resolve now", endpoint.base_url));
            }
            Some(Dial::Fine | Dial::Unresolved) | None => {}
        }
    }
    findings.0.sort_by_key(|finding| finding.level);
    let reached = endpoints.iter().map(|row| {
        // What does not open is a finding already.
        let password = store.vault().proxy_password(&row.endpoint()).ok().flatten();
        (names.endpoint(row.id), row.endpoint(), password)
    });
    Ok(Checked { findings: findings.0, report, endpoints: reached.collect() })
}

fn is_on(catalog: &Catalog, endpoint: &EndpointRow) -> bool {
    endpoint.is_active && catalog.provider(endpoint.provider_id).is_some_and(|provider| provider.is_active)
}

/// Whether a route could serve at all, whoever asks.
fn is_usable(route: &Route, now_us: i64) -> bool {
    let is_past = |date: Option<i64>| date.is_some_and(|date| date <= now_us);
    let Route { provider, model, endpoint, key } = route;
    provider.is_active
        && endpoint.is_active
        && key.is_active
        && model.is_active
        && model.is_available
        && !is_past(provider.quota_expires_at)
        && !is_past(key.expires_at)
        && provider.rpm_limit != Some(0)
}

const CANNOT_OPEN: &str = "cannot be opened with this master key";

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, about: String, message: impl Into<String>) {
        self.0.push(Finding { level: Level::Error, about, message: message.into() });
    }

    fn warning(&mut self, about: String, message: impl Into<String>) {
        self.0.push(Finding { level: Level::Warning, about, message: message.into() });
    }

    fn settings(&mut self, state: &State) {
        let zone = &state.settings.timezone;
        if jiff::tz::TimeZone::get(zone).is_err() {
            self.error("setting timezone".to_owned(), format!("the time zone {zone} is not known here"));
        }
    }

    fn secrets(&mut self, state: &State, names: &Names, store: &Store) {
        if store.vault().is_being_rotated() {
            let message = "its rotation was interrupted; run tollgate vault rotate again";
            self.warning("master key".to_owned(), message);
        }
        for key in state.provider_keys.rows() {
            if store.vault().unseal(Column::ProviderKey, key.id.uuid(), &key.api_key).is_err() {
                let about = format!("provider key {}/{}", names.endpoint(key.endpoint_id), key.name);
                self.error(about, CANNOT_OPEN);
            }
        }
        for row in state.endpoints.rows() {
            if store.vault().proxy_password(&row.endpoint()).is_err() {
                self.error(format!("the proxy of endpoint {}", names.endpoint(row.id)), CANNOT_OPEN);
            }
        }
        for key in state.client_keys.rows() {
            let sealed = key.row.key_encrypted.as_ref();
            let opens = |sealed| store.vault().unseal(Column::ClientKey, key.row.id.uuid(), sealed).is_ok();
            if !sealed.is_none_or(opens) {
                // It is found by its hash: only showing it again does not work.
                self.warning(format!("api key {}", names.client_key(&key.row)), CANNOT_OPEN);
            }
        }
    }

    fn models(&mut self, state: &State, catalog: &Catalog, now_us: i64) {
        for row in state.global_models.rows().filter(|row| row.is_active) {
            let about = || format!("global model {}", row.name);
            let has_request_price = row.default_price_per_request.is_some_and(|price| price > NanoUsd::ZERO);
            match row.default_tiered_pricing.as_ref().map(|tiers| tiers.validate(row.is_free, has_request_price)) {
                None => self.error(about(), "is active without prices"),
                Some(Err(invalid)) => self.error(about(), invalid.to_string()),
                Some(Ok(())) => {}
            }
            let routes = catalog.routes(row.id);
            if routes.is_empty() {
                self.warning(about(), "no provider with an endpoint and a key serves it");
            } else if !routes.iter().any(|route| is_usable(route, now_us)) {
                self.warning(about(), "every way to serve it is switched off or past its date");
            }
        }
    }

    fn upstream(&mut self, state: &State, names: &Names, now_us: i64) {
        let with_endpoint: HashSet<_> = state.endpoints.rows().map(|endpoint| endpoint.provider_id).collect();
        let with_model: HashSet<_> = state.models.rows().map(|model| model.provider_id).collect();
        let with_key: HashSet<_> = state.provider_keys.rows().map(|key| key.endpoint_id).collect();
        for provider in state.providers.rows().filter(|provider| provider.is_active) {
            let about = || format!("provider {}", provider.name);
            if !with_endpoint.contains(&provider.id) {
                self.warning(about(), "has no endpoint");
            }
            if !with_model.contains(&provider.id) {
                self.warning(about(), "serves no model");
            }
            if provider.quota_expires_at.is_some_and(|date| date <= now_us) {
                self.warning(about(), "is skipped: its quota_expires_at is past");
            }
        }
        for endpoint in state.endpoints.rows().filter(|row| row.is_active && !with_key.contains(&row.id)) {
            self.warning(format!("endpoint {}", names.endpoint(endpoint.id)), "has no key");
        }
        for key in state.provider_keys.rows() {
            let about = || format!("provider key {}/{}", names.endpoint(key.endpoint_id), key.name);
            if key.is_active && key.expires_at.is_some_and(|date| date <= now_us) {
                self.warning(about(), "is skipped: its expires_at is past");
            }
        }
    }

    fn people(&mut self, state: &State, names: &Names, now_us: i64) {
        for person in state.users.rows() {
            self.access(&format!("user {}", person.row.username), &person.row.access, names);
        }
        let inactive = state.users.rows().filter(|person| !person.row.is_active);
        let inactive: HashSet<_> = inactive.map(|person| person.row.id).collect();
        for key in state.client_keys.rows() {
            let row = &key.row;
            let about = format!("api key {}", names.client_key(row));
            self.access(&about, &row.access, names);
            if !row.is_active {
                continue;
            }
            if row.user_id.is_some_and(|owner| inactive.contains(&owner)) {
                self.warning(about.clone(), "is refused: its owner is not active");
            }
            if row.expires_at.is_some_and(|date| date <= now_us) {
                self.warning(about, "is refused: its expires_at is past");
            }
        }
    }

    /// What an `allowed_*` list still names and is gone allows nothing.
    fn access(&mut self, about: &str, access: &Access, names: &Names) {
        for id in access.providers.iter().flatten().filter(|id| !names.has_provider(**id)) {
            self.warning(about.to_owned(), format!("allowed_providers names {id}, which does not exist"));
        }
        for id in access.endpoints.iter().flatten().filter(|id| !names.has_endpoint(**id)) {
            self.warning(about.to_owned(), format!("allowed_endpoints names {id}, which does not exist"));
        }
        for name in access.models.iter().flatten().filter(|name| !names.has_global_model(name)) {
            self.warning(about.to_owned(), format!("allowed_models names {name}, which does not exist"));
        }
    }
}
