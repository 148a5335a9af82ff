//! Upstreams behind proxies and private authorities, as an operator sets them up.

use crate::{
    commands::{Serving, folder_with, run},
    support::{Ask, CLIENT_KEY},
};
use std::path::Path;
use testkit::{
    Reply, Upstream,
    servers::{Home, Proxy},
};

const PASSWORD: &str = "pass-word-0123456789";

/// Puts every endpoint of the folder's document behind this proxy.
fn put_behind(folder: &Path, proxy: &Proxy, password: &str) {
    let file = folder.join("catalog.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let url = format!("http://{}", proxy.address());
    let entry = format!("proxy: {{url: \"{url}\", username: user, password: {password}}}, max_retries: 0");
    let text = text.replace("max_retries: 0", &entry);
    assert!(text.contains(password));
    std::fs::write(file, text).unwrap();
}

/// How often the proxy was asked to lead on.
fn tunnels(proxy: &Proxy) -> usize {
    proxy.log().matches("CONNECT ").count()
}

#[tokio::test]
async fn check_goes_through_the_proxy_and_says_what_it_refuses() {
    let upstream = Upstream::start().await.unwrap();
    let proxy = Proxy::http(Some(("user", PASSWORD))).unwrap();
    for (password, errors, words) in
        [(PASSWORD, 0, ""), ("not-this-one", 4, "the proxy does not take the user name and password")]
    {
        let folder = folder_with(&upstream.base_url());
        put_behind(folder.path(), &proxy, password);
        let before = (tunnels(&proxy), upstream.requests().len());
        let (code, out, err) = run(folder.path(), &["check", "catalog.yaml"]).await;
        assert_eq!(code, i32::from(errors > 0), "{out}{err}");
        assert!(out.ends_with(&format!("{errors} errors, 0 warnings, 4 endpoints asked\n")), "{out}");
        assert!(out.contains(words) && !format!("{out}{err}").contains(password), "{out}{err}");
        assert!(tunnels(&proxy) > before.0, "{}", proxy.log());
        assert_eq!(upstream.requests().len() - before.1, usize::from(errors == 0), "four that go alike are asked once");
    }
}

async fn a_proxys_password_is_sealed_anew_with_the_master_key(folder: Home) {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    let proxy = Proxy::http(Some(("user", PASSWORD))).unwrap();
    crate::commands::write_documents(&folder, &upstream.base_url());
    put_behind(folder.path(), &proxy, PASSWORD);
    let (code, out, err) = run(folder.path(), &["apply", "catalog.yaml"]).await;
    assert!(code == 0 && !format!("{out}{err}").contains(PASSWORD), "{out}{err}");
    // Four provider keys, two client keys and the passwords of four endpoints.
    let want = (0, "10 secrets sealed under the new master key\n".to_owned(), String::new());
    assert_eq!(run(folder.path(), &["vault", "rotate"]).await, want);
    let before = tunnels(&proxy);
    let serving = Serving::start(folder.path(), &[]).await;
    assert_eq!(Ask::at(serving.address, "hi").whole().await.text(), "hello");
    assert!(tunnels(&proxy) > before, "{}", proxy.log());
    let log = serving.terminate().await;
    assert!(!log.contains(PASSWORD) && !log.contains(CLIENT_KEY), "{log}");
}

testkit::on_both![a_proxys_password_is_sealed_anew_with_the_master_key];
