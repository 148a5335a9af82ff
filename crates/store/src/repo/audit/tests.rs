use super::*;
use crate::{db::Db, mint, sample};
use testkit::servers::Home;

fn event(number: u32) -> Event {
    Event {
        id: mint(),
        event_type: "config_changed",
        description: format!("change {number}\0"),
        user_id: None,
        api_key_id: Some(sample::key()),
        ip_address: Some(IpAddr::from([192, 0, 2, 1])),
        user_agent: None,
        request_id: None,
        metadata: serde_json::json!({"number": number}),
        status_code: Some(200),
        error_message: None,
    }
}

async fn append_all(db: &Db, node: NodeId, events: &[Event]) {
    let mut tx = db.begin().await.unwrap();
    append(&mut tx, node, events).await.unwrap();
    tx.commit().await.unwrap();
}

async fn broken(db: &Db, node: NodeId) -> Option<i64> {
    broken_any_owner(&mut db.read().await.unwrap(), node).await.unwrap()
}

testkit::on_both![every_row_follows_from_the_one_before_it,];

async fn every_row_follows_from_the_one_before_it(home: Home) {
    let store = sample::store(&home).await;
    let (db, ours, theirs) = (store.db(), store.node(), mint());
    let events: Vec<_> = (0..5).map(event).collect();
    append_all(db, ours, &events[..2]).await;
    append_all(db, theirs, &[event(9)]).await;
    append_all(db, ours, &events).await;
    let rows = latest_any_owner(&mut db.read().await.unwrap(), ours, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [5, 4, 3, 2, 1], "each event once");
    assert_eq!(rows[4].description, "change 0\u{fffd}", "as PostgreSQL can hold it");
    assert_eq!((broken(db, ours).await, broken(db, theirs).await), (None, None));

    for (name, tampering, found) in [
        ("a text", "UPDATE audit_logs SET description = 'x' WHERE seq = 3 AND node_id = $1", Some(3)),
        ("an address", "UPDATE audit_logs SET ip_address = NULL WHERE seq = 2 AND node_id = $1", Some(2)),
        ("a hash", "UPDATE audit_logs SET prev_hash = hash WHERE seq = 2 AND node_id = $1", Some(2)),
        ("a row in the middle", "DELETE FROM audit_logs WHERE seq = 3 AND node_id = $1", Some(4)),
        ("what retention takes", "DELETE FROM audit_logs WHERE seq = 1 AND node_id = $1", None),
    ] {
        let mut tx = db.begin().await.unwrap(); // rolled back at the end of each turn
        assert_eq!(tx.run(tampering, vec![ours.uuid().into()]).await.unwrap(), 1, "{name}");
        assert_eq!(broken_any_owner(&mut tx, ours).await.unwrap(), found, "{name}");
    }
}
