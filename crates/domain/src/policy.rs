//! Who may use what: restrictions of a user and of a client key, combined by intersection.

use crate::{
    catalog::{Access, ClientKey, GlobalModel, User},
    fault::{Fault, Kind},
    format::{ApiFormat, Capability},
    ids::{EndpointId, ProviderId},
};
use std::{collections::BTreeMap, net::IpAddr};

impl Access {
    /// Whether this level lets the provider serve.
    pub fn allows_provider(&self, id: ProviderId) -> bool {
        self.providers.as_ref().is_none_or(|list| list.contains(&id))
    }

    /// Whether this level lets the endpoint serve.
    pub fn allows_endpoint(&self, id: EndpointId) -> bool {
        self.endpoints.as_ref().is_none_or(|list| list.contains(&id))
    }

    /// Whether this level lets the caller speak this format; formats are compared exactly.
    pub fn allows_format(&self, format: ApiFormat) -> bool {
        self.api_formats.as_ref().is_none_or(|list| list.contains(&format))
    }

    /// Whether this level lets the caller use the model.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|list| list.iter().any(|allowed| allowed == name))
    }
}

/// Why a known client key counts for nothing; clients see one and the same 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// The owner is switched off.
    OwnerInactive,
    /// The owner switched the key off.
    Inactive,
    /// An admin locked it.
    Locked,
    /// Its date is past.
    Expired,
    /// It may not be used from this address.
    Address,
}

impl KeyRefusal {
    /// A stable word for records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OwnerInactive => "owner_inactive",
            Self::Inactive => "key_inactive",
            Self::Locked => "key_locked",
            Self::Expired => "key_expired",
            Self::Address => "address_not_allowed",
        }
    }
}

/// Checks a key that was found, in the order in which the reasons are reported.
pub fn check_key(owner: Option<&User>, key: &ClientKey, from: IpAddr, now_us: i64) -> Result<(), KeyRefusal> {
    if owner.is_some_and(|owner| !owner.is_active) {
        return Err(KeyRefusal::OwnerInactive);
    }
    if !key.is_active {
        return Err(KeyRefusal::Inactive);
    }
    if key.is_locked {
        return Err(KeyRefusal::Locked);
    }
    if key.expires_at.is_some_and(|at| at <= now_us) {
        return Err(KeyRefusal::Expired);
    }
    let from = from.to_canonical();
    if key.allowed_ips.as_ref().is_some_and(|nets| !nets.iter().any(|net| net.contains(&from))) {
        return Err(KeyRefusal::Address);
    }
    Ok(())
}

/// Checks format and model against every level.
pub fn check_access(levels: &[&Access], format: ApiFormat, model: &GlobalModel) -> Result<(), Fault> {
    if !levels.iter().all(|level| level.allows_format(format)) {
        return Err(Fault::new(Kind::NotAllowed, format!("this key may not use the {format} format")));
    }
    if !levels.iter().all(|level| level.allows_model(&model.name)) {
        return Err(
            Fault::new(Kind::NotAllowed, format!("this key may not use the model {}", model.name)).param("model")
        );
    }
    Ok(())
}

/// Which capabilities a request requires (true) or rules out (false).
///
/// Each source overrides the one before: the user's settings, the header, what the body shows (only where these are
/// silent), and finally what the key forces. Capabilities that the model does not support count nowhere.
pub fn required_capabilities(
    model: &GlobalModel,
    user: Option<&User>,
    key: &ClientKey,
    header: &BTreeMap<Capability, bool>,
    detected: &[Capability],
) -> BTreeMap<Capability, bool> {
    let mut required: BTreeMap<Capability, bool> = detected.iter().map(|capability| (*capability, true)).collect();
    required.extend(user.and_then(|user| user.model_capability_settings.get(&model.name)).into_iter().flatten());
    required.extend(header);
    required.extend(&key.force_capabilities);
    required.retain(|capability, _| model.supported_capabilities.contains(capability));
    required
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{Fixture, global_model};

    #[test]
    fn a_key_is_refused_for_the_first_reason_that_holds() {
        let parts = Fixture::new().parts;
        let (owner, key) = (&parts.users[0], &parts.client_keys[0]);
        let here = "10.1.2.3".parse().unwrap();
        type Change = fn(&mut User, &mut ClientKey);
        let cases: [(&str, Change, Result<(), KeyRefusal>); 7] = [
            ("as it is", |_, _| (), Ok(())),
            ("owner off", |user, key| (user.is_active, key.is_active) = (false, false), Err(KeyRefusal::OwnerInactive)),
            ("off", |_, key| key.is_active = false, Err(KeyRefusal::Inactive)),
            ("locked", |_, key| key.is_locked = true, Err(KeyRefusal::Locked)),
            ("expired this instant", |_, key| key.expires_at = Some(1_000), Err(KeyRefusal::Expired)),
            (
                "elsewhere",
                |_, key| key.allowed_ips = Some(vec!["10.2.0.0/16".parse().unwrap()]),
                Err(KeyRefusal::Address),
            ),
            ("here", |_, key| key.allowed_ips = Some(vec!["10.1.0.0/16".parse().unwrap()]), Ok(())),
        ];
        for (name, change, want) in cases {
            let (mut owner, mut key) = (owner.clone(), key.clone());
            change(&mut owner, &mut key);
            assert_eq!(check_key(Some(&owner), &key, here, 1_000), want, "{name}");
        }
    }

    #[test]
    fn levels_combine_by_intersection_and_formats_are_exact() {
        let model = global_model(1, "big-model");
        let anything = Access::default();
        let nothing = Access { models: Some(vec![]), ..Access::default() };
        let claude = Access { api_formats: Some(vec![ApiFormat::Claude]), ..Access::default() };
        let big = Access { models: Some(vec!["big-model".to_owned()]), ..Access::default() };
        for (name, levels, format, want) in [
            ("no restriction", [&anything, &anything], ApiFormat::Claude, true),
            ("named", [&anything, &big], ApiFormat::Claude, true),
            ("one level allows nothing", [&big, &nothing], ApiFormat::Claude, false),
            ("the format is allowed", [&claude, &big], ApiFormat::Claude, true),
            ("its command-line kind is another format", [&claude, &big], ApiFormat::ClaudeCli, false),
        ] {
            assert_eq!(check_access(&levels, format, &model).is_ok(), want, "{name}");
        }
    }

    #[test]
    fn capabilities_come_from_the_last_source_that_speaks() {
        use Capability::{Cache1h, Context1m};
        let parts = Fixture::new().parts;
        let mut model = global_model(1, "big-model");
        model.supported_capabilities = vec![Cache1h];
        let (mut user, mut key) = (parts.users[0].clone(), parts.client_keys[0].clone());
        let none = BTreeMap::new();
        let of = |user: &User, key: &ClientKey, header: &BTreeMap<_, _>| {
            required_capabilities(&model, Some(user), key, header, &[Cache1h, Context1m])
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&user, &key, &none), [(Cache1h, true)], "detected; the unsupported one counts nowhere");
        user.model_capability_settings.insert("big-model".to_owned(), [(Cache1h, false)].into());
        assert_eq!(of(&user, &key, &none), [(Cache1h, false)]);
        assert_eq!(of(&user, &key, &[(Cache1h, true)].into()), [(Cache1h, true)]);
        key.force_capabilities = [(Cache1h, false)].into();
        assert_eq!(of(&user, &key, &[(Cache1h, true)].into()), [(Cache1h, false)]);
    }
}
