//! The program is killed at random moments under load, again and again, and its books are held against what the scripted
//! upstream handed over.

use crate::{
    commands::{run, tollgate},
    support::{Ask, CLIENT_KEY, MODEL, WIRES, provider},
};
use domain::{
    format::{Status, UsageSource},
    money::NanoUsd,
    records::UsageRow,
};
use std::{
    cell::Cell,
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use store::{Store, StoreConfig, SyncMode, repo::usage};
use testkit::{Options, Reply, Upstream, servers::Home};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};
use tokio_util::task::TaskTracker;

/// Kills, where the environment does not say: `make torture` asks for more.
const KILLS: u64 = 10;
const KILLS_VARIABLE: &str = "TOLLGATE_KILLS";
const SEED: u64 = 20_261_126;
/// How many ask at a time.
const CLIENTS: u64 = 6;
/// Input tokens of the first answer; each later one has one more, so that a bill names its answer.
const FIRST: u64 = 1_000_000;
/// Exchanges that the upstream keeps.
const KEPT: usize = 1 << 20;
/// A key each of somebody without a quota, of somebody with one, and of nobody.
pub(crate) const KEYS: [&str; 3] =
    [CLIENT_KEY, "sk-quota-0123456789abcdef0123456789a", "sk-kiosk-0123456789abcdef0123456789a"];

testkit::on_both![a_gateway_that_is_killed_again_and_again_bills_each_answer_once_and_to_the_token];

/// Chance that repeats.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    /// One of the numbers below (`SplitMix64`).
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Where clients find the gateway.
#[derive(Clone, Copy)]
enum Place {
    At(SocketAddr),
    Down,
    Over,
}

/// The upstream and its script: the answer to its n-th request is the n-th of the script.
struct Script {
    upstream: Upstream,
    answers: AtomicU64,
}

impl Script {
    fn output_of(answer: u64) -> u64 {
        3 + answer % 41
    }

    /// Adds the next answer: some pieces of text that begin with its number, with or without pauses between them.
    fn add(&self, dice: &mut Dice) {
        let answer = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut pieces = vec![format!("{answer} ")];
        pieces.extend((0..=dice.roll(12)).map(|_| "lorem ".to_owned()));
        let reply = Reply::text(pieces).usage(FIRST + answer, Self::output_of(answer));
        self.upstream.push(reply.gap(Duration::from_millis(dice.roll(8))));
    }
}

/// Asks until it is over; the answers that came whole.
async fn client(
    mut dice: Dice,
    script: Arc<Script>,
    asked: Arc<AtomicU64>,
    mut place: watch::Receiver<Place>,
) -> Vec<u64> {
    let mut whole = Vec::new();
    loop {
        let now = *place.borrow_and_update();
        let address = match now {
            Place::At(address) => address,
            Place::Down => {
                place.changed().await.unwrap();
                continue;
            }
            Place::Over => return whole,
        };
        script.add(&mut dice);
        asked.fetch_add(1, Ordering::Relaxed);
        let wire = WIRES[usize::try_from(dice.roll(4)).unwrap()];
        let key = KEYS[usize::try_from(dice.roll(3)).unwrap()];
        let reply = Ask::on(address, wire, "hi").key(key).try_ask(dice.roll(3) > 0).await;
        match reply.filter(|reply| !reply.broke) {
            Some(reply) => {
                assert_eq!(reply.status, 200, "{reply:?}");
                whole.push(reply.text().split(' ').next().unwrap().parse().unwrap());
            }
            // The gateway is gone: everybody is told in a moment.
            None => tokio::task::yield_now().await,
        }
    }
}

/// The program as it serves.
pub(crate) async fn start(folder: &Path) -> (Child, SocketAddr) {
    node(folder, tollgate(folder, &["serve", "--listen", "127.0.0.1:0"])).await
}

/// Runs a command that ends up serving; its log goes to a file.
pub(crate) async fn node(folder: &Path, mut command: Command) -> (Child, SocketAddr) {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    command.current_dir(folder).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(address) = line.strip_prefix("listening on http://") {
            // It says one more thing, for which somebody must be there.
            lines.next_line().await.unwrap();
            return (child, address.parse().unwrap());
        }
    }
    panic!("it does not serve: {}", fs::read_to_string(folder.join("log")).unwrap());
}

/// Ends it as an operator does.
pub(crate) async fn terminate(child: Child) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(child.wait_with_output().await.unwrap().status.success());
}

/// A catalog with a key of each kind, and settings that name the database.
pub(crate) fn write_documents(home: &Home, upstream: &Upstream) {
    let unlimited = "rate_limit: null, concurrent_limit: null";
    let document = format!(
        "users:\n  - {{username: ann, email: ann@example.com, password: null}}\n  \
         - {{username: bob, email: bob@example.com, password: null, quota: {{type: monthly, usd: 1000000000}}}}\n\
         api_keys:\n  - {{name: a, user: ann, key: {}, {unlimited}}}\n  - {{name: b, user: bob, key: {}, {unlimited}}}\n  \
         - {{name: c, is_standalone: true, balance_usd: 1000000000, key: {}, {unlimited}}}\n\
         global_models:\n  - name: {MODEL}\n    display_name: Big Model\n    default_tiered_pricing: \
         {{tiers: [{{up_to: null, input_price_per_1m: 3, output_price_per_1m: 15}}]}}\nproviders:\n{}",
        KEYS[0],
        KEYS[1],
        KEYS[2],
        provider(0, &upstream.base_url())
    );
    fs::write(home.path().join("catalog.yaml"), document).unwrap();
    if let Some(url) = home.database_url() {
        fs::write(home.path().join("tollgate.toml"), format!("[database]\nurl = '{url}'\n")).unwrap();
    }
}

