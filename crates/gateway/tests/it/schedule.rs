//! Scheduling on the running gateway: warm caches, failing keys, callers' mistakes, and what a restart keeps.

use crate::{
    commands::{Serving, folder_with, run},
    support::{Ask, Wire, gateway, provider},
};
use std::{collections::HashMap, fmt::Write as _, time::Duration};
use testkit::{ErrorShape, Reply, Upstream, servers::Home};
use tokio::time::{Instant, sleep};

testkit::on_both![limits_and_open_circuits_survive_a_restart];

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

/// The program itself: agents stay on their keys, a failing key is left alone, a mistake is nobody else's, and all of it can
/// be asked beside the running process.
#[tokio::test]
async fn the_program_schedules_and_tells_what_it_knows() {
    let failing = upstream(Reply::error(ErrorShape::Server)).await;
    let mut serving = Vec::new();
    for _ in 0..2 {
        serving.push(upstream(served().cache(4_000, 100, 0)).await);
    }
    let folder = folder_with(&failing.base_url());
    let document = folder.path().join("catalog.yaml");
    let text = std::fs::read_to_string(&document).unwrap();
    let mut text = text.replace("name: laptop,", "name: laptop, rate_limit: null,");
    for (number, upstream) in (1..).zip(&serving) {
        let equal = provider(number, &upstream.base_url());
        write!(text, "{}", equal.replace(&format!("provider_priority: {number}"), "provider_priority: 1")).unwrap();
    }
    std::fs::write(&document, text).unwrap();
    let program = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let ask =
        |session: &str| Ask::on(program.address, Wire::Messages, "hi").header("x-claude-code-session-id", session);

    for _ in 0..10 {
        for session in 0..10 {
            assert_eq!(ask(&format!("agent-{session}")).whole().await.status, 200);
        }
    }
    assert_eq!(failing.requests().len(), 5, "five outcomes, then its circuit is open");
    let mut homes: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, upstream) in serving.iter().enumerate() {
        for request in upstream.requests() {
            homes.entry(request.header("x-claude-code-session-id").unwrap().to_owned()).or_default().push(number);
        }
    }
    assert!(homes.values().all(|turns| turns.len() == 10 && turns.iter().all(|at| *at == turns[0])), "{homes:?}");

    let mistaken: Vec<Upstream> =
        serving.into_iter().map(|upstream| upstream.always(Reply::error(ErrorShape::ContextTooLong))).collect();
    for _ in 0..20 {
        assert_eq!(ask("too-long").whole().await.status, 400);
    }
    let asked: usize = mistaken.iter().map(|upstream| upstream.requests().len()).sum();
    assert_eq!(asked, 100 + 20, "each mistake was one upstream's business");

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
