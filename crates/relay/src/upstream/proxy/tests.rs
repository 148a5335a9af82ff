//! The two protocols against scripted peers: what is said, and what each answer means.

use super::*;
use domain::{
    egress::{ProxyAddress, ProxyScheme},
    secret::Secret,
};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{io::duplex, time::Instant};
use tokio_util::task::TaskTracker;

fn via(login: bool) -> Via {
    let address = ProxyAddress { scheme: ProxyScheme::Socks5h, host: "p".to_owned(), port: 1 };
    let login = login.then(|| Login { username: "u".to_owned(), password: Secret::new("secret-word".to_owned()) });
    Via { address, login }
}

#[tokio::test]
async fn what_an_http_proxys_answer_means() {
    for (answer, login, want) in [
        ("HTTP/1.1 200 OK\r\nx: y\r\n\r\n", true, None),
        ("HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false, None),
        ("HTTP/1.1 407 No\r\n\r\n", true, Some((ProxyError::Login, true))),
        ("HTTP/1.1 407 No\r\n\r\n", false, Some((ProxyError::WantsLogin, true))),
        ("HTTP/1.1 403 No\r\n\r\n", false, Some((ProxyError::Status(403), true))),
        ("HTTP/1.1 503 No\r\n\r\n", false, Some((ProxyError::Status(503), false))),
        ("SSH-2.0-x\r\n\r\n", false, Some((ProxyError::Protocol("HTTP"), true))),
    ] {
        let (mut here, mut there) = duplex(4096);
        there.write_all(answer.as_bytes()).await.unwrap();
        there.write_all(b"TARGET").await.unwrap();
        let got = connect(&mut here, "h.example.com:443", &via(login)).await;
        let shown = got.as_ref().err().map(|error| (error.to_string(), error.is_final()));
        assert_eq!(shown, want.map(|(error, is_final)| (error.to_string(), is_final)), "{answer}");
        assert!(!format!("{got:?}").contains("secret-word"));
        let mut asked = vec![0; 4096];
        let length = there.read(&mut asked).await.unwrap();
        let asked = String::from_utf8(asked[..length].to_vec()).unwrap();
        assert!(asked.starts_with("CONNECT h.example.com:443 HTTP/1.1\r\nhost: h.example.com:443\r\n"), "{asked}");
        // "u:secret-word" in Base64.
        assert_eq!(asked.contains("proxy-authorization: Basic dTpzZWNyZXQtd29yZA==\r\n"), login, "{asked}");
        if got.is_ok() {
            let mut next = [0; 6];
            here.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"TARGET", "what follows the head is the target's");
        }
    }
}