/// The store that the program worked on.
pub(crate) async fn store(home: &Home) -> Store {
    let config = StoreConfig {
        data_dir: home.path().join("data"),
        database_url: home.database_url().map(|url| domain::secret::Secret::new(url.to_owned())),
        master_key: None,
        sync: SyncMode::default(),
    };
    Store::open(config).await.unwrap()
}

async fn a_gateway_that_is_killed_again_and_again_bills_each_answer_once_and_to_the_token(home: Home) {
    let kills = std::env::var_os(KILLS_VARIABLE).map_or(KILLS, |count| count.to_str().unwrap().parse().unwrap());
    let options = Options { keep: KEPT, ..Options::default() };
    let upstream = Upstream::listen(SocketAddr::from(([127, 0, 0, 1], 0)), &options).await.unwrap();
    write_documents(&home, &upstream);
    let folder = home.path();
    let (code, _, err) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(code, 0, "{err}");

    let script = Arc::new(Script { upstream: upstream.clone(), answers: AtomicU64::new(0) });
    let (place, places) = watch::channel(Place::Down);
    let (asked, tasks) = (Arc::new(AtomicU64::new(0)), TaskTracker::new());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tasks.spawn(client(Dice(SEED + number), script.clone(), asked.clone(), places.clone())))
        .collect();
    let mut dice = Dice(SEED);
    let mut seen = 0;
    for _ in 0..kills {
        let (mut child, address) = start(folder).await;
        place.send_replace(Place::At(address));
        seen += usize::try_from(5 + dice.roll(40)).unwrap();
        upstream.received(seen).await;
        // Some frames later, and at any moment between two of them.
        let frames = Cell::new(dice.roll(60));
        upstream.until(|_| frames.replace(frames.get().saturating_sub(1)) == 0).await;
        for _ in 0..dice.roll(300) {
            tokio::task::yield_now().await;
        }
        child.start_kill().unwrap();
        place.send_replace(Place::Down);
        child.wait().await.unwrap();
        seen = seen.max(upstream.endings().len());
    }
    let (child, address) = start(folder).await;
    place.send_replace(Place::At(address));
    upstream.received(seen + 20).await;
    let beside = run(folder, &["verify"]).await;
    assert_eq!(beside.0, 0, "beside the node: {}", beside.1);
    assert_eq!(run(folder, &["journal", "inspect"]).await.0, 0, "beside the node");
    place.send_replace(Place::Over);
    let mut whole = Vec::new();
    for client in clients {
        whole.extend(client.await.unwrap());
    }
    terminate(child).await;

    let (code, out, err) = run(folder, &["verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(folder, &["journal", "inspect"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(" 0 requests open, 0 settled not shipped, 0 damaged"), "{out}");
    let mut tx = store(&home).await.db().read().await.unwrap();
    let rows = usage::latest_any_owner(&mut tx, u32::MAX).await.unwrap();
    let tally = Tally::of(&rows, &upstream);
    assert!(whole.iter().all(|answer| tally.completed.contains(answer)), "what a client has is billed");
    let (total, asked) = (tally.total(), asked.load(Ordering::Relaxed));
    assert!(upstream.endings().len() <= total, "what the upstream was asked has its row");
    assert!(total <= usize::try_from(asked).unwrap(), "a request has one row: {total} of {asked}");
    println!(
        "{kills} kills: {total} requests, {} completed to the token, {} interrupted and billed, {} released",
        tally.completed.len(),
        tally.billed,
        tally.released
    );
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    /// The answers that are billed as reported.
    completed: HashSet<u64>,
    /// Interrupted, and billed for what was seen.
    billed: usize,
    /// Interrupted before anything was relayed.
    released: usize,
}

impl Tally {
    /// Checks each row against what the upstream handed over.
    fn of(rows: &[UsageRow], upstream: &Upstream) -> Self {
        let sent = upstream.sent_bytes();
        let requests: HashSet<_> = rows.iter().map(|row| row.request_id).collect();
        assert_eq!(requests.len(), rows.len(), "no request twice");
        let mut tally = Self::default();
        let mut answers = HashSet::new();
        for row in rows {
            let answer = row.tokens.input.checked_sub(FIRST);
            assert!(answer.is_none_or(|answer| answers.insert(answer)), "an answer is billed once: {row:?}");
            match (row.status, row.usage_source) {
                (Status::Completed, UsageSource::Upstream) => {
                    let answer = answer.expect("as reported");
                    assert_eq!(row.tokens.total(), FIRST + answer + Script::output_of(answer), "{row:?}");
                    let body = String::from_utf8_lossy(&sent[usize::try_from(answer).unwrap()]);
                    assert!(body.contains(&(FIRST + answer).to_string()), "handed over before it was billed");
                    tally.completed.insert(answer);
                }
                (Status::Failed, UsageSource::Estimated) => {
                    assert_eq!(row.error_type.as_deref(), Some("interrupted"));
                    assert!(row.tokens.total() > 0 && row.delivered, "{row:?}");
                    if let Some(answer) = answer {
                        let most = sent[usize::try_from(answer).unwrap()].len() as u64;
                        assert!(row.tokens.output <= most.max(Script::output_of(answer)), "{row:?}");
                    }
                    tally.billed += 1;
                }
                (Status::Failed, UsageSource::None) => {
                    assert_eq!((row.error_type.as_deref(), row.cost.total), (Some("interrupted"), NanoUsd::ZERO));
                    tally.released += 1;
                }
                _ => panic!("nothing else can have happened: {row:?}"),
            }
        }
        tally
    }

    fn total(&self) -> usize {
        self.completed.len() + self.billed + self.released
    }
}
