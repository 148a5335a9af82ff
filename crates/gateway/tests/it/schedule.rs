//! Scheduling on the running gateway: warm caches, failing keys, callers' mistakes, and what a restart keeps.

use crate::{
    commands::{Serving, folder_with, run, write_documents},
    support::{Ask, Wire, gateway, provider},
};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    time::Duration,
};
use testkit::{ErrorShape, Reply, Upstream, servers::Home};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

testkit::on_both![limits_and_open_circuits_survive_a_restart, a_killed_program_goes_on_counting_where_it_was,];

fn served() -> Reply {
    Reply::text(["hello"]).usage(12, 2)
}

async fn upstream(reply: Reply) -> Upstream {
    Upstream::start().await.unwrap().always(reply)
}

async fn limits_and_open_circuits_survive_a_restart(home: Home) {
    let refusing = upstream(Reply::error(ErrorShape::BadKey)).await;
    let serving = upstream(served()).await;
    let start = |home| {
        let limited = ("api_key: sk-upstream", "api_key: sk-upstream, daily_limit: 3");
        gateway().provider(&refusing).provider(&serving).replace(limited.0, limited.1).at(home).start()
    };
    let gw = start(home).await;
    for _ in 0..2 {
        assert_eq!(gw.ask(Wire::Messages, "hi").whole().await.status, 200);
    }
    assert_eq!((refusing.requests().len(), serving.requests().len()), (1, 2));
    let home = gw.stop().await;

    let gw = start(home).await;
    assert_eq!(gw.ask(Wire::Messages, "hi").whole().await.status, 200);
    assert_eq!((refusing.requests().len(), serving.requests().len()), (1, 3), "the circuit is open as before");
    let refused = gw.ask(Wire::Messages, "hi").whole().await;
    assert_eq!(refused.status, 503, "three attempts of the day are used up");
    assert_eq!((refusing.requests().len(), serving.requests().len()), (1, 3));
    gw.stop().await;
}

#[tokio::test]
async fn agents_stay_where_their_caches_are() {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(upstream(served().cache(4_000, 100, 0)).await);
    }
    let mut builder = gateway();
    for (number, upstream) in upstreams.iter().enumerate() {
        let priority = format!("provider_priority: {number}");
        builder = builder.provider(upstream).replace(&priority, "provider_priority: 1");
    }
    let gw = builder.start().await;
    for turn in 0..10 {
        for session in 0..20 {
            let text = format!("turn {turn} of {session}");
            let session = format!("agent-{session}");
            let ask = gw.ask(Wire::Messages, &text).header("x-claude-code-session-id", &session);
            assert_eq!(ask.whole().await.status, 200);
        }
    }
    let mut homes: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, upstream) in upstreams.iter().enumerate() {
        for request in upstream.requests() {
            homes.entry(request.header("x-claude-code-session-id").unwrap().to_owned()).or_default().push(number);
        }
    }
    assert_eq!(homes.len(), 20);
    assert!(homes.values().all(|turns| turns.len() == 10 && turns.iter().all(|at| *at == turns[0])), "{homes:?}");
    let used: Vec<usize> = upstreams.iter().map(|upstream| upstream.requests().len() / 10).collect();
    assert!(used.iter().all(|agents| (1..=12).contains(agents)), "spread over all keys: {used:?}");
    gw.stop().await;
}

#[tokio::test]
async fn a_failing_key_is_left_alone_and_callers_mistakes_leave_everybody_else_alone() {
    let failing = upstream(Reply::error(ErrorShape::Server)).await;
    let serving = upstream(served()).await;
    let gw = gateway().provider(&failing).provider(&serving).start().await;
    for number in 0..40 {
        let ask = gw.ask(Wire::Messages, "hi").header("x-claude-code-session-id", &format!("s{number}"));
        assert_eq!(ask.whole().await.status, 200);
    }
    // Five outcomes, then the circuit is open: no retries are set in this catalog.
    assert_eq!((failing.requests().len(), serving.requests().len()), (5, 40));

    let mistaken = serving.always(Reply::error(ErrorShape::ContextTooLong));
    for _ in 0..40 {
        assert_eq!(gw.ask(Wire::Messages, "too long").whole().await.status, 400);
    }
    let serving = mistaken.always(served());
    assert_eq!(gw.ask(Wire::Messages, "hi").whole().await.status, 200);
    assert_eq!((failing.requests().len(), serving.requests().len()), (5, 81), "nobody was driven elsewhere");
    gw.stop().await;
}

