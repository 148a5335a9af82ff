//! Balances that are topped up and taken from, quotas that are reset, and what is told of them.

use crate::support::{Gateway, NOW};
use admin::{book, reset_quota};
use domain::{
    catalog::{Catalog, ClientKey, GlobalModel},
    ids::{ClientKeyId, UserId},
    ledger::{CacheUse, Hold, Output, Short, Sizing},
    money::NanoUsd,
    records::Account,
};
use std::sync::Arc;
use store::{
    Published, feed, load,
    repo::balances::{BookError, Entry, Kind},
};
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

testkit::on_both![
    a_balance_is_changed_once_under_each_name,
    what_requests_in_flight_hold_cannot_be_taken,
    a_reset_opens_a_period_with_the_same_end,
];

/// A gateway's database with its catalog followed.
struct Followed {
    gateway: Gateway,
    published: Arc<Published>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Followed {
    async fn new(home: Home) -> Self {
        let gateway = Gateway::with_example(home).await;
        let published = Arc::new(Published::new(Catalog::build(load(&gateway.store).await.unwrap()).unwrap()));
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(feed::follow(gateway.store.clone(), published.clone(), cancel.clone()));
        Self { gateway, published, cancel, tasks }
    }

    fn key(&self, name: &str) -> Arc<ClientKey> {
        use domain::ports::Directory as _;
        self.published.catalog().client_keys.values().find(|key| key.name == name).unwrap().clone()
    }

    /// Holds exactly this much, as a request would.
    fn hold(&self, key: &ClientKey, amount: u64) -> Result<Hold, Short> {
        use domain::ports::Directory as _;
        let catalog = self.published.catalog();
        let model = catalog.global_models.values().find(|model| model.name == "claude-sonnet-4-5").unwrap();
        let mut model = GlobalModel::clone(model);
        for tier in &mut model.tiered_pricing.as_mut().unwrap().tiers {
            let (nothing, a_nano) = ("0".parse().unwrap(), "0.001".parse().unwrap());
            (tier.input_price_per_1m, tier.output_price_per_1m) = (nothing, a_nano);
            (tier.cache_creation_price_per_1m, tier.cache_read_price_per_1m) = (None, None);
        }
        let cache = CacheUse { marked: false, ttl_minutes: 5 };
        let output = Output { choices: 1, maximum: amount, least: amount };
        self.published.ledger().hold(key, NOW, || {
            let routes = catalog.routes(model.id).iter();
            Sizing::new(&model, routes, &catalog.settings.price_defaults, cache, 0, output)
        })
    }

    async fn book(&self, entry: &Entry) -> Result<NanoUsd, BookError> {
        book(&self.gateway.store, &self.published, entry).await
    }

    async fn end(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let report = store::verify::run(self.gateway.store.db(), 10).await.unwrap();
        assert_eq!(report.differences, 0, "{:?}", report.shown);
    }
}

fn entry(key: ClientKeyId, kind: Kind, amount: i64, name: &str) -> Entry {
    Entry {
        api_key_id: key,
        kind,
        amount: NanoUsd(amount),
        actor_id: None,
        note: Some("by hand".to_owned()),
        idempotency_key: name.to_owned(),
    }
}

/// The example's kiosk begins with five dollars.
const GRANTED: i64 = 5_000_000_000;

async fn a_balance_is_changed_once_under_each_name(home: Home) {
    let world = Followed::new(home).await;
    let kiosk = world.key("kiosk").id;
    let top_up = entry(kiosk, Kind::TopUp, 700, "a");
    for _ in 0..2 {
        assert_eq!(world.book(&top_up).await.unwrap(), NanoUsd(GRANTED + 700));
    }
    let taken = entry(kiosk, Kind::Deduction, -200, "b");
    assert_eq!(world.book(&taken).await.unwrap(), NanoUsd(GRANTED + 500));
    assert_eq!(world.book(&top_up).await.unwrap(), NanoUsd(GRANTED + 700), "what was left then");
    let limit = || world.key("kiosk").balance.unwrap().limit;
    assert_eq!(limit(), Some(NanoUsd(GRANTED + 500)), "in force when it is answered");

    let laptop = world.key("laptop").id;
    for (wrong, what) in [
        (entry(kiosk, Kind::TopUp, 701, "a"), "another amount under the same name"),
        (entry(kiosk, Kind::Correction, 700, "a"), "another kind under the same name"),
        (entry(kiosk, Kind::TopUp, -1, "c"), "a top-up that takes"),
        (entry(kiosk, Kind::Deduction, 1, "c"), "a deduction that grants"),
        (entry(kiosk, Kind::Deduction, -(GRANTED + 501), "c"), "more than there is"),
        (entry(laptop, Kind::TopUp, 1, "c"), "a key that spends its owner's money"),
    ] {
        assert!(world.book(&wrong).await.is_err(), "{what}");
    }
    assert_eq!(limit(), Some(NanoUsd(GRANTED + 500)), "nothing of that was booked");
    world.end().await;
}

async fn what_requests_in_flight_hold_cannot_be_taken(home: Home) {
    let world = Followed::new(home).await;
    let kiosk = world.key("kiosk");
    world.book(&entry(kiosk.id, Kind::Deduction, 1_000 - GRANTED, "most")).await.unwrap();
    // A nano-dollar a token.
    let held = world.hold(&kiosk, 600).unwrap();
    let taken = entry(kiosk.id, Kind::Deduction, -500, "more");
    match world.book(&taken).await {
        Err(BookError::Short { left }) => assert_eq!(left, NanoUsd(400)),
        other => panic!("{other:?}"),
    }
    held.settle(NanoUsd(100));
    assert!(world.book(&taken).await.is_ok());
    assert_eq!(world.hold(&kiosk, 401).unwrap_err().left, NanoUsd(400));
    assert_eq!(world.book(&taken).await.unwrap(), NanoUsd(500), "once it is booked it stays booked");
    drop(world.hold(&kiosk, 400).unwrap());
    world.end().await;
}

async fn a_reset_opens_a_period_with_the_same_end(home: Home) {
    let world = Followed::new(home).await;
    let laptop = world.key("laptop");
    let ann: UserId = laptop.user_id.unwrap();
    let standing = |account: Account| world.published.ledger().standing(account).settled;
    let account = || {
        use domain::ports::Directory as _;
        world.published.catalog().users[&ann].quota.account
    };
    let first = account();
    world.hold(&laptop, 300).unwrap().settle(NanoUsd(300));
    assert_eq!(standing(first), NanoUsd(300));

    assert!(reset_quota(&world.gateway.store, &world.published, ann, None).await.unwrap().is_some());
    let second = account();
    assert_ne!(second, first, "another period has the same end");
    assert_eq!(standing(second), NanoUsd::ZERO);
    assert_eq!(reset_quota(&world.gateway.store, &world.published, UserId::from(uuid()), None).await.unwrap(), None);
    world.end().await;
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(404)
}
