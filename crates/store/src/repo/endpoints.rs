//! Provider endpoints.

use super::Entity;
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::{Endpoint, EndpointConfig, HeaderRule, Proxy},
    format::ApiFormat,
    ids::{EndpointId, ProviderId},
    secret::Sealed,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An endpoint's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRow {
    /// The row's id, from [`crate::mint`].
    pub id: EndpointId,
    /// Whose it is.
    pub provider_id: ProviderId,
    /// What it speaks; one endpoint per format and provider.
    pub api_format: ApiFormat,
    /// Where it is.
    pub base_url: String,
    /// Extra headers by lower-case name.
    pub headers: BTreeMap<String, HeaderRule>,
    /// Seconds: silence in a stream, else the whole attempt.
    pub timeout: u32,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Attempts in flight.
    pub max_concurrent: Option<u32>,
    /// Attempts per sliding minute.
    pub rate_limit: Option<u32>,
    /// Off = skipped.
    pub is_active: bool,
    /// Instead of the format's path.
    pub custom_path: Option<String>,
    /// The rest.
    pub config: EndpointConfig,
    /// What it is dialled through.
    pub proxy: Option<Proxy>,
    /// The proxy's password, sealed as [`crate::vault::Column::ProxyPassword`].
    pub proxy_password: Option<Sealed>,
}

impl EndpointRow {
    /// As the catalog holds it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            id: self.id,
            provider_id: self.provider_id,
            api_format: self.api_format,
            base_url: self.base_url.clone(),
            headers: self.headers.clone(),
            timeout_s: self.timeout,
            max_retries: self.max_retries,
            max_concurrent: self.max_concurrent,
            rate_limit: self.rate_limit,
            is_active: self.is_active,
            custom_path: self.custom_path.clone(),
            config: self.config.clone(),
            proxy: self.proxy.clone(),
            proxy_password: self.proxy_password.clone(),
        }
    }
}

impl Entity for EndpointRow {
    const TABLE: &'static str = "provider_endpoints";
    const COLUMNS: &'static [&'static str] = &[
        "provider_id",
        "api_format",
        "base_url",
        "headers",
        "timeout",
        "max_retries",
        "max_concurrent",
        "rate_limit",
        "is_active",
        "custom_path",
        "config",
        "proxy",
        "proxy_password",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        Ok(vec![
            self.provider_id.uuid().into(),
            self.api_format.as_str().into(),
            (&self.base_url).into(),
            Value::json(&self.headers)?,
            self.timeout.into(),
            self.max_retries.into(),
            self.max_concurrent.into(),
            self.rate_limit.into(),
            self.is_active.into(),
            Value::Text(self.custom_path.clone()),
            Value::json(&self.config)?,
            Value::opt_json(self.proxy.as_ref())?,
            self.proxy_password.as_ref().into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            provider_id: row.id("provider_id")?,
            api_format: row.named("api_format")?,
            base_url: row.text("base_url")?,
            headers: row.json("headers")?,
            timeout: row.number("timeout")?,
            max_retries: row.number("max_retries")?,
            max_concurrent: row.opt_number("max_concurrent")?,
            rate_limit: row.opt_number("rate_limit")?,
            is_active: row.flag("is_active")?,
            custom_path: row.opt_text("custom_path")?,
            config: row.json("config")?,
            proxy: row.opt_json("proxy")?,
            proxy_password: row.opt_bytes("proxy_password")?.map(Sealed),
        })
    }
}

/// All endpoints.
pub async fn all(tx: &mut Tx) -> Result<Vec<EndpointRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// Adds an endpoint.
pub async fn insert(tx: &mut Tx, endpoint: &EndpointRow) -> Result<(), DbError> {
    super::insert(tx, endpoint).await
}

/// Writes an endpoint; false if there is none with this id.
pub async fn update(tx: &mut Tx, endpoint: &EndpointRow) -> Result<bool, DbError> {
    super::update(tx, endpoint, &[]).await
}

/// Deletes an endpoint with its keys.
pub async fn delete(tx: &mut Tx, id: EndpointId) -> Result<bool, DbError> {
    const BURY: [&str; 2] = [
        "SELECT id, 'endpoint' AS kind, api_format AS name FROM provider_endpoints WHERE id = $1",
        "SELECT id, 'provider_key' AS kind, name FROM provider_api_keys WHERE endpoint_id = $1",
    ];
    super::delete(tx, EndpointRow::TABLE, id.uuid(), &BURY).await
}
