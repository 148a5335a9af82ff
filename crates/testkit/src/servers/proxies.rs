//! Real proxy programs: tinyproxy for HTTP, microsocks for SOCKS5; each on a port of its own and ended with its handle.

use socket2::{Domain, Socket, Type};
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a program may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A running proxy on loopback.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
    /// Keeps the port from everybody else: two sockets that may reuse an address have it both while one of them listens.
    _reserved: Socket,
}

/// Who a proxy serves; anybody without.
pub type Login<'l> = Option<(&'l str, &'l str)>;

impl Proxy {
    /// An HTTP proxy, which leads to every port.
    ///
    /// # Errors
    /// The program is not there, or does not listen in time.
    pub fn http(login: Login<'_>) -> io::Result<Self> {
        Self::start(|port, dir| {
            let auth = login.map_or_else(String::new, |(name, word)| format!("BasicAuth {name} {word}\n"));
            let log = dir.path().join("log");
            let settings =
                format!("Port {port}\nListen 127.0.0.1\nLogFile \"{}\"\nLogLevel Connect\n{auth}", log.display());
            let file = dir.path().join("tinyproxy.conf");
            fs::write(&file, settings)?;
            let mut command = Command::new(find("tinyproxy", "tinyproxy-bin")?);
            command.arg("-d").arg("-c").arg(file);
            Ok(command)
        })
    }

    /// A SOCKS5 proxy.
    ///
    /// # Errors
    /// As [`Proxy::http`].
    pub fn socks5(login: Login<'_>) -> io::Result<Self> {
        Self::start(|port, _| {
            let mut command = Command::new(find("microsocks", "microsocks")?);
            command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
            if let Some((name, word)) = login {
                command.args(["-u", name, "-P", word]);
            }
            Ok(command)
        })
    }

    fn start(command: impl FnOnce(u16, &TempDir) -> io::Result<Command>) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        reserved.set_reuse_address(true)?;
        reserved.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = reserved.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no address"))?;
        let said = File::create(dir.path().join("said"))?;
        let mut command = command(address.port(), &dir)?;
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn()?;
        let mut proxy = Self { child, address, dir, _reserved: reserved };
        #[allow(clippy::disallowed_methods, reason = "a real process is awaited")]
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START_WITHIN || proxy.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("the proxy does not listen: {}", proxy.log())));
            }
            std::thread::yield_now();
        }
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("log") + &read("said")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(program: &str, package: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|place| place.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| io::Error::other(format!("the tests need {program} (Debian: apt-get install {package})")))
}
