//! A data plane in a box: scripted upstreams inside the process, a catalog made by hand, and a recorder that keeps what it
//! is told. No socket and no real time, unless a test brings them.

use bytes::Bytes;
use domain::{
    bindings::{Binding, Fingerprint},
    catalog::{
        Access, Budget, Catalog, ClientKey, Endpoint, EndpointConfig, GlobalModel, GlobalModelConfig, KeyLimits, Model,
        Parts, Provider, ProviderKey, Settings, Tier, TieredPricing, User,
    },
    egress::EgressPolicy,
    format::{ApiFormat, BillingType, Role},
    ledger::Ledger,
    money::{Factor, NanoUsd, PerMillion},
    ports::{Answer, CannotOpen, Clock, Directory, Keyring, NotRecorded, Recorder},
    records::{Account, AttemptEnded, Opened, Progress, Refusal, Settled},
    secret::{Sealed, Secret},
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use relay::{
    Body, Bounds, Ports, Relay,
    limiter::Local,
    upstream::{Client, ClientOptions, InProcess},
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testkit::{Reply, Upstream};
use tokio::{io::DuplexStream, sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// The client key of every test, and the credential that upstreams see.
pub(crate) const CLIENT_KEY: &str = "sk-client-0123456789abcdef0123456789";
pub(crate) const PROVIDER_KEY: &str = "sk-upstream-ABCDEFGHIJKLMNOPQRSTUV";
/// What proxies with a password want.
pub(crate) const PROXY_PASSWORD: &str = "pass-word-0123456789";
/// The model that callers ask for; upstreams know it as `up-<n>`.
pub(crate) const MODEL: &str = "big-model";
/// Unix microseconds at the start of every test.
pub(crate) const START_US: i64 = 1_800_000_000_000_000;

/// Whose money the tests spend.
pub(crate) fn account() -> Account {
    Account::User(id(1))
}

pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

/// Time that tokio's paused clock moves.
pub(crate) struct TestClock(Instant);

impl Clock for TestClock {
    fn unix_us(&self) -> i64 {
        START_US + i64::try_from(self.monotonic_us()).unwrap()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

struct Fixed(Arc<Catalog>);

impl Directory for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.clone()
    }
}

struct OneKey;

impl Keyring for OneKey {
    fn open(&self, _: &ProviderKey) -> Result<Secret, CannotOpen> {
        Ok(Secret::new(PROVIDER_KEY.to_owned()))
    }

    fn proxy_password(&self, endpoint: &Endpoint) -> Result<Option<Secret>, CannotOpen> {
        Ok(endpoint.proxy_password.as_ref().map(|_| Secret::new(PROXY_PASSWORD.to_owned())))
    }
}

/// Keeps every record; can be told to stop writing, and to hold acknowledgements back.
#[derive(Default)]
pub(crate) struct Kept {
    pub opened: Mutex<Vec<Opened>>,
    pub attempts: Mutex<Vec<AttemptEnded>>,
    pub progress: Mutex<Vec<Progress>>,
    pub settled: Mutex<Vec<Settled>>,
    pub refused: Mutex<Vec<Refusal>>,
    pub bound: Mutex<HashMap<Fingerprint, Binding>>,
    pub broken: AtomicBool,
    /// Acknowledgements wait for this.
    pub gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Recorder for Kept {
    fn opened(&self, record: Opened) -> Answer<Result<(), NotRecorded>> {
        if self.broken.load(Ordering::Relaxed) {
            return Answer::now(Err(NotRecorded("scripted".to_owned())));
        }
        self.opened.lock().unwrap().push(record);
        Answer::now(Ok(()))
    }

    fn attempt(&self, record: AttemptEnded) {
        self.attempts.lock().unwrap().push(record);
    }

    fn progress(&self, record: Progress) {
        self.progress.lock().unwrap().push(record);
    }

    fn settled(&self, record: Box<Settled>) -> Answer<Result<(), NotRecorded>> {
        self.settled.lock().unwrap().push(*record);
        match self.gate.lock().unwrap().clone() {
            None => Answer::now(Ok(())),
            Some(gate) => Answer::Later(Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Ok(())
            })),
        }
    }

    fn refused(&self, refusal: Refusal) {
        self.refused.lock().unwrap().push(refusal);
    }

    fn is_writable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }
}

/// What a test changes before its data plane starts.
pub(crate) struct Builder {
    pub parts: Parts,
    pub bounds: Bounds,
    hosts: Vec<InProcess>,
    egress: Vec<IpNet>,
    pub authorities: Vec<CertificateDer<'static>>,
}

/// A data plane without candidates.
pub(crate) fn gateway() -> Builder {
    let key = ClientKey {
        id: id(2),
        user_id: Some(id(1)),
        name: "laptop".to_owned(),
        key_hash: Sha256::digest(CLIENT_KEY).into(),
        previous_key_hash: None,
        previous_valid_until: None,
        balance: None,
        access: Access::default(),
        allowed_ips: None,
        limits: KeyLimits::default(),
        force_capabilities: BTreeMap::new(),
        on_disconnect: None,
        is_active: true,
        is_locked: false,
        expires_at: None,
        mappings: Vec::new(),
    };
    let user = User {
        id: id(1),
        username: "ann".to_owned(),
        email: "ann@example.com".to_owned(),
        role: Role::User,
        is_active: true,
        access: Access::default(),
        model_capability_settings: BTreeMap::new(),
        default_provider_id: None,
        quota: Budget { account: account(), limit: None, spent: NanoUsd::ZERO, ends_at: None },
    };
    let usd = |text: &str| text.parse::<PerMillion>().unwrap();
    let tier = Tier {
        up_to: None,
        input_price_per_1m: usd("3"),
        output_price_per_1m: usd("15"),
        cache_creation_price_per_1m: None,
        cache_read_price_per_1m: None,
        cache_ttl_pricing: None,
    };
    let model = GlobalModel {
        id: id(3),
        name: MODEL.to_owned(),
        display_name: "Big Model".to_owned(),
        price_per_request: None,
        tiered_pricing: Some(TieredPricing { tiers: vec![tier] }),
        is_free: false,
        price_version: None,
        supported_capabilities: Vec::new(),
        config: GlobalModelConfig::default(),
        is_active: true,
        created_at: START_US,
    };
    let parts = Parts {
        revision: 1,
        settings: Settings::default(),
        users: vec![user],
        client_keys: vec![Box::new(key)],
        global_models: vec![model],
        ..Parts::default()
    };
    let bounds = Bounds {
        max_request_bytes: 64 << 20,
        max_response_bytes: 256 << 20,
        request_budget: 512 << 20,
        body_read_timeout: Duration::from_mins(1),
        total_timeout: Duration::from_mins(15),
        max_candidates: 5,
        queue_wait: Duration::from_secs(2),
        first_rest: Duration::from_secs(30),
        trusted_proxies: Vec::new(),
    };
    Builder { parts, bounds, hosts: Vec::new(), egress: Vec::new(), authorities: Vec::new() }
}

impl Builder {
    /// Adds a candidate of its own provider, after those before it in priority.
    pub(crate) fn upstream(self, format: ApiFormat, upstream: &Upstream) -> Self {
        let served = upstream.clone();
        self.dialled(format, move || served.connect())
    }

    /// Adds a candidate that is reached so.
    pub(crate) fn dialled(
        mut self,
        format: ApiFormat,
        dial: impl Fn() -> DuplexStream + Send + Sync + 'static,
    ) -> Self {
        let host = format!("up{}.test", self.hosts.len());
        self.hosts.push(InProcess { host: host.clone(), dial: Arc::new(dial) });
        self.candidate(format, &format!("http://{host}"))
    }

    /// Adds a candidate behind a URL.
    pub(crate) fn candidate(mut self, format: ApiFormat, base_url: &str) -> Self {
        let number = self.parts.providers.len() as u128;
        let base = 100 + 10 * number;
        self.parts.providers.push(Provider {
            id: id(base),
            name: format!("provider-{number}"),
            billing_type: BillingType::PayAsYouGo,
            priority: i32::try_from(number).unwrap(),
            is_active: true,
            quota: None,
            quota_expires_at: None,
            rpm_limit: None,
            rate_limit: None,
            concurrent_limit: None,
        });
        self.parts.endpoints.push(Endpoint {
            id: id(base + 1),
            provider_id: id(base),
            api_format: format,
            base_url: base_url.to_owned(),
            headers: BTreeMap::new(),
            timeout_s: 300,
            max_retries: 3,
            max_concurrent: None,
            rate_limit: None,
            is_active: true,
            custom_path: None,
            config: EndpointConfig::default(),
            proxy: None,
            proxy_password: None,
        });
        self.parts.provider_keys.push(ProviderKey {
            id: id(base + 2),
            endpoint_id: id(base + 1),
            name: "main".to_owned(),
            api_key: Sealed::default(),
            rate_multiplier: Factor::ONE,
            internal_priority: 50,
            global_priority: None,
            max_concurrent: None,
            rate_limit: None,
            daily_limit: None,
            monthly_limit: None,
            allowed_models: None,
            capabilities: BTreeMap::new(),
            cache_ttl_minutes: 5,
            max_probe_interval_minutes: 32,
            is_active: true,
            expires_at: None,
        });
        self.parts.models.push(Model {
            id: id(base + 3),
            provider_id: id(base),
            global_model_id: id(3),
            provider_model_name: format!("up-{number}"),
            aliases: Vec::new(),
            price_per_request: None,
            tiered_pricing: None,
            is_free: false,
            price_version: None,
            supports: BTreeMap::new(),
            is_active: true,
            is_available: true,
        });
        self
    }

    /// Gives the user so much to spend.
    pub(crate) fn quota(mut self, limit: NanoUsd) -> Self {
        self.parts.users[0].quota.limit = Some(limit);
        self
    }

    /// Lets addresses outside the internet be dialled.
    pub(crate) fn allow(mut self, net: &str) -> Self {
        self.egress.push(net.parse().unwrap());
        self
    }

    /// Changes anything.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn start(self) -> Gateway {
        let clock = Arc::new(TestClock(Instant::now()));
        let kept = Arc::new(Kept::default());
        let catalog = Arc::new(Catalog::build(self.parts).unwrap());
        let ledger = Arc::new(Ledger::new(catalog.clone()));
        let directory = Arc::new(Fixed(catalog.clone()));
        let ports = Ports {
            directory: directory.clone(),
            ledger: ledger.clone(),
            keyring: Arc::new(OneKey),
            recorder: kept.clone(),
            issuers: kept.clone(),
            limiter: Arc::new(Local::new(clock.clone(), directory)),
            clock: clock.clone(),
        };
        let options = ClientOptions {
            egress: EgressPolicy::new(self.egress),
            in_process: self.hosts,
            authorities: self.authorities,
        };
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let client = Client::new(options).unwrap();
        let relay = Relay::new(ports, self.bounds, client, &mut Registry::default(), tracker.clone(), shutdown.clone());
        Gateway { relay, kept, catalog, clock, ledger, tracker, shutdown }
    }
}

