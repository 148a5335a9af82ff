//! The command line: what it can be told, and what each command does with it.

use crate::{
    books, catalog,
    config::{Config, Sources},
    convert::{self, Convert},
    demo, explain, out, serve, simulate, telemetry,
};
use admin::Secrets;
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};
use store::{DataDir, DatabaseUrl, Db, Store, migrate, vault::Rotated};

/// Everything was fine.
pub(crate) const FINE: u8 = 0;
/// Findings, or a failure.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;

/// A self-hosted gateway in front of AI model APIs.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true)]
struct Cli {
    /// The settings file; without it ./tollgate.toml, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    Serve(Serve),
    /// Makes the catalog what a document says.
    Apply(Apply),
    /// Writes the catalog as the document that makes it.
    Export(Export),
    /// Checks settings and catalog, and whether the upstreams answer.
    Check {
        /// The catalog's document; without it the database's catalog is checked.
        file: Option<PathBuf>,
    },
    /// Plays traffic through the scheduler in virtual time, and tells what came of it.
    Simulate(simulate::Simulate),
    /// Tells who would serve a request, in which order, and why the others would not.
    Explain(explain::Explain),
    /// Brings the database to this version's schema and ends.
    Migrate,
    /// Writes a request, an answer or a stream of one wire as another wire has it.
    ///
    /// The result goes to standard output, what could not be carried to standard error, with its place in the file.
    Convert(Convert),
    /// Derives every bill from its row and every counter from the rows again, and says what differs.
    Verify,
    /// Looks at the journal.
    #[command(subcommand)]
    Journal(Journal),
    /// Works on the key that secrets are sealed under.
    #[command(subcommand)]
    Vault(Vault),
}

#[derive(Debug, Subcommand)]
enum Vault {
    /// Seals every secret anew under a new master key; a running node picks it up. After an interruption, run it again.
    Rotate,
}

#[derive(Debug, Subcommand)]
enum Journal {
    /// Lists its epochs, segments and records, checks them, says what is shipped, and changes nothing.
    Inspect {
        /// The journal's directory; without it the one of the data directory.
        path: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port of the API for clients.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Directory of database, journal and master key.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Applies this document first.
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    catalog: Option<PathBuf>,
    /// Serves from an upstream inside the process, with a catalog and a key of its own; refuses a data directory that is
    /// not empty, and without --data-dir uses one that goes when it ends.
    #[arg(long)]
    demo: bool,
}

#[derive(Debug, Args)]
struct Apply {
    /// The document, in YAML, JSON or TOML.
    file: PathBuf,
    /// Prints what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Deletes what the lists of the document do not name.
    #[arg(long)]
    prune: bool,
}

#[derive(Debug, Args)]
struct Export {
    /// Where to; without it standard output.
    file: Option<PathBuf>,
    /// Writes secrets in the clear, into a file that only its owner reads; noted in the audit log.
    #[arg(long)]
    with_secrets: bool,
}

/// Does what the arguments say, and says how the process ends.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; all else is wrong usage.
            let code = if error.use_stderr() { USAGE } else { FINE };
            let _ = error.print();
            return code.into();
        }
    };
    let done = match &cli.command {
        // It needs no settings, and reads none.
        Command::Convert(convert) => convert::run(convert).map(|whole| if whole { FINE } else { FAILED }),
        _ => run_command(cli),
    };
    let code = done.unwrap_or_else(|error| {
        out::complain(format_args!("tollgate: {error:#}"));
        FAILED
    });
    code.into()
}

