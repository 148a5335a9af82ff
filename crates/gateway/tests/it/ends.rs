//! How a gateway ends, and what the next one finds.

use crate::support::{Gateway, gateway, rows, usd};
use domain::format::Status;
use gateway::app::{self, Start};
use store::Store;
use testkit::{Gate, Reply, Upstream};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_util::task::TaskTracker;

#[tokio::test]
async fn open_answers_end_within_the_grace_and_nobody_new_is_taken() {
    let gate = Gate::new();
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["he", "llo"]).usage(12, 2).hold(3, &gate));
    let gw = gateway().provider(&upstream).start().await;
    let Gateway { running, config, folder } = gw;
    let address = running.address;
    let mut open = crate::support::Ask::at(address, "hi").open().await;
    open.until("he").await;

    let tasks = TaskTracker::new();
    let stopping = tasks.spawn(running.stop(std::future::pending()));
    // Whoever connects after the listener is gone is refused.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    gate.open();
    let reply = open.rest().await;
    assert_eq!((reply.text().as_str(), reply.broke), ("hello", false));
    stopping.await.unwrap();

    let store = Store::open(config.store()).await.unwrap();
    let rows = rows(&store).await;
    assert_eq!((rows.len(), rows[0].status, rows[0].cost.total), (1, Status::Completed, usd("0.000066")));
    drop(folder);
}

#[tokio::test]
async fn a_second_signal_cuts_what_is_open_and_its_bill_is_written_all_the_same() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["he", "llo"]).usage(12, 2).stall_after(3));
    let Gateway { running, config, folder } = gateway().provider(&upstream).start().await;
    let mut open = crate::support::Ask::at(running.address, "hi").open().await;
    open.until("he").await;

    let (hurry, hurried) = oneshot::channel();
    let stopping = TaskTracker::new().spawn(running.stop(async {
        let _ = hurried.await;
    }));
    hurry.send(()).unwrap();
    stopping.await.unwrap();

    assert!(open.rest().await.broke);
    let store = Store::open(config.store()).await.unwrap();
    let rows = rows(&store).await;
    assert_eq!((rows.len(), rows[0].status, rows[0].status_code), (1, Status::Cancelled, 499));
    drop(folder);
}

#[tokio::test]
async fn a_data_directory_serves_one_gateway_at_a_time() {
    let upstream = Upstream::start().await.unwrap();
    let gw = gateway().provider(&upstream).start().await;

    let Err(refused) = app::start(&gw.config, Start::default()).await else { panic!("a second one serves") };
    assert!(refused.to_string().contains("in use by another process"), "{refused:#}");
    assert_eq!(gw.chat("hi").whole().await.status, 200, "the first one is untouched");

    let config = gw.config.clone();
    let folder = gw.stop().await;
    let next = app::start(&config, Start::default()).await.unwrap();
    let next = Gateway { running: next, config, folder };
    assert_eq!(next.chat("hi").whole().await.status, 200, "the catalog is still there");
    assert_eq!(next.entries().await.len(), 2);
    next.stop().await;
}
