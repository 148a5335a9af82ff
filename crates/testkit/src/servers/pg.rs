//! PostgreSQL for tests.
//!
//! The first test of a run that wants it starts a cluster in the temporary directory, reached through a socket in a
//! directory that only its user may enter; the others find it there. What ends it is a shell that waits for the end of the
//! process which runs the tests. So it works under every test runner, and nothing has to be started before.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::{CommandExt as _, parent_id},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// The oldest version that may serve.
const OLDEST: u32 = 15;
/// The database's superuser; no password: the socket's directory is private.
const USER: &str = "tollgate";
/// What a test cluster does without: a test's data need not outlive the machine.
const SETTINGS: &str = "listen_addresses = ''\nfsync = off\nfull_page_writes = off\nmax_connections = 200\n\
                        shared_buffers = 32MB\nunix_socket_permissions = 0700\n";
/// Waits for the end of process $1, then ends the cluster in $2 and removes it.
const KEEPER: &str = "while kill -0 \"$1\" 2>/dev/null; do sleep 1; done
server=$(head -n 1 \"$2/data/postmaster.pid\") && kill -QUIT \"$server\"
while kill -0 \"$server\" 2>/dev/null; do sleep 0.1; done
rm -rf \"$2\" \"$2.lock\"";

/// Numbers what one process makes.
static MADE: AtomicU32 = AtomicU32::new(0);

fn number() -> u32 {
    MADE.fetch_add(1, Ordering::Relaxed)
}

fn failed(what: &str, output: &Output) -> io::Error {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    io::Error::other(format!("{what}: {}{}", out.trim(), err.trim()))
}

/// An empty database for one test; it goes when it is dropped.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    url: String,
}

impl Database {
    /// On the cluster that the run's tests share.
    ///
    /// # Errors
    /// PostgreSQL is not there, too old, or does not start.
    pub fn new() -> io::Result<Self> {
        Self::on(shared()?)
    }

    fn on(server: Server) -> io::Result<Self> {
        let name = format!("test_{}_{}", std::process::id(), number());
        // A process of the same number may have left one.
        server.sql(&format!("DROP DATABASE IF EXISTS {name}"))?;
        server.sql(&format!("CREATE DATABASE {name}"))?;
        let url = format!("postgres://{USER}@localhost/{name}?host={}", server.dir.display());
        Ok(Self { server, name, url })
    }

    /// As `database.url` takes it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It goes with its cluster otherwise.
        let _ = self.server.sql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// A cluster of one test's own, which it may stop and start again.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Own>);

#[derive(Debug)]
struct Own {
    server: Server,
    /// Removed with it.
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts one.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn start() -> io::Result<Self> {
        let parent = tempfile::tempdir()?;
        // The server's user has to reach its directory.
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711))?;
        let server = Server { bin: find()?, dir: parent.path().join("pg") };
        server.init()?;
        server.start()?;
        Ok(Self(Arc::new(Own { server, _dir: parent })))
    }

    /// An empty database on it.
    pub fn database(&self) -> io::Result<Database> {
        Database::on(self.0.server.clone())
    }

    /// Ends it at once, as a crash does; every connection breaks.
    pub fn stop(&self) -> io::Result<()> {
        self.0.server.stop()
    }

    /// Starts it again.
    pub fn resume(&self) -> io::Result<()> {
        self.0.server.start()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.server.stop();
    }
}

/// Programs and the directory of one cluster: `data`, `log`, and the socket.
#[derive(Debug, Clone)]
struct Server {
    bin: PathBuf,
    dir: PathBuf,
}

impl Server {
    /// A program of the server's, as the directory's owner: it refuses to run as root.
    fn program(&self, name: &str) -> io::Result<Command> {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(&self.dir).stdin(Stdio::null()).env_remove("PGDATA").env("LC_ALL", "C");
        let owner = fs::metadata(&self.dir)?;
        if owner.uid() != fs::metadata("/proc/self").map_or(owner.uid(), |own| own.uid()) {
            command.uid(owner.uid()).gid(owner.gid());
        }
        Ok(command)
    }

    fn init(&self) -> io::Result<()> {
        fs::create_dir(&self.dir)?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        if fs::metadata(&self.dir)?.uid() == 0 {
            let (uid, gid) = servant()?;
            chown(&self.dir, Some(uid), Some(gid))?;
        }
        let data = self.dir.join("data");
        let mut initdb = self.program("initdb")?;
        initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let output = initdb.output()?;
        if !output.status.success() {
            return Err(failed("initdb", &output));
        }
        let settings = format!("{SETTINGS}unix_socket_directories = '{}'\n", self.dir.display());
        fs::write(data.join("postgresql.auto.conf"), settings)
    }

    fn start(&self) -> io::Result<()> {
        let mut start = self.program("pg_ctl")?;
        start.arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.dir.join("log")).args(["-w", "-s", "start"]);
        // The server inherits what it is given here and lives longer than its reader.
        let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("the PostgreSQL of the tests does not start: {log}")))
    }

    fn stop(&self) -> io::Result<()> {
        let mut stop = self.program("pg_ctl")?;
        stop.arg("-D").arg(self.dir.join("data")).args(["-m", "immediate", "-w", "-s", "stop"]);
        let output = stop.output()?;
        if output.status.success() { Ok(()) } else { Err(failed("pg_ctl stop", &output)) }
    }

    fn answers(&self) -> bool {
        self.dir.join("data").is_dir() && self.sql("SELECT 1").is_ok()
    }

    fn sql(&self, statement: &str) -> io::Result<()> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h").arg(&self.dir).args(["-X", "-q", "-w", "-U", USER, "-d", "postgres", "-c", statement]);
        let output = psql.env("PGOPTIONS", "-c client_min_messages=error").stdin(Stdio::null()).output()?;
        if output.status.success() { Ok(()) } else { Err(failed(statement, &output)) }
    }
}

/// The cluster of this run of tests, started by whoever comes first.
fn shared() -> io::Result<Server> {
    let runner = parent_id();
    let dir = std::env::temp_dir().join(format!("tollgate-pg-{runner}"));
    let lock = File::create(dir.with_extension("lock"))?;
    lock.lock()?;
    let server = Server { bin: find()?, dir };
    if server.answers() {
        return Ok(server);
    }
    // What is there was left by a run whose keeper was killed.
    if server.dir.exists() {
        fs::remove_dir_all(&server.dir)?;
    }
    server.init()?;
    server.start()?;
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh", &runner.to_string()]).arg(&server.dir).process_group(0).current_dir("/");
    // Not waited for: it outlives this process.
    keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(server)
}

/// User and group that the server runs as when the tests run as root.
fn servant() -> io::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or_else(|| io::Error::other("PostgreSQL does not run as root, and there is no user postgres or nobody"))
}

/// The directory of PostgreSQL's programs: what `pg_config` says, Debian's places, the path.
fn find() -> io::Result<PathBuf> {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut debian: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    debian.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    places.extend(debian.into_iter().rev().map(|path| path.join("bin")));
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places.into_iter().find(|place| version(place).is_some_and(|version| version >= OLDEST)).ok_or_else(|| {
        io::Error::other(format!(
            "the tests need PostgreSQL {OLDEST} or later: install its server (Debian: apt-get install postgresql)"
        ))
    })
}

/// The major version of the server in a directory that has all that is needed.
fn version(bin: &Path) -> Option<u32> {
    let whole = ["initdb", "pg_ctl", "psql"].iter().all(|name| bin.join(name).is_file());
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok().filter(|_| whole)?;
    // "postgres (PostgreSQL) 15.8 (Debian 15.8-1)"
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
