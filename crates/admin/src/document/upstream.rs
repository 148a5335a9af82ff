//! Providers, their endpoints and keys.

use super::{
    ModelDoc, Patch, Place, Reference,
    models::capability_switches,
    read::Reader,
    secrets::secret,
    tree::{Entry, Node, Value},
    values::{boolean, decimal, instant, integer, limit, name, nothing, prose, provider_name, text, url},
};
use domain::{
    catalog::{Capabilities, EndpointConfig, HeaderMode, HeaderRule, Proxy},
    egress::ProxyAddress,
    format::{ApiFormat, BillingType},
    money::{Factor, NanoUsd},
    secret::Secret,
};
use std::collections::BTreeMap;

/// An upstream company or account group.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct ProviderDoc {
    /// Where it stands.
    pub at: Place,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Patch<String>,
    pub website: Patch<String>,
    pub billing_type: Option<BillingType>,
    pub monthly_quota_usd: Patch<NanoUsd>,
    pub quota_reset_day: Option<u32>,
    pub quota_last_reset_at: Patch<i64>,
    pub rpm_limit: Patch<u32>,
    pub provider_priority: Option<i32>,
    pub is_active: Option<bool>,
    pub quota_expires_at: Patch<i64>,
    pub rate_limit: Patch<u32>,
    pub concurrent_limit: Patch<u32>,
    pub endpoints: Vec<EndpointDoc>,
    pub models: Vec<ModelDoc>,
}

impl ProviderDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let doc = Self {
            at: fields.place(),
            name: fields.need("name", provider_name).unwrap_or_default(),
            display_name: fields.keep("display_name", text(100)),
            description: fields.patch("description", prose(2_000)),
            website: fields.patch("website", url(500, &["https", "http"])),
            billing_type: fields.keep("billing_type", name),
            monthly_quota_usd: fields.patch("monthly_quota_usd", amount),
            quota_reset_day: fields.keep("quota_reset_day", integer(1..=3_660)),
            quota_last_reset_at: fields.patch("quota_last_reset_at", instant),
            rpm_limit: fields.patch("rpm_limit", limit),
            provider_priority: fields.keep("provider_priority", integer(i32::MIN..=i32::MAX)),
            is_active: fields.keep("is_active", boolean),
            quota_expires_at: fields.patch("quota_expires_at", instant),
            rate_limit: fields.patch("rate_limit", limit),
            concurrent_limit: fields.patch("concurrent_limit", limit),
            endpoints: fields.list("endpoints", EndpointDoc::read),
            models: fields.list("models", ModelDoc::read),
        };
        fields.patch("config", nothing);
        fields.finish();
        Some(doc)
    }
}

/// One base URL for one format.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct EndpointDoc {
    /// Where it stands.
    pub at: Place,
    pub api_format: ApiFormat,
    pub base_url: Option<String>,
    pub headers: Patch<BTreeMap<String, HeaderRule>>,
    /// Seconds.
    pub timeout: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_concurrent: Patch<u32>,
    pub rate_limit: Patch<u32>,
    pub is_active: Option<bool>,
    pub custom_path: Patch<String>,
    pub config: Patch<EndpointConfig>,
    pub proxy: Patch<ProxyDoc>,
    pub keys: Vec<ProviderKeyDoc>,
}

impl EndpointDoc {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let api_format = fields.need("api_format", name);
        let at = fields.place();
        let base_url = fields.keep("base_url", url(500, &["https", "http"]));
        let headers = fields.patch_with("headers", headers);
        let timeout = fields.keep("timeout", integer(10..=3_600));
        let max_retries = fields.keep("max_retries", integer(0..=10));
        let max_concurrent = fields.patch("max_concurrent", limit);
        let rate_limit = fields.patch("rate_limit", limit);
        let is_active = fields.keep("is_active", boolean);
        let custom_path = fields.patch("custom_path", custom_path);
        let config = fields.patch_with("config", config);
        let proxy = fields.patch_with("proxy", ProxyDoc::read);
        let keys = fields.list("keys", ProviderKeyDoc::read);
        fields.finish();
        Some(Self {
            at,
            api_format: api_format?,
            base_url,
            headers,
            timeout,
            max_retries,
            max_concurrent,
            rate_limit,
            is_active,
            custom_path,
            config,
            proxy,
            keys,
        })
    }
}