/// A running data plane.
pub(crate) struct Gateway {
    pub relay: Relay,
    pub kept: Arc<Kept>,
    pub catalog: Arc<Catalog>,
    pub clock: Arc<TestClock>,
    pub ledger: Arc<Ledger>,
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
}

/// An answer that was read to its end.
pub(crate) struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body ended with a cut.
    pub aborted: bool,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Gateway {
    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        self.relay.handle(request, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9)).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        read(self.open(request).await).await
    }

    /// Posts a JSON body with the usual key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Got {
        self.send(post(path, body)).await
    }

    /// The one settlement, which there must be by now.
    pub(crate) fn settled(&self) -> Settled {
        let settled = self.kept.settled.lock().unwrap();
        assert_eq!(settled.len(), 1, "settlements");
        settled[0].clone()
    }

    /// What the user has spent so far.
    pub(crate) fn spent(&self) -> NanoUsd {
        self.ledger.standing(account()).settled
    }

    /// Ends, and waits for what goes on in the background.
    pub(crate) async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Body>) -> Got {
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut aborted) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(relay::Aborted) => aborted = true,
        }
    }
    Got { status: parts.status, headers: parts.headers, body: bytes.into(), aborted }
}

/// A request with the usual key.
pub(crate) fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("x-api-key", CLIENT_KEY)
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    request(Method::POST, path, body.to_string())
}

