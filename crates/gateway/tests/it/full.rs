//! A journal whose disk is full: nobody new is taken, nobody's bill is lost, and service resumes by itself.

use crate::{
    commands::run,
    support::{Ask, CLIENT_KEY, rows},
    torture::{node, store, terminate, write_documents},
};
use domain::format::Status;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use testkit::{Gate, Reply, Upstream, servers::Home};
use tokio::process::Command;

/// How long the gateway may take to notice that there is room again.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
/// Requests that find room in the last page of a file at most.
const LAST_PAGE: usize = 100;

/// What enters a mount namespace of its own here, where a directory in memory can be mounted: that of an administrator,
/// else that of anybody where the system lets them.
async fn unshare() -> &'static str {
    for options in ["-m", "-rm"] {
        let mut command = Command::new("unshare");
        command.args([options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        let tried = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if tried.is_ok_and(|status| status.success()) {
            return options;
        }
    }
    panic!(
        "this test fills a small tmpfs, and here none can be mounted: run it as root, or allow unprivileged user \
         namespaces (and install util-linux)"
    );
}

/// Takes all the room that a directory has.
fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
}

#[tokio::test]
async fn with_a_full_disk_nobody_new_is_taken_nothing_is_lost_and_service_resumes_by_itself() {
    let options = unshare().await;
    let gate = Gate::new();
    let upstream = Upstream::start().await.unwrap();
    let home = Home::embedded().unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");
    fs::create_dir(folder.join("data/journal")).unwrap();

    let mount = "mount -t tmpfs -o size=256k,mode=0700 tmpfs data/journal && exec \"$0\" serve --listen 127.0.0.1:0";
    let mut command = Command::new("unshare");
    command.args([options, "sh", "-c", mount, env!("CARGO_BIN_EXE_tollgate")]);
    let (child, address) = node(folder, command).await;
    // As the gateway sees it, in its own namespace.
    let seen = PathBuf::from(format!("/proc/{}/root", child.id().unwrap()));
    let journal = seen.join(folder.join("data/journal").strip_prefix("/").unwrap());
    let ask = || Ask::at(address, "hi").key(CLIENT_KEY);

    upstream.push(Reply::text(["he", "llo"]).usage(12, 2).hold(3, &gate));
    let mut open = ask().open().await;
    open.until("he").await;
    fill(&journal.join("ballast"));
    let mut answered = 1;
    let refused = loop {
        upstream.push(Reply::text(["room"]).usage(1, 1));
        let reply = ask().try_ask(false).await.unwrap();
        if reply.status != 200 {
            break reply;
        }
        answered += 1;
        assert!(answered < LAST_PAGE, "the disk is full");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let said = String::from_utf8_lossy(&refused.bytes).into_owned();
    assert!(said.contains("the gateway cannot take requests right now"), "{said}");
    // Whoever is being answered gets the whole answer; the bill waits in memory.
    gate.open();
    let reply = open.rest().await;
    assert_eq!((reply.text().as_str(), reply.broke), ("hello", false));
    assert_eq!(ask().try_ask(false).await.unwrap().status, 503, "still full");

    fs::remove_file(journal.join("ballast")).unwrap();
    let resumed = async {
        // Asking is the only way to see it from outside.
        while ask().try_ask(false).await.unwrap().status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(NOTICED_WITHIN, resumed).await.expect("service resumes by itself");
    answered += 1;

    terminate(child).await;
    let log = fs::read_to_string(folder.join("log")).unwrap();
    for line in ["the journal cannot write; new requests are refused until it can", "the journal writes again"] {
        assert_eq!(log.matches(line).count(), 1, "operators are told once: {log}");
    }
    let (code, out, err) = run(folder, &["verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let rows = rows(&store(&home).await).await;
    assert_eq!(rows.len(), answered, "one for each answer, none for a refusal");
    assert!(rows.iter().all(|row| row.status == Status::Completed), "{rows:?}");
    assert_eq!((rows[0].tokens.input, rows[0].tokens.output), (12, 2));
}
