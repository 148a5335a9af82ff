//! What planning allocates: a candidate that is out costs its code and nothing else.

use super::{CarriesAll, Eligible, Facts, Look, Out, Pin, SkipCode, StateView, eligible, plan};
use crate::{
    catalog::{
        Catalog, Route,
        tests::{Fixture, id, provider_key},
    },
    format::{ApiFormat, RequestType},
    ids::GlobalModelId,
};
use allocation_counter::{AllocationInfo, measure};
use std::{collections::BTreeMap, hint::black_box};

/// One key serves; these others are out.
fn catalog(others: u128, active: bool) -> Catalog {
    let mut fixture = Fixture::new();
    for number in 0..others {
        let mut key = provider_key(1_000 + number, Fixture::ENDPOINT);
        key.is_active = active;
        fixture.parts.provider_keys.push(key);
    }
    fixture.build()
}

/// All keys but the first rest.
struct Resting;

impl StateView for Resting {
    fn look(&self, route: &Route, _: GlobalModelId, _: bool) -> Look {
        let out = Out { code: SkipCode::KeyCooling, until_us: 5, likely_us: 5 };
        Look { out: (route.key.id != id(Fixture::PROVIDER_KEY)).then_some(out), ..Look::default() }
    }
}

/// What one plan allocates with so many candidates out.
fn of(others: u128, active: bool) -> AllocationInfo {
    let catalog = catalog(others, active);
    let key = &catalog.client_keys[&id(Fixture::CLIENT_KEY)];
    let required = BTreeMap::new();
    let facts = Facts {
        user: None,
        key,
        model: &catalog.global_models[&id(Fixture::GLOBAL)],
        format: ApiFormat::OpenAi,
        request_type: RequestType::Chat,
        features: &[],
        required: &required,
        preferred: &[],
        affinity: 1,
        now_us: 1_000,
        pin: Pin::Nowhere,
        conversion: &CarriesAll,
    };
    measure(|| {
        let eligible: Eligible<'_> = eligible(&catalog, &facts);
        let plan = plan(&catalog.settings, eligible, &facts, None, &Resting);
        assert_eq!((plan.order.len(), plan.skipped.len()), (1, usize::try_from(others).unwrap_or_default()));
        black_box(plan);
    })
}

#[test]
fn a_candidate_that_is_out_costs_nothing_but_its_code() {
    for active in [false, true] {
        let (some, twice) = (of(512, active), of(1_024, active));
        // The list of codes doubles once more.
        assert!(twice.count_total <= some.count_total + 1, "{} and {}", some.count_total, twice.count_total);
        assert!(some.count_total < 20, "{}", some.count_total);
    }
}
