//! What the commands that look at the books say, and how they end.

use crate::{
    commands::run,
    support::{Ask, CLIENT_KEY, rows},
    torture::{start, store, terminate, write_documents},
};
use domain::{money::NanoUsd, ports::Recorder as _, records::Settled};
use std::fs;
use store::settle::Shipper;
use testkit::{Reply, Upstream, servers::Home};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

testkit::on_both![verify_names_a_bill_that_does_not_follow_from_its_row];

/// A gateway's folder, in which one request was served; it has ended as an operator ends it, or was killed.
async fn served(home: &Home, killed: bool) {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    write_documents(home, &upstream);
    assert_eq!(run(home.path(), &["apply", "catalog.yaml"]).await.0, 0);
    let (mut child, address) = start(home.path()).await;
    assert_eq!(Ask::at(address, "hi").key(CLIENT_KEY).whole().await.text(), "hello");
    if killed {
        child.kill().await.unwrap();
    } else {
        terminate(child).await;
    }
}

async fn verify_names_a_bill_that_does_not_follow_from_its_row(home: Home) {
    served(&home, false).await;
    let clean = run(home.path(), &["verify"]).await;
    assert_eq!((clean.0, clean.1.as_str()), (0, "1 requests checked, 0 differences\n"), "{}", clean.2);

    // A settlement as nothing here makes it: its total is not the sum of its parts.
    let store = store(&home).await;
    let opening = store.open_journal().await.unwrap();
    let mut usage = rows(&store).await.remove(0);
    let (request, total) = (store::mint(), usage.cost.total);
    (usage.request_id, usage.cost.total) = (request, total + NanoUsd(1));
    let account = usage.user_id.map(domain::records::Account::User);
    let wrong = Settled {
        usage,
        candidates: Vec::new(),
        trace: domain::records::Trace::default(),
        account,
        issued: Vec::new(),
    };
    opening.journal.settled(Box::new(wrong)).await.unwrap();
    let shipper = Shipper::new(&store, opening.journal.clone());
    let (shipping, cancel, tasks) = (shipper.shipping(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(shipper.run(cancel.clone()));
    shipping.caught_up().await;
    cancel.cancel();
    tasks.close();
    tasks.wait().await;

    let (code, out, _) = run(home.path(), &["verify"]).await;
    let bill =
        format!("usage {}: total_cost_usd is {} and should be {}", request.uuid().hyphenated(), total.0 + 1, total.0);
    assert!(code == 1 && out.lines().any(|line| line == bill), "{out}");
    assert!(out.lines().last().unwrap().starts_with("2 requests checked, "), "{out}");
}

#[tokio::test]
async fn journal_inspect_says_what_is_damaged_and_leaves_it() {
    let home = Home::embedded().unwrap();
    let folder = home.path();
    let (code, _, err) = run(folder, &["journal", "inspect"]).await;
    assert!(code == 1 && err.contains("there is no journal in"), "{err}");
    assert!(!folder.join("data").exists(), "it makes nothing");

    served(&home, true).await;
    let (code, out, err) = run(folder, &["journal", "inspect"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("epoch 1\n  00000001-000000.log: ") && out.contains("1 opened, "), "{out}");
    // A copy elsewhere, with its last byte gone.
    let copy = folder.join("copy");
    fs::create_dir(&copy).unwrap();
    let bytes = fs::read(folder.join("data/journal/00000001-000000.log")).unwrap();
    let torn = copy.join("00000001-000000.log");
    fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();
    let (code, out, _) = run(folder, &["journal", "inspect", "copy"]).await;
    assert!(code == 1 && out.contains("; damaged at byte ") && out.ends_with(", 1 damaged\n"), "{out}");
    assert_eq!(fs::read(&torn).unwrap(), &bytes[..bytes.len() - 1]);
    assert_eq!(fs::read_dir(&copy).unwrap().count(), 1);
}
