//! What the scheduler would do, asked on the command line.

use crate::commands::{folder_with, run};

const TRAFFIC: &str = "minutes = 10
[[traffic]]
client = 'laptop'
model = 'big-model'
format = 'CLAUDE'
sessions = 20
turns = 0
think_ms = 2000
prompt_tokens = 4000
grows_by = 300
output_tokens = 200
[[upstream]]
concurrency = 5
fails = [{from_s = 120, to_s = 240}]
";

#[tokio::test]
async fn explain_names_the_candidates_in_order_and_why_others_are_out() {
    let folder = folder_with("http://127.0.0.1:9");
    let folder = folder.path();
    assert_eq!(run(folder, &["apply", "catalog.yaml"]).await.0, 0);
    let (code, out, err) =
        run(folder, &["explain", "--key", "laptop", "--model", "big-model", "--format", "CLAUDE_CLI"]).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].starts_with("  1. provider-0/CLAUDE/main: same wire; priority "), "{out}");
    assert!(lines[1..].iter().all(|line| line.ends_with(": format_mismatch")), "{out}");
    let (code, _, err) = run(folder, &["explain", "--key", "laptop", "--model", "no-model"]).await;
    assert_eq!((code, err.as_str()), (1, "tollgate: this key finds no model \"no-model\"\n"));
}

#[tokio::test]
async fn simulate_plays_a_file_the_same_way_each_time_and_compares_documents() {
    let folder = folder_with("http://127.0.0.1:9");
    let folder = folder.path();
    assert_eq!(run(folder, &["apply", "catalog.yaml"]).await.0, 0);
    std::fs::write(folder.join("traffic.toml"), TRAFFIC).unwrap();
    let (code, first, err) = run(folder, &["simulate", "traffic.toml", "--seed", "7"]).await;
    assert_eq!(code, 0, "{err}");
    for word in ["requests", "cache hits", "cost", "latency p99", "failed", "provider-0/CLAUDE/main"] {
        assert!(first.contains(word), "{first}");
    }
    assert_eq!(run(folder, &["simulate", "traffic.toml", "--seed", "7"]).await.1, first);
    assert_ne!(run(folder, &["simulate", "traffic.toml", "--seed", "8"]).await.1, first, "the seed counts");

    // A second provider serves what the first one has no room for.
    let text = std::fs::read_to_string(folder.join("catalog.yaml")).unwrap();
    let added = text.split("providers:\n").nth(1).unwrap().replace("provider-0", "provider-1");
    std::fs::write(folder.join("more.yaml"), format!("{text}{added}")).unwrap();
    let compare = ["simulate", "traffic.toml", "--seed", "7", "--compare", "more.yaml"];
    let (code, both, err) = run(folder, &compare).await;
    assert_eq!(code, 0, "{err}");
    assert!(both.contains(first.trim_end()), "the catalog as before:\n{both}");
    assert!(both.contains("provider-1/CLAUDE/main"), "{both}");
    assert_eq!(run(folder, &compare).await.1, both);
    let (_, unchanged, _) = run(folder, &["apply", "catalog.yaml"]).await;
    assert_eq!(unchanged, "no changes\n", "nothing was written");
}

#[tokio::test]
async fn recorded_requests_are_played_from_json_lines() {
    let folder = folder_with("http://127.0.0.1:9");
    let folder = folder.path();
    assert_eq!(run(folder, &["apply", "catalog.yaml"]).await.0, 0);
    let line = |at_ms, session| {
        format!(
            r#"{{"at_ms":{at_ms},"client":"laptop","model":"big-model","format":"CLAUDE","session":{session},"prompt_tokens":1000,"output_tokens":10}}"#
        )
    };
    let lines = [line(0, 1), line(5_000, 2), String::new(), line(9_000, 1)].join("\n");
    std::fs::write(folder.join("day.jsonl"), lines).unwrap();
    let (code, out, err) = run(folder, &["simulate", "day.jsonl"]).await;
    assert_eq!(code, 0, "{err}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(out.lines().next().unwrap()), ["requests", "3"]);
    std::fs::write(folder.join("bad.jsonl"), "{\"at_ms\":true}").unwrap();
    let (code, _, err) = run(folder, &["simulate", "bad.jsonl"]).await;
    assert!(code == 1 && err.starts_with("tollgate: bad.jsonl:1: "), "{err}");
}
