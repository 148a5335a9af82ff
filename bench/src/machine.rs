//! The machine, as far as figures depend on it.

use anyhow::{Context, Result};
use std::fs;

/// One line: processor, cores, memory, kernel. Nothing that would name the machine.
pub(crate) fn describe() -> Result<String> {
    let cpus = read("/proc/cpuinfo")?;
    let model = field(&cpus, "model name").unwrap_or("unknown processor");
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo")?;
    let kib: u64 = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
    let release = read("/proc/sys/kernel/osrelease")?;
    // Only the version: what follows it is the name that somebody gave a build.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    Ok(format!("{model}, {cores} cores, {} GiB memory, Linux {kernel}", kib.div_ceil(1 << 20)))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(name))?.split_once(':').map(|(_, value)| value.trim())
}
