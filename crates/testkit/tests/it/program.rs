//! The program around the server.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::client::{Client, post};

/// The program, its output after the line with its address, and the address. It ends with the test.
async fn start(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mockllm"))
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("mockllm listens on http://").unwrap().to_owned();
    (program, lines, address)
}

#[tokio::test]
async fn the_program_serves_directives_and_logs_what_came() {
    let arguments = ["--listen", "127.0.0.1:0", "--burst", "3", "--log-requests", "/dev/stdout"];
    let (_program, mut lines, address) = start(&arguments).await;
    let mut client = Client::over(TcpStream::connect(address).await.unwrap()).await;
    for (body, want) in [
        (json!({ "model": "m", "messages": [{ "role": "user", "content": "[[say hi]]" }] }), "\"hi\""),
        (json!({ "model": "m", "stream": true, "messages": [] }), "lorem "),
    ] {
        let body = body.to_string();
        let answer = client.send(post("/base/v1/messages?beta=true", body.clone())).await.unwrap();
        assert!(answer.text().contains(want), "{}", answer.text());
        let logged: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(logged["headers"]["content-type"], "application/json");
        assert_eq!(
            json!([logged["method"], logged["path"], logged["query"], logged["body"]]),
            json!(["POST", "/base/v1/messages", "beta=true", body])
        );
    }
}