/// What an endpoint is dialled through.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct ProxyDoc {
    pub proxy: Proxy,
    /// Absent keeps the stored one.
    pub password: Option<Secret>,
}

impl ProxyDoc {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let url = fields.need("url", proxy_url);
        let username = fields.keep("username", text(255));
        let password = fields.keep_with("password", secret);
        let enabled = fields.keep("enabled", boolean).unwrap_or(true);
        // SOCKS5 has a byte for the length of each (RFC 1929).
        if username.as_ref().is_some_and(|name| name.len() > 255) {
            fields.problem("username", "must have at most 255 bytes");
        }
        if password.as_ref().is_some_and(|password| password.expose().len() > 255) {
            fields.problem("password", "must have at most 255 bytes");
        }
        if username.as_ref().is_some_and(|name| name.contains(':')) {
            fields.problem("username", "must not hold a colon");
        }
        if password.is_some() && username.is_none() {
            fields.problem("password", "has no meaning without username");
        }
        fields.finish();
        Some(Self { proxy: Proxy { url: url?, username, enabled }, password })
    }
}

fn proxy_url(node: &Node) -> Result<String, String> {
    let url = text(500)(node)?;
    ProxyAddress::parse(&url).map_err(|bad| bad.to_string())?;
    Ok(url)
}

/// A credential of an endpoint.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct ProviderKeyDoc {
    /// Where it stands.
    pub at: Place,
    pub name: String,
    pub api_key: Option<Secret>,
    pub note: Patch<String>,
    pub rate_multiplier: Option<Factor>,
    pub internal_priority: Option<i32>,
    pub global_priority: Patch<i32>,
    pub max_concurrent: Patch<u32>,
    pub rate_limit: Patch<u32>,
    pub daily_limit: Patch<u32>,
    pub monthly_limit: Patch<u32>,
    pub allowed_models: Patch<Vec<Reference>>,
    pub capabilities: Patch<Capabilities>,
    pub cache_ttl_minutes: Option<u32>,
    pub max_probe_interval_minutes: Option<u32>,
    pub is_active: Option<bool>,
    pub expires_at: Patch<i64>,
}

impl ProviderKeyDoc {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let doc = Self {
            at: fields.place(),
            name: fields.need("name", text(100)).unwrap_or_default(),
            api_key: fields.keep_with("api_key", secret),
            note: fields.patch("note", prose(500)),
            rate_multiplier: fields.keep("rate_multiplier", decimal),
            internal_priority: fields.keep("internal_priority", integer(i32::MIN..=i32::MAX)),
            global_priority: fields.patch("global_priority", integer(i32::MIN..=i32::MAX)),
            max_concurrent: fields.patch("max_concurrent", limit),
            rate_limit: fields.patch("rate_limit", limit),
            daily_limit: fields.patch("daily_limit", limit),
            monthly_limit: fields.patch("monthly_limit", limit),
            allowed_models: fields.patch_with("allowed_models", references),
            capabilities: fields.patch_with("capabilities", capability_switches),
            cache_ttl_minutes: fields.keep("cache_ttl_minutes", integer(0..=10_080)),
            max_probe_interval_minutes: fields.keep("max_probe_interval_minutes", integer(1..=1_440)),
            is_active: fields.keep("is_active", boolean),
            expires_at: fields.patch("expires_at", instant),
        };
        fields.finish();
        Some(doc)
    }
}

