use super::{raw::KEYS, *};
use domain::egress::EgressPolicy;
use std::{net::SocketAddr, time::Duration};
use store::SyncMode;

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Sources {
    let mut sources = Sources {
        file: Some((PathBuf::from("tollgate.toml"), file.to_owned())),
        environment: environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        flags: Vec::new(),
    };
    for (setting, text) in flags {
        sources.set(setting, "--flag", *text);
    }
    sources
}

fn resolved(file: &str, environment: &[(&str, &str)]) -> Config {
    sources(file, environment, &[]).resolve().unwrap_or_else(|problems| panic!("{file}: {problems}"))
}

/// Every problem as it is told.
fn refused(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
    match sources(file, environment, &[]).resolve() {
        Ok(_) => panic!("{file} is taken"),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn defaults_hold_without_any_source() {
    let config = Sources::default().resolve().unwrap();
    assert_eq!(config.listen, "127.0.0.1:8088".parse::<SocketAddr>().unwrap());
    assert_eq!(config.admin_listen, None);
    assert_eq!(config.data_dir, Path::new("./data"));
    assert!(!config.data_dir_named && config.database_url.is_none() && config.master_key.is_none());
    assert_eq!(config.journal_sync, SyncMode::Interval);
    assert_eq!(config.bounds.max_request_bytes, 64 << 20);
    assert_eq!(config.bounds.max_response_bytes, 256 << 20);
    assert_eq!(config.bounds.request_budget, 512 << 20);
    assert_eq!(config.bounds.total_timeout, Duration::from_mins(15));
    assert_eq!(config.bounds.max_candidates, 5);
    assert_eq!(config.bounds.queue_wait, Duration::from_secs(2));
    assert_eq!(config.bounds.first_rest, Duration::from_secs(30));
    assert!(config.bounds.trusted_proxies.is_empty() && config.cors_origins.is_empty());
    assert_eq!(config.shutdown_grace, Duration::from_mins(10));
    assert_eq!(config.client_key_prefix, "sk");
    assert_eq!(config.log_format, LogFormat::Auto);
}

#[test]
fn flags_count_over_the_environment_and_that_over_the_file() {
    const FILE: &str = "listen = '127.0.0.1:1'";
    const VARIABLE: (&str, &str) = ("TOLLGATE_LISTEN", "127.0.0.1:2");
    for (name, file, environment, flags, want) in [
        ("default", "", &[][..], &[][..], "127.0.0.1:8088"),
        ("file", FILE, &[], &[], "127.0.0.1:1"),
        ("environment", FILE, &[VARIABLE], &[], "127.0.0.1:2"),
        ("flag", FILE, &[VARIABLE], &[("listen", "127.0.0.1:3")], "127.0.0.1:3"),
    ] {
        let config = sources(file, environment, flags).resolve().unwrap();
        assert_eq!(config.listen, want.parse().unwrap(), "{name}");
    }
}

#[test]
fn every_setting_has_a_variable_of_its_own() {
    let mut variables: Vec<_> = KEYS.iter().map(raw::Key::variable).collect();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), KEYS.len());
    let config = resolved(
        "",
        &[
            ("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:9"),
            ("TOLLGATE_TRUSTED_PROXIES", "10.0.0.0/8, 192.168.1.1"),
            ("TOLLGATE_MAX_REQUEST_BYTES", "1000"),
            ("TOLLGATE_JOURNAL_SYNC", "always"),
            ("TOLLGATE_SHUTDOWN_GRACE", "30s"),
            ("TOLLGATE_MASTER_KEY", "c2VjcmV0"),
            ("TOLLGATE_DATABASE_URL", "postgres://user:password@db/tollgate"),
            ("TOLLGATE_DATA_DIR", "/somewhere"),
            ("PATH", "not ours"),
        ],
    );
    assert_eq!(config.admin_listen, Some("127.0.0.1:9".parse().unwrap()));
    let proxies: Vec<_> = config.bounds.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.168.1.1/32"]);
    assert_eq!(config.bounds.max_request_bytes, 1_000);
    assert_eq!(config.journal_sync, SyncMode::Always);
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert!(config.data_dir_named);
    let shown = format!("{config:?}");
    assert!(!shown.contains("password") && !shown.contains("c2VjcmV0"), "{shown}");
}

#[test]
fn what_may_be_dialled_follows_the_listeners_unless_it_is_said() {
    let loopback = ["127.0.0.0/8", "::1/128"];
    for (file, want) in [
        ("", &loopback[..]),
        ("listen = '[::1]:8088'", &loopback),
        ("listen = '0.0.0.0:8088'", &[]),
        ("admin = {listen = '10.0.0.1:9'}", &[]),
        ("listen = '0.0.0.0:8088'\negress.allow = ['10.1.0.0/16']", &["10.1.0.0/16"]),
        ("egress.allow = []", &[]),
    ] {
        let want = EgressPolicy::new(want.iter().map(|net| net.parse().unwrap()).collect());
        assert_eq!(resolved(file, &[]).egress, want, "{file}");
    }
}

