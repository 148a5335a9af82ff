//! Checked settings: what was text is an address, a time, a size.

use super::{
    Problem, Problems,
    layers::{Layers, Origin},
    raw::Raw,
    units,
};
use domain::{egress::EgressPolicy, secret::Secret};
use http::{HeaderValue, Uri};
use ipnet::IpNet;
use relay::{Bounds, upstream::ClientOptions};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use store::{DatabaseUrl, StoreConfig, SyncMode};
use tracing::level_filters::LevelFilter;

/// How long a request's body may take to arrive.
const BODY_READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest setting of a time.
const LONGEST: Duration = Duration::from_hours(24);
/// Most candidates per request.
const CANDIDATES_MAX: u64 = 100;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Text on a terminal, else JSON.
    Auto,
}

/// The files that TLS is spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The settings of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The API for clients.
    pub listen: SocketAddr,
    /// The operators' listener.
    pub admin_listen: Option<SocketAddr>,
    /// What listeners speak TLS with; without it they speak in the clear.
    pub tls: Option<TlsFiles>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether the data directory was named by a flag or in the environment.
    pub data_dir_named: bool,
    /// The database, if it is not the embedded one in the data directory.
    pub database_url: Option<Secret>,
    /// Base64 of 32 bytes, if it is not in a file of the data directory.
    pub master_key: Option<Secret>,
    /// What an acknowledgement of the journal means.
    pub journal_sync: SyncMode,
    /// Which addresses may be dialled.
    pub egress: EgressPolicy,
    /// Whether nobody said which.
    pub egress_is_default: bool,
    /// Authorities that are trusted beside those of the web.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Bounds of requests.
    pub bounds: Bounds,
    /// Origins of pages that may call the API for clients.
    pub cors_origins: Vec<HeaderValue>,
    /// What minted client keys begin with.
    pub client_key_prefix: String,
    /// How long open answers may take to end.
    pub shutdown_grace: Duration,
    /// The least level that is logged.
    pub log_level: LevelFilter,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Config {
    /// What a store is opened with.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            master_key: self.master_key.clone(),
            sync: self.journal_sync,
        }
    }

    /// What upstreams are dialled with.
    pub fn upstream(&self) -> ClientOptions {
        ClientOptions { egress: self.egress.clone(), in_process: Vec::new(), authorities: self.authorities.clone() }
    }
}

/// Notes problems, so that all are told at once.
struct Checker<'l> {
    layers: &'l Layers,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn ok<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        let note = |message| Problem { origin: self.layers.origin(key).to_string(), key: key.to_owned(), message };
        result.map_err(|message| self.problems.push(note(message))).ok()
    }

    fn all<T>(&mut self, key: &str, texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        texts.iter().filter_map(|text| self.ok(key, parse(text))).collect()
    }

    fn within<T: TryFrom<u64>>(&mut self, key: &str, number: u64, least: u64, most: u64) -> Option<T> {
        let refused = || format!("must be from {least} to {most}, found {number}");
        let fits = (least..=most).contains(&number);
        self.ok(key, T::try_from(number).ok().filter(|_| fits).ok_or_else(refused))
    }
}