/// Path and body of a small request in each format.
pub(crate) fn ask(format: ApiFormat, stream: bool) -> (String, Value) {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => (
            "/v1/messages".to_owned(),
            json!({ "model": MODEL, "max_tokens": 100, "stream": stream, "messages": messages }),
        ),
        ApiFormat::OpenAi => {
            // With its usage asked for, a chat stream comes back to the last byte.
            let options = stream.then(|| json!({ "include_usage": true }));
            let body = json!({ "model": MODEL, "stream": stream, "stream_options": options, "messages": messages });
            ("/v1/chat/completions".to_owned(), body)
        }
        ApiFormat::OpenAiCli => {
            ("/v1/responses".to_owned(), json!({ "model": MODEL, "stream": stream, "input": "hi" }))
        }
        ApiFormat::Gemini | ApiFormat::GeminiCli => {
            let action = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] });
            (format!("/v1beta/models/{MODEL}:{action}"), body)
        }
    }
}

/// The four wires, by the format that stands for each.
pub(crate) const WIRES: [ApiFormat; 4] =
    [ApiFormat::Claude, ApiFormat::OpenAi, ApiFormat::OpenAiCli, ApiFormat::Gemini];

/// An upstream that gives these answers, one after the other.
pub(crate) fn scripted(replies: impl IntoIterator<Item = Reply>) -> Upstream {
    let upstream = Upstream::local();
    for reply in replies {
        upstream.push(reply);
    }
    upstream
}
