//! Requests that name what one provider key has issued.

use super::*;

fn planned(catalog: &Catalog, pin: Pin, record: Option<&Record>, state: &Live) -> (Vec<ProviderKeyId>, Vec<SkipCode>) {
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let facts = Facts { pin, ..ask.facts(catalog) };
    let plan = plan(&catalog.settings, eligible(catalog, &facts), &facts, record, state);
    assert_eq!(plan.economy, None, "nobody waits elsewhere for a request that has its home");
    (keys(&plan), plan.skipped.iter().map(|skip| skip.code).collect())
}

#[test]
fn a_request_goes_home_first_or_nowhere_else() {
    let catalog = three().build();
    let [first, second, third] = [32, 42, 12].map(id::<ProviderKeyId>);
    let (free, away) = (Live::default(), Live::of([(12, out(SkipCode::KeyCooling, 9_000))]));
    let bound = SkipCode::StateBound;
    for (name, pin, state, want, skipped) in [
        ("nothing named", Pin::Nowhere, &free, vec![first, second, third], vec![]),
        ("its home first", Pin::First(third), &free, vec![third, first, second], vec![]),
        ("its home is away: the others", Pin::First(third), &away, vec![first, second], vec![SkipCode::KeyCooling]),
        ("its home is gone: the others", Pin::First(id(99)), &free, vec![first, second, third], vec![]),
        ("nobody else", Pin::Only(third), &free, vec![third], vec![bound, bound]),
        ("nobody else, though it is away", Pin::Only(third), &away, vec![], vec![bound, bound, SkipCode::KeyCooling]),
        ("nobody at all", Pin::Only(id(99)), &free, vec![], vec![bound, bound, bound]),
    ] {
        assert_eq!(planned(&catalog, pin, None, state), (want, skipped), "{name}");
    }
}

#[test]
fn home_counts_more_than_a_warm_cache() {
    let catalog = three().build();
    let [first, second, third] = [32, 42, 12].map(id::<ProviderKeyId>);
    let busy = Live::of([(42, out(SkipCode::KeyConcurrency, 0))]);
    let record = warm_at(42);
    let free = Live::default();
    let order = |state| planned(&catalog, Pin::First(third), Some(&record), state).0;
    assert_eq!(order(&free), [third, second, first]);
    assert_eq!(order(&busy), [third, first]);
}