fn run_command(cli: Cli) -> Result<u8> {
    let mut sources = Sources::of_process(cli.config.as_deref())?;
    if let Command::Serve(serve) = &cli.command {
        let flags = [("listen", "--listen", &serve.listen), ("data_dir", "--data-dir", &serve.data_dir)];
        for (setting, flag, text) in flags {
            if let Some(text) = text {
                sources.set(setting, flag, text);
            }
        }
    }
    let config = sources.resolve()?;
    let _lines = telemetry::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        match cli.command {
            Command::Serve(serve) if serve.demo => demo::run(config).await,
            Command::Serve(serve) => {
                let document = serve.catalog.map(|path| catalog::read(&path, &sources.environment)).transpose()?;
                serve::run(&config, document).await
            }
            Command::Apply(apply) => apply_document(&apply, &sources, &config).await,
            Command::Export(export) => export_catalog(&export, &config).await,
            Command::Check { file } => check(file, &sources, &config).await,
            Command::Simulate(simulate) => {
                let document = simulate.document().map(|path| catalog::read(path, &sources.environment)).transpose()?;
                simulate::run(&simulate, document.as_ref(), &config).await.map(|()| FINE)
            }
            Command::Explain(asked) => explain::answer(&asked, &config).await.map(|()| FINE),
            Command::Migrate => migrate(&config).await,
            Command::Verify => books::verify(&config).await,
            Command::Journal(Journal::Inspect { path }) => books::inspect(&config, path).await,
            Command::Vault(Vault::Rotate) => rotate(&config).await,
            Command::Convert(_) => Ok(FINE), // done before, without settings
        }
    })
}

async fn apply_document(apply: &Apply, sources: &Sources, config: &Config) -> Result<u8> {
    let document = catalog::read(&apply.file, &sources.environment)?;
    let store = Store::open(config.store()).await?;
    let how = catalog::How { dry_run: apply.dry_run, prune: apply.prune };
    let report = catalog::apply(&store, &document, config, how).await;
    store.db().close().await;
    catalog::tell(&report?)?;
    Ok(FINE)
}

async fn export_catalog(export: &Export, config: &Config) -> Result<u8> {
    let secrets = if export.with_secrets { Secrets::Included } else { Secrets::Omitted };
    let store = Store::open(config.store()).await?;
    let text = admin::export(&store, secrets).await;
    store.db().close().await;
    let text = text.context("the catalog cannot be exported")?;
    match &export.file {
        Some(path) => catalog::write(path, &text, secrets)?,
        None => out::text(&text)?,
    }
    Ok(FINE)
}

async fn check(file: Option<PathBuf>, sources: &Sources, config: &Config) -> Result<u8> {
    let document = file.map(|path| catalog::read(&path, &sources.environment)).transpose()?;
    let store = Store::open(config.store()).await?;
    let checked = catalog::check(&store, document.as_ref(), config).await;
    store.db().close().await;
    let checked = checked?;
    for finding in &checked.findings {
        out::line(finding)?;
    }
    let errors = checked.findings.iter().filter(|finding| finding.level == admin::Level::Error).count();
    let warnings = checked.findings.len() - errors;
    out::line(format_args!("{errors} errors, {warnings} warnings, {} endpoints asked", checked.endpoints.len()))?;
    Ok(if checked.has_errors() { FAILED } else { FINE })
}

async fn rotate(config: &Config) -> Result<u8> {
    let store = Store::open(config.store()).await?;
    let rotated = store::vault::rotate(&store).await;
    store.db().close().await;
    let Rotated { sealed, unreadable, resumed } = rotated.context("the master key was not replaced everywhere")?;
    for row in &unreadable {
        out::complain(format_args!("no master key opens the secret of {row}; it stays as it is"));
    }
    let how = if resumed { ", going on with an earlier run" } else { "" };
    out::line(format_args!("{sealed} secrets sealed under the new master key{how}"))?;
    Ok(if unreadable.is_empty() { FINE } else { FAILED })
}

async fn migrate(config: &Config) -> Result<u8> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let url = match &config.database_url {
        Some(url) => url.expose().parse()?,
        None => DatabaseUrl::sqlite(data_dir.database()),
    };
    let db = Db::connect(&url).await?;
    let applied = migrate::run(&db).await;
    db.close().await;
    out::line(format_args!("schema version {}, {} steps applied", migrate::known(), applied?.len()))?;
    Ok(FINE)
}
