use super::*;
use crate::{Store, db::Value, sample};
use domain::ids::RequestId;
use testkit::servers::Home;

fn instant(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

/// An id as a request of that instant gets it.
fn id_at(text: &str) -> Uuid {
    let millis = u64::try_from(instant(text) / 1_000).unwrap();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0x5a; 10]).into_uuid()
}

#[test]
fn a_months_ids_are_those_of_its_instants() {
    for (now, months, name, first, last) in [
        ("2026-11-26T12:00:00Z", 0, "2026_11", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59.999Z"),
        ("2026-11-01T00:00:00Z", 0, "2026_11", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59.999Z"),
        ("2026-12-31T23:59:59.999Z", 0, "2026_12", "2026-12-01T00:00:00Z", "2026-12-31T23:59:59.999Z"),
        ("2026-12-31T23:59:59.999Z", 1, "2027_01", "2027-01-01T00:00:00Z", "2027-01-31T23:59:59.999Z"),
        ("2028-01-31T00:00:00Z", 1, "2028_02", "2028-02-01T00:00:00Z", "2028-02-29T23:59:59.999Z"),
    ] {
        let month = Month::of(instant(now), months).unwrap();
        assert_eq!(month.name, name, "{now} + {months}");
        assert!(month.first <= id_at(first) && id_at(last) < month.end, "{name}");
        let millisecond = |text: &str, by: i64| {
            let at = Timestamp::from_millisecond(instant(text) / 1_000 + by).unwrap().to_string();
            id_at(&at)
        };
        assert!(millisecond(first, -1) < month.first && month.end <= millisecond(last, 1), "{name}");
    }
}

/// The partition of each usage row, in the order of ids.
async fn partitions(store: &Store) -> Vec<String> {
    const WHERE: &str = "SELECT CAST(CAST(tableoid AS regclass) AS TEXT) AS name FROM usage ORDER BY request_id";
    let mut tx = store.db().read().await.unwrap();
    tx.rows(WHERE, vec![]).await.unwrap().iter().map(|row| row.text("name").unwrap()).collect()
}

async fn insert(store: &Store, id: Uuid) -> bool {
    let mut settled = sample::settled(1);
    settled.usage.request_id = RequestId::from(id);
    let mut tx = store.db().begin().await.unwrap();
    let new = crate::repo::usage::insert(&mut tx, &[&settled]).await.unwrap();
    tx.commit().await.unwrap();
    new
}

#[tokio::test]
async fn records_lie_in_the_partition_of_their_month_and_move_there_when_it_is_made() {
    let home = Home::on_server().unwrap();
    let store = sample::store(&home).await;
    prepare(store.db(), instant("2031-03-15T00:00:00Z")).await.unwrap();
    prepare(store.db(), instant("2031-03-31T23:59:59Z")).await.unwrap();
    for at in ["2031-02-28T23:59:59.999Z", "2031-03-01T00:00:00Z", "2031-04-30T23:59:59.999Z", "2031-05-01T00:00:00Z"] {
        assert!(insert(&store, id_at(at)).await, "{at}");
    }
    assert_eq!(partitions(&store).await, ["usage_default", "usage_2031_03", "usage_2031_04", "usage_default"]);

    // The process that should have made it in time was away.
    prepare(store.db(), instant("2031-05-02T00:00:00Z")).await.unwrap();
    assert_eq!(partitions(&store).await, ["usage_default", "usage_2031_03", "usage_2031_04", "usage_2031_05"]);
    assert!(!insert(&store, id_at("2031-05-01T00:00:00Z")).await, "a request has one row wherever it lies");
    let moved = Value::from(id_at("2031-05-01T00:00:00Z"));
    let mut tx = store.db().begin().await.unwrap();
    assert_eq!(tx.run("DELETE FROM usage WHERE request_id = $1", vec![moved]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_store_that_opens_has_the_months_that_its_records_will_need() {
    let home = Home::on_server().unwrap();
    let store = sample::store(&home).await;
    assert!(insert(&store, Uuid::now_v7()).await);
    let name = format!("usage_{}", Month::of(SystemClock::now_us(), 0).unwrap().name);
    assert_eq!(partitions(&store).await, [name]);
}