pub(super) fn resolve(raw: Raw, master_key: Option<&String>, layers: &Layers) -> Result<Config, Problems> {
    let mut check = Checker { layers, problems: Vec::new() };
    let listen = check.ok("listen", address(&raw.listen));
    let admin_listen = raw.admin.listen.as_deref().and_then(|text| check.ok("admin.listen", address(text)));
    let tls = tls_files(&mut check, raw.tls.cert.as_deref(), raw.tls.key.as_deref());
    let data_dir = check.ok("data_dir", path(&raw.data_dir));
    let database_url = raw.database.url.and_then(|text| check.ok("database.url", database(text)));
    let trusted_proxies = check.all("trusted_proxies", &raw.trusted_proxies, network);
    let allow = raw.egress.allow.map(|texts| check.all("egress.allow", &texts, network));
    let authorities = raw.egress.ca.and_then(|path| check.ok("egress.ca", certificates(&path))).unwrap_or_default();
    let cors_origins = check.all("cors.origins", &raw.cors.origins, web_origin);
    let max_request_bytes = check.within("max_request_bytes", raw.max_request_bytes, 1, u64::from(u32::MAX));
    let max_response_bytes = check.within("max_response_bytes", raw.max_response_bytes, 1, i64::MAX.unsigned_abs());
    let request_budget = check.ok("memory.request_budget", budget(&raw.memory.request_budget, raw.max_request_bytes));
    let total_timeout_s = check.within("total_timeout_s", raw.total_timeout_s, 1, LONGEST.as_secs());
    let max_candidates = check.within("max_candidates", raw.max_candidates, 1, CANDIDATES_MAX);
    let prefix = check.ok("client_key_prefix", key_prefix(raw.client_key_prefix));
    let journal_sync = check.ok("journal.sync", raw.journal.sync.parse().map_err(str::to_owned));
    let queue_wait = check.ok("queue.max_wait", time(&raw.queue.max_wait));
    let first_rest = check.ok("breaker.first_rest", time(&raw.breaker.first_rest));
    let grace = check.ok("shutdown.grace", time(&raw.shutdown.grace));
    let log_level = check.ok("log.level", level(&raw.log.level));
    let log_format = check.ok("log.format", format(&raw.log.format));

    let config = || {
        let listen = listen?;
        let on_loopback = [Some(listen), admin_listen].iter().flatten().all(|address| address.ip().is_loopback());
        let egress_is_default = allow.is_none();
        let allow = allow.unwrap_or_else(|| if on_loopback { loopback() } else { Vec::new() });
        Some(Config {
            listen,
            admin_listen,
            tls,
            data_dir: data_dir?,
            data_dir_named: matches!(layers.origin("data_dir"), Origin::Environment(_) | Origin::Flag(_)),
            database_url,
            master_key: master_key.map(|text| Secret::new(text.clone())),
            journal_sync: journal_sync?,
            egress: EgressPolicy::new(allow),
            egress_is_default,
            authorities,
            bounds: Bounds {
                max_request_bytes: max_request_bytes?,
                max_response_bytes: max_response_bytes?,
                request_budget: request_budget?,
                body_read_timeout: BODY_READ_TIMEOUT,
                total_timeout: Duration::from_secs(total_timeout_s?),
                max_candidates: max_candidates?,
                queue_wait: queue_wait?,
                first_rest: first_rest?,
                trusted_proxies,
            },
            cors_origins,
            client_key_prefix: prefix?,
            shutdown_grace: grace?,
            log_level: log_level?,
            log_format: log_format?,
        })
    };
    config().filter(|_| check.problems.is_empty()).ok_or(Problems(check.problems))
}

fn loopback() -> Vec<IpNet> {
    let v4 = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
    let v6 = IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
    [v4, v6].into_iter().flatten().collect()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("expected an address and a port such as 127.0.0.1:8088, found {text:?}"))
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("expected a path, found nothing".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// Both or neither.
fn tls_files(check: &mut Checker<'_>, cert: Option<&str>, key: Option<&str>) -> Option<TlsFiles> {
    let alone = |other: &str| Err(format!("needs {other}, which is not set"));
    match (cert, key) {
        (None, None) => None,
        (Some(_), None) => check.ok("tls.cert", alone("tls.key")),
        (None, Some(_)) => check.ok("tls.key", alone("tls.cert")),
        (Some(cert), Some(key)) => {
            let (cert, key) = (check.ok("tls.cert", path(cert)), check.ok("tls.key", path(key)));
            Some(TlsFiles { cert: cert?, key: key? })
        }
    }
}

/// The text is not repeated: it may hold a password.
fn database(text: String) -> Result<Secret, String> {
    text.parse::<DatabaseUrl>().map_err(|bad| bad.to_string())?;
    Ok(Secret::new(text))
}

/// At least one, each of which could be an authority's.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("{path}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{path} holds no certificate"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(certificates)
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("expected a network such as 10.0.0.0/8, found {text:?}"))
}

/// `*`, or scheme and host as browsers send them.
fn web_origin(text: &str) -> Result<HeaderValue, String> {
    let refused = || format!("expected an origin such as https://chat.example.com, or *, found {text:?}");
    let is_origin = || {
        let uri: Uri = text.parse().ok()?;
        (text == format!("{}://{}", uri.scheme_str()?, uri.authority()?)).then_some(())
    };
    if text != "*" {
        is_origin().ok_or_else(refused)?;
    }
    HeaderValue::from_str(text).map_err(|_| refused())
}

fn budget(text: &str, max_request_bytes: u64) -> Result<usize, String> {
    let bytes = units::size(text)?;
    if bytes < max_request_bytes {
        return Err(format!("less than max_request_bytes, {max_request_bytes}: the largest body could never be read"));
    }
    usize::try_from(bytes).map_err(|_| format!("too large: {text:?}"))
}

fn key_prefix(text: String) -> Result<String, String> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if (1..=16).contains(&text.len()) && is_plain {
        Ok(text)
    } else {
        Err(format!("expected 1 to 16 letters, digits, hyphens and underscores, found {text:?}"))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    units::duration(text).and_then(|time| if time <= LONGEST { Ok(time) } else { Err("longer than 24h".to_owned()) })
}

fn level(text: &str) -> Result<LevelFilter, String> {
    Ok(match text {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(format!("expected one of error, warn, info, debug, trace, off, found {text:?}")),
    })
}

fn format(text: &str) -> Result<LogFormat, String> {
    Ok(match text {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        "auto" => LogFormat::Auto,
        _ => return Err(format!("expected one of text, json, auto, found {text:?}")),
    })
}