#[test]
fn a_file_of_authorities_that_is_none_is_told_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem").display().to_string();
    let setting = format!("egress.ca = '{path}'");
    let refused = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
        refused(&setting, &[]).join("; ")
    };
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for (name, text, rest) in [
        ("not there", None, ": "),
        ("empty", Some(""), " holds no certificate"),
        ("no PEM", Some("hello"), " holds no certificate"),
        ("cut", Some(cut), ": "),
        ("no certificate in it", Some(hollow), ": "),
    ] {
        let told = refused(text);
        assert!(told.starts_with(&format!("tollgate.toml:1: egress.ca: {path}{rest}")), "{name}: {told}");
        assert!(!told.contains("AAAA"), "{name}: {told}");
    }
    std::fs::write(&path, testkit::servers::Authority::new().unwrap().pem()).unwrap();
    assert_eq!(resolved(&setting, &[]).authorities.len(), 1);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (file, want) in [
        ("\nlisen = 'x'", "tollgate.toml:2: lisen: not a setting; did you mean listen?"),
        ("[journal]\nsink = 'always'", "tollgate.toml:2: journal.sink: not a setting; did you mean journal.sync?"),
        ("[jurnal]\nsync = 'always'", "tollgate.toml:1: jurnal: not a setting; did you mean journal.sync?"),
        ("xyzzy = 1", "tollgate.toml:1: xyzzy: not a setting"),
        ("listen = 8088", "tollgate.toml:1: listen: expected text in quotes"),
        (
            "listen = 'localhost'",
            "tollgate.toml:1: listen: expected an address and a port such as 127.0.0.1:8088, found \"localhost\"",
        ),
        ("max_candidates = '5'", "tollgate.toml:1: max_candidates: expected a whole number that is not negative"),
        ("max_candidates = -1", "tollgate.toml:1: max_candidates: expected a whole number that is not negative"),
        ("max_candidates = 0", "tollgate.toml:1: max_candidates: must be from 1 to 100, found 0"),
        ("total_timeout_s = 1.5", "tollgate.toml:1: total_timeout_s: expected a whole number that is not negative"),
        ("egress.allow = '10.0.0.0/8'", "tollgate.toml:1: egress.allow: expected a list of texts"),
        (
            "egress.allow = ['ten']",
            "tollgate.toml:1: egress.allow: expected a network such as 10.0.0.0/8, found \"ten\"",
        ),
        ("tls.cert = 'c.pem'", "tollgate.toml:1: tls.cert: needs tls.key, which is not set"),
        ("[tls]\nkey = 'k.pem'", "tollgate.toml:2: tls.key: needs tls.cert, which is not set"),
        ("tls.cert = ''\ntls.key = 'k.pem'", "tollgate.toml:1: tls.cert: expected a path, found nothing"),
        ("journal.sync = 'daily'", "tollgate.toml:1: journal.sync: expected one of always, interval, never"),
        ("shutdown.grace = '10'", "tollgate.toml:1: shutdown.grace: expected a time such as 10m or 30s, found \"10\""),
        ("queue.max_wait = '2'", "tollgate.toml:1: queue.max_wait: expected a time such as 10m or 30s, found \"2\""),
        ("shutdown.grace = '48h'", "tollgate.toml:1: shutdown.grace: longer than 24h"),
        (
            "memory.request_budget = '1MiB'",
            "tollgate.toml:1: memory.request_budget: less than max_request_bytes, 67108864: the largest body could never be read",
        ),
        (
            "cors.origins = ['https://a.example/']",
            "tollgate.toml:1: cors.origins: expected an origin such as https://chat.example.com, or *, found \"https://a.example/\"",
        ),
        (
            "database.url = 'mysql://user:password@db'",
            "tollgate.toml:1: database.url: the database's address must begin with sqlite: or postgres://",
        ),
        (
            "client_key_prefix = ''",
            "tollgate.toml:1: client_key_prefix: expected 1 to 16 letters, digits, hyphens and underscores, found \"\"",
        ),
        (
            "log.level = 'loud'",
            "tollgate.toml:1: log.level: expected one of error, warn, info, debug, trace, off, found \"loud\"",
        ),
    ] {
        assert_eq!(refused(file, &[]), [want], "{file}");
    }
    let syntax = refused("listen = '127.0.0.1:1'\ndata_dir = ", &[]);
    assert!(syntax[0].starts_with("tollgate.toml:2: "), "{syntax:?}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    assert_eq!(refused("lisen = 'x'\nmax_candidate = 3", &[("TOLLGATE_DATADIR", "x")]).len(), 3);
    assert_eq!(refused("listen = 'x'\nmax_candidates = 0", &[]).len(), 2);
}

#[test]
fn the_environment_is_checked_like_the_file() {
    for (variable, text, want) in [
        ("TOLLGATE_LISEN", "x", "environment, TOLLGATE_LISEN: not a setting; did you mean TOLLGATE_LISTEN?"),
        (
            "TOLLGATE_MASTERKEY",
            "secret",
            "environment, TOLLGATE_MASTERKEY: not a setting; did you mean TOLLGATE_MASTER_KEY?",
        ),
        (
            "TOLLGATE_MAX_CANDIDATES",
            "many",
            "environment, TOLLGATE_MAX_CANDIDATES: max_candidates: expected a whole number that is not negative",
        ),
        (
            "TOLLGATE_JOURNAL_SYNC",
            "daily",
            "environment, TOLLGATE_JOURNAL_SYNC: journal.sync: expected one of always, interval, never",
        ),
    ] {
        assert_eq!(refused("", &[(variable, text)]), [want], "{variable}");
    }
}

#[test]
fn addresses_of_services_that_kubernetes_sets_are_left_alone() {
    let links = [
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT_HTTP", "8088"),
        ("TOLLGATE_PORT", "tcp://10.0.0.1:8088"),
        ("TOLLGATE_PORT_8088_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_ADMIN_SERVICE_PORT", "9090"),
    ];
    assert_eq!(resolved("", &links).listen, "127.0.0.1:8088".parse().unwrap());
}

/// `UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_page_on_configuration_is_made_of_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/configuration.md is out of date: run this test with UPDATE_DOCS=1");
}
