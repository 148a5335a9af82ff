//! Where requests stand that must be converted.

use super::*;

#[test]
fn what_must_be_converted_comes_after_what_need_not() {
    type Change = fn(&mut Fixture);
    let cases: [(&str, PriorityMode, [u128; 3], Change); 4] = [
        ("among equals: format, wire, conversion", PriorityMode::Provider, [32, 42, 12], |f| {
            f.parts.providers.iter_mut().for_each(|provider| provider.priority = 1);
        }),
        ("before the priority within the endpoint", PriorityMode::Provider, [32, 42, 12], |f| {
            f.parts.providers.iter_mut().for_each(|provider| provider.priority = 1);
            f.parts.provider_keys[0].internal_priority = 0;
        }),
        ("after the provider's priority", PriorityMode::Provider, [12, 32, 42], |f| f.parts.providers[0].priority = 1),
        ("and after the key's across providers", PriorityMode::GlobalKey, [12, 32, 42], |f| {
            f.parts.provider_keys[0].global_priority = Some(1);
        }),
    ];
    for (name, mode, want, change) in cases {
        let mut fixture = three();
        fixture.parts.endpoints[0].api_format = ApiFormat::OpenAi;
        change(&mut fixture);
        fixture.parts.settings.provider_priority_mode = mode;
        let catalog = fixture.build();
        let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
        assert_eq!(ask.order(&catalog), want.map(id::<ProviderKeyId>), "{name}");
    }
}

#[test]
fn what_no_other_wire_has_is_not_converted() {
    let catalog = Fixture::new().build();
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    for request_type in RequestType::ALL {
        let facts = Facts { request_type: *request_type, ..ask.facts(&catalog) };
        let converts = matches!(
            request_type,
            RequestType::Chat | RequestType::Responses | RequestType::CountTokens | RequestType::Embedding
        );
        assert_eq!(eligible(&catalog, &facts).candidates.len(), usize::from(converts), "{request_type}");
    }
}