/// A list of names that refer to something.
pub(super) fn references(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Reference>> {
    reader.items(node, reference)
}

/// One of them.
pub(super) fn reference(reader: &mut Reader<'_>, node: &Node) -> Option<Reference> {
    let name = reader.value(node, text(300))?;
    Some(Reference { name, at: reader.place(node.line) })
}

/// An amount of money that is not negative.
pub(super) fn amount(node: &Node) -> Result<NanoUsd, String> {
    let amount: NanoUsd = decimal(node)?;
    if amount < NanoUsd::ZERO { Err("must not be negative".to_owned()) } else { Ok(amount) }
}

fn custom_path(node: &Node) -> Result<String, String> {
    let path = text(200)(node)?;
    let rest = path.replace("{model}", "").replace("{action}", "");
    if !path.starts_with('/') || rest.contains(['{', '}', '#', ' ']) {
        return Err("must begin with / and may hold {model} and {action}".to_owned());
    }
    Ok(path)
}

/// Extra headers by lower-case name; a plain value has mode `default`.
fn headers(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<String, HeaderRule>> {
    let rules = reader.entries(node, |reader, entry: &Entry| {
        let name = reader.value(&entry.value, |_| header_name(&entry.key));
        let rule = if let Value::Map(_) = &entry.value.value {
            header_rule(reader, &entry.value)
        } else {
            let value = reader.value(&entry.value, header_value);
            value.map(|value| HeaderRule { value, mode: HeaderMode::Default })
        };
        Some((name?, rule?, entry.value.line))
    })?;
    let mut headers = BTreeMap::new();
    for (name, rule, line) in rules {
        if headers.contains_key(&name) {
            reader.problem(line, format!("the header {name} is there twice"));
        }
        headers.insert(name, rule);
    }
    Some(headers)
}

fn header_rule(reader: &mut Reader<'_>, node: &Node) -> Option<HeaderRule> {
    let mut fields = reader.fields(node)?;
    let value = fields.keep("value", header_value);
    let mode = fields.keep("mode", |node| match &node.value {
        Value::Text(mode) if mode == "default" => Ok(HeaderMode::Default),
        Value::Text(mode) if mode == "override" => Ok(HeaderMode::Override),
        Value::Text(mode) if mode == "remove" => Ok(HeaderMode::Remove),
        _ => Err("expected one of default, override, remove".to_owned()),
    });
    let mode = mode.unwrap_or_default();
    match (mode, &value) {
        (HeaderMode::Remove, Some(_)) => fields.problem("value", "has no meaning with mode remove"),
        (HeaderMode::Default | HeaderMode::Override, None) => fields.problem("value", "is required"),
        _ => {}
    }
    fields.finish();
    Some(HeaderRule { value: value.unwrap_or_default(), mode })
}

fn header_name(name: &str) -> Result<String, String> {
    /// Set by the connection itself.
    const OURS: [&str; 7] =
        ["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];
    let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is no header name".to_owned())?;
    if OURS.contains(&name.as_str()) {
        return Err("belongs to the connection and cannot be set".to_owned());
    }
    Ok(name.as_str().to_owned())
}

fn header_value(node: &Node) -> Result<String, String> {
    let value = text(4_000)(node)?;
    http::HeaderValue::from_str(&value).map_err(|_| "is no header value".to_owned())?;
    Ok(value)
}

fn config(reader: &mut Reader<'_>, node: &Node) -> Option<EndpointConfig> {
    let mut fields = reader.fields(node)?;
    let strip = fields
        .patch_with("strip_params", |reader, node| reader.items(node, |reader, item| reader.value(item, text(100))));
    let config = EndpointConfig {
        first_event_timeout_s: fields.patch("first_event_timeout_s", integer(1..=3_600)).into(),
        http2: fields.patch("http2", boolean).into(),
        accepts_conversion: fields.patch("accepts_conversion", boolean).into(),
        conversion_loss: fields.patch("conversion_loss", name).into(),
        include_usage: fields.patch("include_usage", boolean).into(),
        max_tokens_field: fields.patch("max_tokens_field", text(100)).into(),
        strip_params: Option::from(strip).unwrap_or_default(),
        azure_deployment: fields.patch("azure_deployment", text(200)).into(),
    };
    fields.finish();
    Some(config)
}
