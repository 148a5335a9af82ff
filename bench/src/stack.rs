//! What is measured, and what it needs: the scripted upstream, the proxies before it, their configuration.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::{
    env,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

use crate::process::{Program, free_address, last_words};

/// What a client may send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The upstream itself.
    #[value(skip)]
    Direct,
    /// A reverse proxy of hyper and its pooled client, and nothing else.
    Floor,
    /// nginx as a reverse proxy.
    Nginx,
    /// The gateway with everything on.
    Tollgate,
}

impl Kind {
    /// As the tables say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::Tollgate => "tollgate",
        }
    }
}

/// The model that clients ask for; the provider knows it by another name, so that every request is edited.
pub(crate) const MODEL: &str = "bench-model";
/// The client key of all requests.
pub(crate) const CLIENT_KEY: &str = "sk-bench-client-key-0000";

/// Running programs, and the folder of their files.
pub(crate) struct Stack {
    // Dropped in this order: the programs end before their folder goes.
    proxies: Vec<(Kind, Program)>,
    upstream: Program,
    _folder: TempDir,
}

impl Stack {
    /// Starts the upstream and these proxies, on free ports, in a folder of their own. The upstream waits so many
    /// milliseconds between the events of every stream.
    pub(crate) async fn start(kinds: &[Kind], gap_ms: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
        let path = folder.path();
        let upstream = upstream(path, gap_ms).await?;
        let mut proxies = Vec::new();
        for &kind in kinds {
            let program = match kind {
                Kind::Direct => continue,
                Kind::Floor => floor(path, upstream.address).await?,
                Kind::Nginx => nginx(path, upstream.address).await?,
                Kind::Tollgate => {
                    let gateway = Gateway::prepare(path, upstream.address, 1)?;
                    gateway.start().await?
                }
            };
            proxies.push((kind, program));
        }
        Ok(Self { proxies, upstream, _folder: folder })
    }

    /// The program that clients of this kind send to.
    pub(crate) fn program(&self, kind: Kind) -> Result<&Program> {
        if kind == Kind::Direct {
            return Ok(&self.upstream);
        }
        let found = self.proxies.iter().find(|(running, _)| *running == kind);
        found.map(|(_, program)| program).with_context(|| format!("{} does not run", kind.name()))
    }
}

/// Where nginx is, if anywhere.
pub(crate) fn find_nginx() -> Option<PathBuf> {
    let folders = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    // Debian keeps it where only an administrator's search path leads.
    let folders = folders.into_iter().chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("nginx")).find(|path| path.is_file())
}

/// What nginx says of its version.
pub(crate) fn nginx_version() -> Option<String> {
    let output = Command::new(find_nginx()?).arg("-v").output().ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    text.split_once("nginx/").map(|(_, version)| version.trim().to_owned())
}

/// A program of this workspace, beside this one.
fn ours(name: &str) -> Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{name} is not built: `make bench` builds it in the same profile");
    }
    Ok(path)
}

/// Starts a scripted upstream that waits so many milliseconds between the events of every stream.
pub(crate) async fn upstream(folder: &Path, gap_ms: u32) -> Result<Program> {
    let address = free_address().await?;
    let mut command = Command::new(ours("mockllm")?);
    command.args(["--listen", &address.to_string(), "--min-gap-ms", &gap_ms.to_string()]);
    Program::start(&mut command, address, &folder.join("upstream.log")).await
}

async fn floor(folder: &Path, upstream: SocketAddr) -> Result<Program> {
    let address = free_address().await?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["floor", "--listen", &address.to_string(), "--upstream", &upstream.to_string()]);
    Program::start(&mut command, address, &folder.join("floor.log")).await
}

async fn nginx(folder: &Path, upstream: SocketAddr) -> Result<Program> {
    let binary = find_nginx().context("nginx is not installed")?;
    let address = free_address().await?;
    let folder = folder.join("nginx");
    fs::create_dir(&folder)?;
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(address, upstream))?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&folder).arg("-c").arg(&configuration).arg("-e").arg(folder.join("error.log"));
    Program::start(&mut command, address, &folder.join("output.log")).await
}

/// A plain reverse proxy that buffers no answer, keeps connections and logs nothing.
fn nginx_configuration(listen: SocketAddr, upstream: SocketAddr) -> String {
    // Workers drop an administrator's rights and could not enter the folder; who has none is not asked.
    format!(
        "user root root;
daemon off;
worker_processes auto;
pid nginx.pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    keepalive_requests 100000000;
    upstream up {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://up;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"
    )
}

/// A gateway's data directory with a catalog in it.
pub(crate) struct Gateway {
    binary: PathBuf,
    folder: PathBuf,
}

impl Gateway {
    /// Makes the data directory and applies a catalog with `client_keys` client keys.
    pub(crate) fn prepare(folder: &Path, upstream: SocketAddr, client_keys: usize) -> Result<Self> {
        let gateway = Self { binary: ours("tollgate")?, folder: folder.join(format!("gateway-{client_keys}")) };
        fs::create_dir(&gateway.folder)?;
        let document = gateway.folder.join("catalog.yaml");
        fs::write(&document, catalog(upstream, client_keys))?;
        let output = gateway.command("apply").arg(&document).output()?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            bail!("tollgate apply failed: {}", String::from_utf8_lossy(&text));
        }
        Ok(gateway)
    }

    /// Starts the gateway and waits until it accepts connections.
    pub(crate) async fn start(&self) -> Result<Program> {
        let address = free_address().await?;
        Program::start(&mut self.serve(address), address, &self.log()).await
    }

    /// The command that serves at this address.
    pub(crate) fn serve(&self, address: SocketAddr) -> Command {
        let mut command = self.command("serve");
        command.args(["--listen", &address.to_string()]);
        command
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    /// What it said last.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.log())
    }

    /// With defaults for all but the data directory, whatever this environment holds.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).current_dir(&self.folder).env_clear().env("TOLLGATE_DATA_DIR", self.folder.join("data"));
        command
    }
}

/// Two providers with two keys each, a user with a quota, client keys with limits that no workload meets: every step of a
/// request has something to decide.
fn catalog(upstream: SocketAddr, client_keys: usize) -> String {
    let mut text = format!(
        r#"global_models:
  - name: {MODEL}
    display_name: Bench
    default_tiered_pricing:
      tiers: [{{up_to: null, input_price_per_1m: "3", output_price_per_1m: "15", cache_read_price_per_1m: "0.30"}}]
    config: {{streaming: true, vision: true, function_calling: true, context_limit: 400000, output_limit: 64000}}
providers:
"#
    );
    for provider in ["first", "second"] {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            text,
            r#"  - name: {provider}
    display_name: {provider}
    endpoints:
      - api_format: OPENAI
        base_url: "http://{upstream}"
        keys: [{{name: a, api_key: upstream-a}}, {{name: b, api_key: upstream-b, rate_multiplier: "0.9"}}]
    models: [{{global_model: {MODEL}, provider_model_name: upstream-model}}]
"#
        );
    }
    text.push_str(
        "users:\n  - {username: bench, email: bench@example.com, password: null, quota: {type: monthly, usd: \"1000000\"}}\n",
    );
    text.push_str("api_keys:\n");
    let (stem, _) = CLIENT_KEY.rsplit_once('-').unwrap_or((CLIENT_KEY, ""));
    for number in 0..client_keys {
        let _ = writeln!(
            text,
            "  - {{name: key-{number}, user: bench, key: {stem}-{number:04}, rate_limit: 100000000, concurrent_limit: 100000}}"
        );
    }
    text
}
