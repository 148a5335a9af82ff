//! The demo answers on all four wires, and touches no directory that is in use.

use crate::support::{Ask, WIRES, config};
use gateway::demo;

#[tokio::test]
async fn the_demo_answers_on_every_wire_with_the_key_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo::start(config(folder.path(), &[])).await.unwrap();
    for wire in WIRES {
        let reply = Ask::on(demo.running.address, wire, "hello").model("demo").key(demo.key.expose()).stream().await;
        assert_eq!(reply.status, 200, "{wire:?}");
        assert!(reply.text().contains("scripted upstream"), "{wire:?}: {}", reply.text());
    }
    demo.running.caught_up().await;
    let rows = crate::support::rows(demo.running.store()).await;
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.cost.total.0 > 0));
    demo.stop(std::future::pending()).await;
}

#[tokio::test]
async fn the_demo_refuses_a_directory_that_is_not_empty_and_a_database_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let used = config(folder.path(), &[]);
    std::fs::create_dir(&used.data_dir).unwrap();
    std::fs::write(used.data_dir.join("something"), "").unwrap();
    let other = config(folder.path(), &[("database.url", "sqlite:/nowhere/other.db".to_owned())]);
    for (config, why) in [(used, "is not empty"), (other, "without database.url")] {
        let Err(refused) = demo::start(config).await else { panic!("it starts") };
        assert!(refused.to_string().contains(why), "{refused}");
    }
}
