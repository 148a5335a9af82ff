//! Whether the hosts of base URLs may be dialled.

use super::ApplyError;
use crate::document::{Document, Patch, Problem};
use domain::{
    catalog::Proxy,
    egress::{EgressPolicy, Forbidden, Host, ProxyAddress},
    format::ApiFormat,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use store::{
    Store,
    repo::{endpoints, providers},
};
use tokio::{net::lookup_host, task::JoinSet, time::timeout};

/// How long one name may take to resolve.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that are looked up at a time.
const LOOKUPS: usize = 8;

/// Where names are looked up.
#[derive(Debug, Clone, Default)]
pub enum Resolver {
    /// The system's own way.
    #[default]
    System,
    /// A table; what it does not hold does not resolve.
    Table(BTreeMap<String, Vec<IpAddr>>),
}

/// A host and the port to dial.
type Name = (String, u16);

/// Who resolves a base URL's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// This process.
    Here,
    /// The endpoint's proxy: names are its own to resolve.
    Proxy,
}

impl Way {
    /// The way through a live proxy, or without one.
    pub(crate) fn through(proxy: Option<&Proxy>) -> Self {
        let address = proxy.filter(|proxy| proxy.enabled).map(|proxy| ProxyAddress::parse(&proxy.url));
        match address {
            Some(Ok(address)) if !address.scheme.resolves_here() => Self::Proxy,
            _ => Self::Here,
        }
    }
}

/// What is known of a URL's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dial {
    /// It may be dialled.
    Fine,
    /// The policy does not allow an address of it.
    Forbidden(Forbidden),
    /// It has no address now.
    Unresolved,
}

/// Whether a proxy's own address, where its URL has one, is never dialled.
pub(crate) fn forbidden_proxy(proxy: &Proxy, policy: &EgressPolicy) -> Option<Forbidden> {
    let address = ProxyAddress::parse(&proxy.url).ok()?;
    policy.check_proxy(address.host.parse().ok()?).err()
}

/// What is wrong with the addresses that a document would have dialled, and what may be. A proxy or a base URL that it does
/// not name is the stored one.
pub(crate) async fn check_document(
    store: &Store,
    document: &Document,
    policy: &EgressPolicy,
    resolver: &Resolver,
) -> Result<(Vec<Problem>, Vec<String>), ApplyError> {
    let stored = stored(store).await?;
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut dialled = Vec::new();
    for provider in &document.providers {
        for endpoint in &provider.endpoints {
            let known = stored.get(&(provider.name.clone(), endpoint.api_format));
            let proxy = match &endpoint.proxy {
                Patch::Absent => known.and_then(|(_, proxy)| proxy.as_ref()),
                Patch::Null => None,
                Patch::Set(doc) => {
                    if let Some(why) = forbidden_proxy(&doc.proxy, policy) {
                        problems.push(endpoint.at.field_problem("proxy", why.to_string()));
                    }
                    Some(&doc.proxy)
                }
            };
            let url = match (&endpoint.base_url, &endpoint.proxy) {
                (Some(url), _) => Some((url.as_str(), "base_url")),
                (None, Patch::Absent) => None,
                (None, _) => known.map(|(url, _)| (url.as_str(), "proxy")),
            };
            if let Some((url, field)) = url {
                dialled.push((url, Way::through(proxy), &endpoint.at, field));
            }
        }
    }
    let dials = examine(dialled.iter().map(|(url, way, ..)| (*url, *way)), policy, resolver).await;
    for (url, way, at, field) in dialled {
        match dials.get(&(url, way)) {
            Some(Dial::Forbidden(why)) => problems.push(at.field_problem(field, why.to_string())),
            Some(Dial::Unresolved) => warnings.push(format!("the host of {url} does not resolve now")),
            Some(Dial::Fine) | None => {}
        }
    }
    Ok((problems, warnings))
}

/// Base URL and proxy of every stored endpoint, by provider's name and format.
type Known = BTreeMap<(String, ApiFormat), (String, Option<Proxy>)>;

async fn stored(store: &Store) -> Result<Known, ApplyError> {
    let mut tx = store.db().read().await?;
    let names: BTreeMap<_, _> = providers::all(&mut tx).await?.into_iter().map(|row| (row.id, row.name)).collect();
    let rows = endpoints::all(&mut tx).await?.into_iter();
    let named = rows.filter_map(|row| Some(((names.get(&row.provider_id)?.clone(), row.api_format), row)));
    Ok(named.map(|(name, row)| (name, (row.base_url, row.proxy))).collect())
}

/// Looks every URL up; each host once.
pub(crate) async fn examine<'u>(
    urls: impl Iterator<Item = (&'u str, Way)>,
    policy: &EgressPolicy,
    resolver: &Resolver,
) -> BTreeMap<(&'u str, Way), Dial> {
    let mut examined = BTreeMap::new();
    let mut hosts: BTreeMap<&str, Name> = BTreeMap::new();
    for (url, way) in urls {
        let Some(name) = host(url) else { continue };
        match (way, Host::parse(&name.0)) {
            (Way::Proxy, Ok(host)) => {
                let dial = policy.check_unresolved(&host).map_or_else(Dial::Forbidden, |()| Dial::Fine);
                examined.insert((url, way), dial);
            }
            (Way::Here, _) | (_, Err(_)) => drop(hosts.insert(url, name)),
        }
    }
    let mut known: BTreeMap<Name, Dial> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (host, port) in hosts.values() {
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                known.insert((host.clone(), *port), judge(&[ip], policy));
            }
            Err(_) => {
                names.insert((host.clone(), *port));
            }
        }
    }
    for (name, addresses) in look_up(names, resolver).await {
        known.insert(name, judge(&addresses, policy));
    }
    let dial = |host: &Name| known.get(host).cloned().unwrap_or(Dial::Unresolved);
    examined.extend(hosts.into_iter().map(|(url, host)| ((url, Way::Here), dial(&host))));
    examined
}

fn judge(addresses: &[IpAddr], policy: &EgressPolicy) -> Dial {
    if addresses.is_empty() {
        return Dial::Unresolved;
    }
    // One address outside the policy is enough: which of them is dialled is chance.
    let forbidden = addresses.iter().find_map(|ip| policy.check(*ip).err());
    forbidden.map_or(Dial::Fine, Dial::Forbidden)
}

/// Host and port; addresses of IPv6 without their brackets.
fn host(url: &str) -> Option<Name> {
    let uri: http::Uri = url.parse().ok()?;
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), uri.port_u16().unwrap_or(default)))
}

async fn look_up(names: BTreeSet<Name>, resolver: &Resolver) -> Vec<(Name, Vec<IpAddr>)> {
    if let Resolver::Table(table) = resolver {
        let found = |name: &Name| table.get(&name.0).cloned().unwrap_or_default();
        return names.into_iter().map(|name| (name.clone(), found(&name))).collect();
    }
    let mut waiting = names.into_iter();
    // Dropping the set ends what is left in it.
    let mut running = JoinSet::new();
    let mut all = Vec::new();
    loop {
        while running.len() < LOOKUPS
            && let Some(name) = waiting.next()
        {
            running.spawn(async move {
                let addresses = system(&name).await;
                (name, addresses)
            });
        }
        match running.join_next().await {
            None => return all,
            Some(done) => all.extend(done),
        }
    }
}

async fn system((host, port): &Name) -> Vec<IpAddr> {
    match timeout(LOOKUP_TIMEOUT, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
