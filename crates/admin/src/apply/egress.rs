//! Whether the hosts of base URLs may be dialled.

use domain::egress::{EgressPolicy, Forbidden};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
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

/// Looks every URL up; each host once.
pub(crate) async fn examine<'u>(
    urls: impl Iterator<Item = &'u str>,
    policy: &EgressPolicy,
    resolver: &Resolver,
) -> BTreeMap<&'u str, Dial> {
    let hosts: BTreeMap<&str, Name> = urls.filter_map(|url| Some((url, host(url)?))).collect();
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
    hosts.into_iter().map(|(url, host)| (url, dial(&host))).collect()
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
