//! A catalog of many client keys: how long the gateway takes to load it, and what each key occupies.

use anyhow::Result;

use super::{Run, start::start};
use crate::{
    figures::{median, scaled, to_f64},
    progress,
    report::{Table, Verdict, figure},
    stack::{Gateway, upstream},
};

/// Client keys of the catalogs: few, and many.
const FEW: usize = 10;
const MANY: usize = 100_000;
/// Starts with each catalog.
const STARTS: usize = 3;
/// The bars: a start with many keys, and what each of them occupies.
const LOAD_MAX_MS: f64 = 2_000.0;
const KEY_MAX_KIB: f64 = 1.0;

/// Medians of one catalog.
struct Loaded {
    took_ms: f64,
    resident_kib: f64,
}

pub(super) async fn measure(run: &Run) -> Result<Table> {
    let folder = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
    let upstream = upstream(folder.path(), 0).await?;
    let few = load(&Gateway::prepare(folder.path(), upstream.address, FEW)?, run.scale).await?;
    let many = load(&Gateway::prepare(folder.path(), upstream.address, MANY)?, run.scale).await?;
    let each_kib = (many.resident_kib - few.resident_kib) / to_f64(MANY - FEW);
    progress(&format!("{MANY} client keys: {:.0} ms, {each_kib:.2} KiB each", many.took_ms));
    let row = |keys: usize, loaded: &Loaded| {
        vec![keys.to_string(), figure(loaded.took_ms), figure(loaded.resident_kib / 1024.0)]
    };
    Ok(Table {
        title: "Client keys",
        what: "From the start of the process to its first 200 on `/healthz`, and its resident memory then, with all client keys in \
               memory; the keys have limits and one owner. A request finds its key by one look-up in a hash map, however many there \
               are."
            .to_owned(),
        head: vec!["client keys", "median ms", "resident MiB"],
        rows: vec![row(FEW, &few), row(MANY, &many)],
        verdicts: vec![
            Verdict::at_most(format!("bar with {MANY} keys: < {LOAD_MAX_MS} ms"), Some(many.took_ms), LOAD_MAX_MS, " ms"),
            Verdict::at_most(format!("bar: ≤ {KEY_MAX_KIB} KiB per client key"), Some(each_kib), KEY_MAX_KIB, " KiB"),
        ],
    })
}

async fn load(gateway: &Gateway, scale: f64) -> Result<Loaded> {
    let (mut took_ms, mut resident_kib) = (Vec::new(), Vec::new());
    for _ in 0..scaled(STARTS, scale, 1) {
        let (took, program) = start(gateway).await?;
        program.quiet().await?;
        resident_kib.push(to_f64(usize::try_from(program.resident_kib()?)?));
        program.stop().await?;
        took_ms.push(took);
    }
    Ok(Loaded { took_ms: median(took_ms), resident_kib: median(resident_kib) })
}
