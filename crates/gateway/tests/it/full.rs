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

/// How the journal runs out of room.
#[derive(Clone, Copy)]
enum Room {
    /// Its directory is a small file system in memory, mounted in a namespace that `unshare` makes with this option.
    Mounted(&'static str),
    /// No file of the process may grow any more: what every system has, and the database is short of room, too.
    Limited,
}

impl Room {
    /// The small file system, where one can be mounted: by an administrator, or by anybody where the system lets them.
    async fn mounted() -> Option<Self> {
        for option in ["-m", "-rm"] {
            let mut command = Command::new("unshare");
            command.args([option, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
            let tried = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
            if tried.is_ok_and(|status| status.success()) {
                return Some(Self::Mounted(option));
            }
        }
        None
    }

    fn command(self) -> Command {
        const SERVE: &str = "exec \"$0\" serve --listen 127.0.0.1:0";
        let (program, options, before, after) = match self {
            Self::Mounted(option) => (
                "unshare",
                &[option, "sh", "-c"][..],
                "mount -t tmpfs -o size=256k,mode=0700 tmpfs data/journal &&",
                "",
            ),
            // Without its signal a write beyond the limit is an error. The log is a file as well.
            Self::Limited => ("sh", &["-c"][..], "trap '' XFSZ;", "2>/dev/null"),
        };
        let mut command = Command::new(program);
        command.args(options).arg(format!("{before} {SERVE} {after}")).arg(env!("CARGO_BIN_EXE_tollgate"));
        command
    }

    /// Takes all the room that the journal of a process has.
    async fn fill(self, process: u32, journal: &Path) {
        match self {
            Self::Mounted(_) => {
                let mut file = fs::File::create(inside(process, journal).join("ballast")).unwrap();
                while file.write_all(&[0; 1024]).is_ok() {}
            }
            Self::Limited => {
                let segments = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
                limit(process, &segments.max().unwrap().to_string()).await;
            }
        }
    }

    /// Gives it back.
    async fn free(self, process: u32, journal: &Path) {
        match self {
            Self::Mounted(_) => fs::remove_file(inside(process, journal).join("ballast")).unwrap(),
            Self::Limited => limit(process, "unlimited").await,
        }
    }
}

/// A directory as a process sees it, in its own namespace.
fn inside(process: u32, directory: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root")).join(directory.strip_prefix("/").unwrap())
}

async fn limit(process: u32, bytes: &str) {
    let (process, bytes) = (process.to_string(), format!("--fsize={bytes}:"));
    let set = Command::new("prlimit").args(["--pid", &process, &bytes]).status().await;
    assert!(set.expect("prlimit is there, a part of util-linux").success());
}

#[tokio::test]
async fn with_a_full_disk_nobody_new_is_taken_nothing_is_lost_and_service_resumes_by_itself() {
    // Some containers let nobody mount anything.
    runs_out_of_room(Room::mounted().await.unwrap_or(Room::Limited)).await;
}

#[tokio::test]
async fn files_that_cannot_grow_are_a_full_disk() {
    runs_out_of_room(Room::Limited).await;
}

async fn runs_out_of_room(room: Room) {
    let gate = Gate::new();
    let upstream = Upstream::start().await.unwrap();
    let home = Home::embedded().unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");
    let journal = folder.join("data/journal");
    fs::create_dir(&journal).unwrap();
    let (child, address) = node(folder, room.command()).await;
    let process = child.id().unwrap();
    let ask = || Ask::at(address, "hi").key(CLIENT_KEY);

    upstream.push(Reply::text(["he", "llo"]).usage(12, 2).hold(3, &gate));
    let mut open = ask().open().await;
    open.until("he").await;
    room.fill(process, &journal).await;
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

    room.free(process, &journal).await;
    let resumed = async {
        // Asking is the only way to see it from outside.
        while ask().try_ask(false).await.unwrap().status != 200 {}
    };
    tokio::time::timeout(NOTICED_WITHIN, resumed).await.expect("service resumes by itself");
    answered += 1;

    terminate(child).await;
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let told = usize::from(matches!(room, Room::Mounted(_)));
    for line in ["the journal cannot write; new requests are refused until it can", "the journal writes again"] {
        assert_eq!(log.matches(line).count(), told, "operators are told once: {log}");
    }
    let (code, out, err) = run(folder, &["verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let rows = rows(&store(&home).await).await;
    assert_eq!(rows.len(), answered, "one for each answer, none for a refusal");
    assert!(rows.iter().all(|row| row.status == Status::Completed), "{rows:?}");
    assert_eq!((rows[0].tokens.input, rows[0].tokens.output), (12, 2));
}
