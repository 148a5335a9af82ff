//! Limits under load, over real sockets.

use crate::support::{Gateway, WIRES, gateway, provider};
use domain::{
    ledger::{Ledger, Standing},
    money::NanoUsd,
    records::Account,
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{ErrorShape, Gate, Reply, Upstream};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const REQUESTS: u64 = 500;
/// Output tokens that a request asks for at least; no answer reports more.
const LEAST: u64 = 50;
/// Nano-dollars an output token.
const OUTPUT: u64 = 15_000;
/// What the prompts hold: half a token for each byte of "user" and "hi", 64 for the message, at $3, and 2 for rounding.
const PROMPT: u64 = 67 * 3_000 + 2;

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

async fn ann(gw: &Gateway) -> Account {
    Account::User(store::load(gw.running.store()).await.unwrap().users[0].id)
}

/// Yields until something has come about, which it must within a minute.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_mins(1), waiting).await.unwrap_or_else(|_| panic!("{what} does not come about"));
}

/// Watches the promise from a thread of its own while requests come and go; how often it looked, and the most it saw.
fn watch(
    ledger: Arc<Ledger>,
    account: Account,
    limit: NanoUsd,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(u64, NanoUsd)> {
    std::thread::spawn(move || {
        let (mut looks, mut most) = (0, NanoUsd::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let Standing { settled, held } = ledger.standing(account);
            assert!(settled + held <= limit, "{settled} settled and {held} held of {limit}");
            most = most.max(settled + held);
            looks += 1;
        }
        (looks, most)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_at_once_never_overrun_an_account_that_can_pay_for_a_tenth() {
    let mut chance = Chance(2_026);
    let asked: Vec<u64> = (0..REQUESTS).map(|_| LEAST + chance.below(2_000)).collect();
    let all: u64 = asked.iter().map(|max| PROMPT + max * OUTPUT).sum();
    let limit = NanoUsd(i64::try_from(all / 10).unwrap());

    let gate = Gate::new();
    let upstream = Upstream::start().await.unwrap();
    for _ in 0..REQUESTS {
        let answer = || Reply::text(["one ", "two ", "three"]).usage(40, LEAST);
        let reply = match chance.below(8) {
            0 => Reply::error(ErrorShape::Overloaded),
            1 => answer().cut_after(4),
            2 => answer().error_event_after(3, true),
            3 => answer().stall_after(4),
            _ => answer(),
        };
        upstream.push(reply.hold_head(&gate));
    }
    let gw = gateway().provider(&upstream).quota(limit).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let ann = ann(&gw).await;
    let watcher = watch(gw.running.ledger().clone(), ann, limit, stop.clone());

    let refused = Arc::new(AtomicU64::new(0));
    let answers_begin = CancellationToken::new();
    let mut clients = JoinSet::new();
    for (number, max) in asked.into_iter().enumerate() {
        let ask = gw.ask(WIRES[number % WIRES.len()], "hi").max(max);
        let (refused, stream, leaves) = (refused.clone(), chance.below(2) == 0, chance.below(4));
        let begin = answers_begin.clone();
        clients.spawn(async move {
            let answer = async {
                let mut open = if stream { ask.open().await } else { ask.begin_whole().await };
                if [402, 429].contains(&open.status) {
                    refused.fetch_add(1, Ordering::Relaxed);
                } else if leaves == 1 {
                    open.next().await;
                } else {
                    open.rest().await;
                }
            };
            // Some are gone as soon as answers begin to come; nobody waits long for one that stalls.
            let patience = Duration::from_secs(if leaves == 0 { 0 } else { 2 });
            tokio::select! {
                () = answer => {}
                () = async { begin.cancelled().await; tokio::time::sleep(patience).await } => {}
            }
        });
    }
    let sent = || upstream.requests().len() as u64;
    until("a decision about every request", || refused.load(Ordering::Relaxed) + sent() == REQUESTS).await;
    let admitted = sent();
    let held = gw.running.ledger().held();
    assert!(held.0 >= limit.0 / 100 * 95, "{held} of {limit} is held: money was left that requests could have had");

    gate.open();
    answers_begin.cancel();
    while clients.join_next().await.is_some() {}
    until("an ending of every request", || gw.running.ledger().held() == NanoUsd::ZERO).await;
    stop.store(true, Ordering::Relaxed);
    let (looks, most) = watcher.join().unwrap();
    assert!(looks > 1_000 && most >= held, "{looks} looks, at most {most}");

    let rows = gw.entries().await;
    let unique: HashSet<_> = rows.iter().map(|row| row.request_id).collect();
    assert_eq!((rows.len() as u64, unique.len() as u64), (admitted, admitted), "one row for every request admitted");
    let spent: NanoUsd = rows.iter().map(|row| row.cost.total).sum();
    assert_eq!(gw.running.ledger().standing(ann), Standing { settled: spent, held: NanoUsd::ZERO });
    assert!(NanoUsd::ZERO < spent && spent <= limit && gw.running.ledger().excess() == 0);

    // What is left is worth as many requests as it can pay for, and not one more.
    let next = Upstream::start().await.unwrap().always(Reply::text(["one"]).usage(40, LEAST));
    let text = format!("providers:\n  - {{name: provider-0, is_active: false}}\n{}", provider(1, &next.base_url()));
    gw.running.reached(gw.apply(&text).await).await;
    let mut left = u64::try_from(limit.0 - spent.0).unwrap();
    while left >= PROMPT + LEAST * OUTPUT {
        assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 200, "{left}");
        left -= 40 * 3_000 + LEAST * OUTPUT;
    }
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 429);
    gw.stop().await;
}

#[tokio::test]
async fn what_was_spent_before_a_restart_is_still_spent() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["one"]).usage(40, LEAST));
    // Enough for one, and not for a second.
    let limit = NanoUsd(i64::try_from(PROMPT + LEAST * OUTPUT + 1_000).unwrap());
    let gw = gateway().provider(&upstream).quota(limit).start().await;
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 200);
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 429);
    let config = gw.config.clone();
    let folder = gw.stop().await;
    let running = gateway::app::start(&config, gateway::app::Start::default()).await.unwrap();
    let gw = Gateway { running, config, folder };
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 429);

    // A larger budget counts from what is spent.
    let text = format!("users: [{{username: ann, quota: {{type: none, usd: \"{}\"}}}}]", NanoUsd(limit.0 * 2));
    let revision = gw.apply(&text).await;
    gw.running.reached(revision).await;
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 200);
    assert_eq!(gw.chat("hi").max(LEAST).whole().await.status, 429);
    gw.stop().await;
}