/// The program itself: a failing key is left alone, a mistake is nobody else's, and all of it can be asked beside the running
/// process.
#[tokio::test]
async fn the_program_schedules_and_tells_what_it_knows() {
    let failing = upstream(Reply::error(ErrorShape::Server)).await;
    let mut serving = Vec::new();
    for _ in 0..2 {
        serving.push(upstream(served()).await);
    }
    let folder = folder_with(&failing.base_url());
    let document = folder.path().join("catalog.yaml");
    let text = std::fs::read_to_string(&document).unwrap();
    let mut text = text.replace("name: laptop,", "name: laptop, rate_limit: null, concurrent_limit: null,");
    for (number, upstream) in (1..).zip(&serving) {
        let equal = provider(number, &upstream.base_url());
        write!(text, "{}", equal.replace(&format!("provider_priority: {number}"), "provider_priority: 1")).unwrap();
    }
    std::fs::write(&document, text).unwrap();
    let program = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let ask =
        |session: &str| Ask::on(program.address, Wire::Messages, "hi").header("x-claude-code-session-id", session);

    for session in 0..20 {
        assert_eq!(ask(&format!("agent-{session}")).whole().await.status, 200);
    }
    assert_eq!(failing.requests().len(), 5, "five outcomes, then its circuit is open");

    let asked = |upstreams: &[Upstream]| upstreams.iter().map(|upstream| upstream.requests().len()).sum::<usize>();
    let before = asked(&serving);
    let mistaken: Vec<Upstream> =
        serving.into_iter().map(|upstream| upstream.always(Reply::error(ErrorShape::ContextTooLong))).collect();
    for _ in 0..20 {
        assert_eq!(ask("too-long").whole().await.status, 400);
    }
    assert_eq!(asked(&mistaken), before + 20, "each mistake was one upstream's business");

    // What it knows is in the database within seconds.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (code, out, err) =
            run(folder.path(), &["explain", "--key", "laptop", "--model", "big-model", "--format", "CLAUDE"]).await;
        assert_eq!(code, 0, "{err}");
        assert!(
            out.contains("1. provider-") && out.contains("2. provider-"),
            "the others are as healthy as before: {out}"
        );
        if out.contains("provider-0/CLAUDE/main: circuit_open until 2") {
            break;
        }
        assert!(Instant::now() < deadline, "{out}");
        sleep(Duration::from_millis(100)).await;
    }
    program.terminate().await;
}

/// Agents, the turns of each, and the keys that serve them.
const SESSIONS: usize = 50;
const TURNS: u64 = 100;
const KEYS: usize = 8;
/// What an agent's prompt grows by in each turn, in tokens.
const GROWTH: u64 = 1_000;

#[tokio::test]
async fn the_program_keeps_fifty_agents_on_the_keys_that_have_their_caches() {
    let upstream = upstream(served().cache(4_000, 100, 0)).await;
    let folder = folder_with(&upstream.base_url());
    let document = folder.path().join("catalog.yaml");
    let keys: Vec<String> = (0..KEYS).map(|key| format!("{{name: k{key}, api_key: sk-upstream-{key}}}")).collect();
    let text = std::fs::read_to_string(&document).unwrap();
    let text = text.replace("name: laptop,", "name: laptop, rate_limit: null, concurrent_limit: null,");
    let text = text.replace("{name: main, api_key: sk-upstream}", &keys.join(", "));
    std::fs::write(&document, text).unwrap();
    let program = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;

    let agents = TaskTracker::new();
    for session in 0..SESSIONS {
        let ask = Ask::on(program.address, Wire::Messages, "go on");
        let ask = ask.header("x-claude-code-session-id", &format!("agent-{session}"));
        agents.spawn(async move {
            for _ in 0..TURNS {
                assert_eq!(ask.clone().whole().await.status, 200);
            }
        });
    }
    agents.close();
    agents.wait().await;
    program.terminate().await;

    // A turn finds in the cache what its session's last turn at the same key left there.
    let (mut turn_of, mut cached) = (HashMap::new(), HashMap::new());
    let (mut hit, mut cacheable) = (0, 0);
    for request in upstream.requests() {
        let header = |name| request.header(name).unwrap().to_owned();
        let (session, key) = (header("x-claude-code-session-id"), header("x-api-key"));
        let turn: &mut u64 = turn_of.entry(session.clone()).or_default();
        let there: &mut u64 = cached.entry((session, key)).or_default();
        cacheable += *turn * GROWTH;
        hit += (*there).min(*turn * GROWTH);
        *turn += 1;
        *there = *turn * GROWTH;
    }
    assert_eq!(turn_of.values().copied().collect::<Vec<_>>(), [TURNS; SESSIONS]);
    let used: HashSet<&String> = cached.keys().map(|(_, key)| key).collect();
    assert!(used.len() > KEYS / 2, "spread over the keys: {used:?}");
    println!("{SESSIONS} sessions of {TURNS} turns over {KEYS} keys: {hit} of {cacheable} cacheable tokens hit");
    assert!(hit * 100 >= cacheable * 95, "{hit} of {cacheable}");
}

