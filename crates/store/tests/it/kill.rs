//! A process that is killed while it records and ships.

use crate::sample;
use domain::{catalog::Catalog, ports::Recorder as _};
use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};
use store::{
    load,
    repo::usage,
    settle::{Shipper, recover},
};
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The child ends by itself after this many settlements.
const MOST: u128 = 20_000;
const CHILD: &str = "kill::the_child_records_and_ships_until_it_is_killed";

/// Set in the child of the test below, to the database's address if it is not the embedded one.
const IS_CHILD: &str = "STORE_KILLED_CHILD";

/// Tells each settlement that was acknowledged, by its number; does nothing but as the child of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_records_and_ships_until_it_is_killed() {
    let Some(url) = std::env::var_os(IS_CHILD) else { return };
    let store = sample::open(Path::new("."), url.to_str().filter(|url| !url.is_empty())).await;
    let opening = store.open_journal().await.unwrap();
    let tracker = TaskTracker::new();
    tracker.spawn(Shipper::new(&store, opening.journal.clone()).run(CancellationToken::new()));
    for number in 0..MOST {
        opening.journal.opened(sample::opened(number)).await.unwrap();
        opening.journal.settled(Box::new(sample::settled(number))).await.unwrap();
        println!("settled {number}");
    }
}

testkit::on_both![a_killed_process_loses_no_acknowledged_settlement_and_doubles_none];

async fn a_killed_process_loses_no_acknowledged_settlement_and_doubles_none(home: Home) {
    for told in [1, 50, 400, 1_500] {
        let home = home.another().unwrap();
        let store = sample::store(&home).await;
        sample::seed(&store).await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture"])
            .env(IS_CHILD, home.database_url().unwrap_or_default())
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = HashSet::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Some(number) = line.unwrap().strip_prefix("settled ").map(|number| number.parse().unwrap()) else {
                continue;
            };
            acknowledged.insert(sample::request(number));
            if acknowledged.len() == told {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let opening = store.open_journal().await.unwrap();
        assert!(opening.interrupted.len() <= 1, "one at a time was open");
        let left = opening.interrupted.len();
        let catalog = Catalog::build(load(&store).await.unwrap()).unwrap();
        recover(store.db(), &opening.journal, &catalog, opening.interrupted).await.unwrap();
        let shipper = Shipper::new(&store, opening.journal.clone());
        let (shipping, cancel, tracker) = (shipper.shipping(), CancellationToken::new(), TaskTracker::new());
        tracker.spawn(shipper.run(cancel.clone()));
        shipping.caught_up().await;
        cancel.cancel();
        tracker.close();
        tracker.wait().await;

        let mut tx = store.db().read().await.unwrap();
        let rows = usage::latest_any_owner(&mut tx, u32::MAX).await.unwrap();
        let known: HashSet<_> = rows.iter().map(|row| row.request_id).collect();
        assert!(acknowledged.is_subset(&known), "after {told}");
        assert!(known.len() <= acknowledged.len() + 2, "one written and not told, one interrupted");
        let settled = i64::try_from(known.len() - left).unwrap();
        let charged = sample::number(&store, "SELECT total_usd FROM users").await;
        let counted = sample::number(&store, "SELECT usage_count FROM global_models").await;
        assert_eq!(charged, settled * sample::cost().total.0, "after {told}");
        assert_eq!(counted, i64::try_from(known.len()).unwrap(), "after {told}");
    }
}
