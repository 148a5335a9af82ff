//! Child processes: started, watched through `/proc`, ended.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

/// How long a program may take until it accepts connections; far more than any needs.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a program may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A running program; ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it accepts connections.
    pub(crate) address: SocketAddr,
}

/// CPU time by thread, in nanoseconds.
///
/// A thread that ended takes its time with it. Runtimes end a thread only after seconds of idleness, so what it did was
/// before the interval that is measured.
pub(crate) struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    /// What was spent since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let spent = |(thread, now): (&u32, &u64)| now - earlier.0.get(thread).copied().unwrap_or(0).min(*now);
        Duration::from_nanos(self.0.iter().map(spent).sum())
    }
}

/// A port on loopback that nobody listens on.
pub(crate) async fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

impl Program {
    /// Starts `command`, its output going to `log`, without waiting for anything.
    pub(crate) fn spawn(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, address })
    }

    /// Starts `command` and waits until it accepts connections at `address`.
    pub(crate) async fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let mut program = Self::spawn(command, address, log)?;
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            program.check(log)?;
            if began.elapsed() > START_MAX {
                bail!("{} does not listen: {}", command.get_program().display(), last_words(log));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(program)
    }

    /// Fails if the program has ended.
    pub(crate) fn check(&mut self, log: &Path) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a program ended with {status}: {}", last_words(log)),
            None => Ok(()),
        }
    }

    /// CPU time so far, workers included.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        let mut threads = BTreeMap::new();
        for pid in self.family()? {
            for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
                let entry = entry?;
                // A thread may end between the listing and the look.
                let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
                let thread = entry.file_name().to_string_lossy().parse()?;
                let running = text.split(' ').next().context("an empty schedstat")?.parse()?;
                threads.insert(thread, running);
            }
        }
        if threads.is_empty() {
            bail!("the kernel keeps no schedstat");
        }
        Ok(CpuTime(threads))
    }

    /// Resident memory in KiB, workers included.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.family()? {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss line")?;
            sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Waits until the program has nothing left to do after what it was asked, at most two seconds.
    pub(crate) async fn quiet(&self) -> Result<()> {
        for _ in 0..20 {
            let before = self.cpu()?;
            sleep(Duration::from_millis(100)).await;
            if self.cpu()?.since(&before) < Duration::from_millis(1) {
                break;
            }
        }
        Ok(())
    }

    /// The process and its children, in which nginx does its work.
    fn family(&self) -> Result<Vec<u32>> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).context("the program is gone")?;
        let children = children.split_whitespace().map(|child| Ok(child.parse()?)).collect::<Result<Vec<u32>>>()?;
        Ok([vec![pid], children].concat())
    }

    /// Ends the program as an operator does.
    pub(crate) async fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > STOP_MAX {
                bail!("a program does not end");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Ended or never there: either is what is wanted. SIGTERM first, for nginx must end its workers itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log, for a message.
pub(crate) fn last_words(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