/// Ten minutes of failure, 300 times as fast: circuits rest for 100 ms instead of 30 s when they open first.
#[tokio::test]
async fn the_program_leaves_a_key_that_fails_for_ten_minutes_alone_and_is_back_within_a_probe_interval() {
    const FASTER: u32 = 300;
    let first_rest = Duration::from_secs(30) / FASTER;
    let failing = upstream(Reply::error(ErrorShape::Server)).await;
    let serving = upstream(served()).await;
    let folder = folder_with(&failing.base_url());
    let document = folder.path().join("catalog.yaml");
    let text = std::fs::read_to_string(&document).unwrap();
    let text = text.replace("name: laptop,", "name: laptop, rate_limit: null, concurrent_limit: null,");
    let text = text + &provider(1, &serving.base_url());
    std::fs::write(&document, text).unwrap();
    let settings = format!("[breaker]\nfirst_rest = '{}ms'\n", first_rest.as_millis());
    std::fs::write(folder.path().join("tollgate.toml"), settings).unwrap();
    let program = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let mut asked = 0;
    let mut ask = async || {
        asked += 1;
        let session = format!("s{asked}");
        let ask = Ask::on(program.address, Wire::Messages, "hi").header("x-claude-code-session-id", &session);
        assert_eq!(ask.whole().await.status, 200, "whoever fails, the other serves");
    };

    while failing.requests().len() < 5 {
        ask().await;
    }
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_mins(10) / FASTER {
        ask().await;
    }
    let touched = failing.requests().len() - 5;
    assert!((2..=10).contains(&touched), "{touched} requests after its circuit opened");

    let recovered = failing.always(served());
    let since = Instant::now();
    // Two failed probes were one opening more; each is twice as long, give or take a fifth.
    let interval = first_rest * (1 << (touched / 2)) * 6 / 5;
    while recovered.requests().len() < 5 + touched + 3 {
        assert!(since.elapsed() < interval + Duration::from_millis(500), "not back after {interval:?}");
        ask().await;
    }
    let (here, there) = (recovered.requests().len(), serving.requests().len());
    for _ in 0..20 {
        ask().await;
    }
    assert_eq!(
        (recovered.requests().len(), serving.requests().len()),
        (here + 20, there),
        "all of its traffic is back"
    );
    program.terminate().await;
}

/// A process that is killed loses no attempt of a key's day; who should know of a refused key is told once.
async fn a_killed_program_goes_on_counting_where_it_was(home: Home) {
    let refusing = upstream(Reply::error(ErrorShape::BadKey)).await;
    let serving = upstream(served()).await;
    write_documents(&home, &refusing.base_url());
    let document = home.path().join("catalog.yaml");
    let text = std::fs::read_to_string(&document).unwrap() + &provider(1, &serving.base_url());
    let text = text.replace("api_key: sk-upstream", "api_key: sk-upstream, daily_limit: 3");
    std::fs::write(&document, text).unwrap();
    let program = Serving::start(home.path(), &["--catalog", "catalog.yaml"]).await;
    for _ in 0..2 {
        assert_eq!(Ask::on(program.address, Wire::Messages, "hi").whole().await.status, 200);
    }
    program.kill().await;

    let program = Serving::start(home.path(), &[]).await;
    assert_eq!(Ask::on(program.address, Wire::Messages, "hi").whole().await.status, 200);
    assert_eq!(
        Ask::on(program.address, Wire::Messages, "hi").whole().await.status,
        503,
        "three of the day are used up"
    );
    assert_eq!(serving.requests().len(), 3);
    let log = program.terminate().await;
    assert_eq!(log.matches("admins are notified").count(), 1, "{log}");
}