#[tokio::test]
async fn what_a_socks_proxy_is_told_and_what_its_answers_mean() {
    const BOUND: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 0];
    for (login, picks, ends, want) in [
        (false, vec![5, 0], 0, None),
        (true, vec![5, 2, 1, 0], 0, None),
        (true, vec![5, 2, 1, 1], 0, Some(("does not take", true))),
        (true, vec![5, 0xff], 0, Some(("does not take", true))),
        (false, vec![5, 0xff], 0, Some(("wants a user name", true))),
        (false, vec![4, 0], 0, Some(("does not speak SOCKS5", true))),
        (false, vec![5, 0], 2, Some(("not allowed by its rules", true))),
        (false, vec![5, 0], 5, Some(("connection refused", false))),
    ] {
        let (mut here, mut there) = duplex(4096);
        there.write_all(&[&picks[..], &[5, ends], BOUND].concat()).await.unwrap();
        let got = socks5(&mut here, Destination::Name("h.test"), 443, &via(login)).await;
        drop(here);
        let mut told = Vec::new();
        there.read_to_end(&mut told).await.unwrap();
        match want {
            None => {
                got.unwrap();
                let request = [&[5, 1, 0, 3, 6], &b"h.test"[..], &443_u16.to_be_bytes()].concat();
                assert!(told.ends_with(&request), "the name goes to the proxy: {told:?}");
                let greeting = [&[5, 1, 2, 1, 1], &b"u\x0bsecret-word"[..]].concat();
                assert_eq!(told.starts_with(&greeting), login);
            }
            Some((words, is_final)) => {
                let error = got.unwrap_err();
                assert!(error.to_string().contains(words), "{error}");
                assert_eq!(error.is_final(), is_final, "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_socks_proxy_is_asked_for_every_address_until_it_reaches_one() {
    const V6: [IpAddr; 2] =
        [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
    const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    /// How the proxy ends each question: with a reply, after so many milliseconds.
    const SILENCE: (u8, u64) = (0, u64::MAX);
    let at_once = |reply| (reply, 0);
    let slow = |reply| (reply, 3_500);
    for (name, addresses, want, asked, took_ms) in [
        ("the first", vec![(V6[0], at_once(0)), (V4[0], at_once(0))], Ok(()), 1, 0),
        ("the last", vec![(V6[0], at_once(8)), (V4[0], at_once(4)), (V4[1], at_once(0))], Ok(()), 3, 0),
        ("one does not answer", vec![(V6[0], SILENCE), (V4[0], at_once(0))], Ok(()), 2, 2_000),
        ("it is slow", vec![(V6[0], slow(0)), (V6[1], slow(0)), (V4[0], slow(0)), (V4[1], slow(0))], Ok(()), 2, 3_500),
        ("slow to refuse", vec![(V6[0], slow(4)), (V6[1], SILENCE), (V4[0], slow(0))], Ok(()), 3, 7_000),
        ("one kind alone", vec![(V6[0], at_once(8)), (V6[1], SILENCE), (V4[0], at_once(0))], Ok(()), 2, 0),
        ("none", vec![(V6[0], at_once(3)), (V4[0], at_once(5))], Err(("connection refused", false)), 2, 0),
        ("none yet", vec![(V4[0], at_once(4)), (V6[0], at_once(8))], Err(("host unreachable", false)), 2, 0),
        ("no such kind", vec![(V6[0], at_once(8)), (V6[1], at_once(0))], Err(("the kind of address", true)), 1, 0),
        ("it is forbidden", vec![(V6[0], at_once(2)), (V4[0], at_once(0))], Err(("not allowed by", true)), 1, 0),
    ] {
        let (tasks, dialled) = (TaskTracker::new(), AtomicUsize::new(0));
        let dial = || {
            dialled.fetch_add(1, Ordering::Relaxed);
            let (here, mut there) = duplex(4096);
            let addresses = addresses.clone();
            tasks.spawn(async move {
                there.read_exact(&mut [0; 3]).await.unwrap();
                there.write_all(&[5, 0]).await.unwrap();
                let mut head = [0; 4];
                there.read_exact(&mut head).await.unwrap();
                let mut to = vec![0; if head[3] == 4 { 16 } else { 4 }];
                there.read_exact(&mut to).await.unwrap();
                assert_eq!(there.read_u16().await.unwrap(), 443);
                let is_asked = |ip: &IpAddr| match ip {
                    IpAddr::V4(ip) => ip.octets()[..] == to,
                    IpAddr::V6(ip) => ip.octets()[..] == to,
                };
                let (_, (reply, after_ms)) = addresses.iter().find(|(ip, _)| is_asked(ip)).unwrap();
                tokio::time::sleep(Duration::from_millis(*after_ms)).await;
                // Whoever asked may be content with another's answer.
                let _ = there.write_all(&[5, *reply, 0, 1, 0, 0, 0, 0, 0, 0]).await;
                let _ = there.write_all(b"TARGET").await;
            });
            async { Ok(here) }
        };
        let all: Vec<IpAddr> = addresses.iter().map(|(ip, _)| *ip).collect();
        let began = Instant::now();
        let got = timeout(Duration::from_secs(10), socks5_any(dial, &all, 443, &via(false))).await.expect(name);
        let took = began.elapsed().as_millis();
        assert_eq!((dialled.load(Ordering::Relaxed), took), (asked, took_ms), "{name}");
        match (got, want) {
            (Ok(mut stream), Ok(())) => {
                let mut next = [0; 6];
                stream.read_exact(&mut next).await.unwrap();
                assert_eq!(&next, b"TARGET", "{name}");
            }
            (Err(SendError::Proxy(error)), Err((words, is_final))) => {
                assert!(error.to_string().contains(words), "{name}: {error}");
                assert_eq!(error.is_final(), is_final, "{name}");
            }
            (got, _) => panic!("{name}: {:?}", got.map(drop)),
        }
    }
}
