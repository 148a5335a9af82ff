//! TLS for clients' connections: one certificate for every listener, read anew when its files change.

use super::{Phase, left};
use crate::config::TlsFiles;
use anyhow::{Context as _, Result, anyhow, bail};
use domain::secret::Secret;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_rustls::{Accept, TlsAcceptor};

/// What is spoken inside, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How often the files are looked at. What is new is taken when it is the same at the second look: certificate and key are
/// two files, and not written at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most bytes of either file.
const FILE_MAX: u64 = 1 << 20;

/// What listeners speak TLS with. Clones share one certificate.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

/// The certificate in force.
#[derive(Debug)]
struct Shown {
    files: TlsFiles,
    key: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Both files as they were read.
struct Texts {
    cert: String,
    key: Secret,
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.cert == other.cert && self.key.expose() == other.key.expose()
    }
}

/// What looks at the files have found so far.
struct Looks {
    /// What is in force.
    taken: Texts,
    /// What was there at the last look, if it was something else.
    seen: Option<Texts>,
    /// What was said of it, so that it is said once.
    told: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One is not there or not what it should be, or they do not belong together; the setting and the file are named.
    pub(crate) fn open(files: &TlsFiles) -> Result<(Self, Watch)> {
        let provider = ring::default_provider();
        let taken = Texts::read(files)?;
        let key = RwLock::new(Arc::new(taken.certified(files, &provider)?));
        let shown = Arc::new(Shown { files: files.clone(), key });
        let config = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let mut config =
            config.context("TLS cannot be set up")?.with_no_client_auth().with_cert_resolver(shown.clone());
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok((Self(TlsAcceptor::from(Arc::new(config))), Watch { shown, looks: Looks { taken, seen: None, told: None } }))
    }

    /// The server's side of a handshake.
    pub(super) fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.accept(stream)
    }
}

/// Keeps an eye on the files.
pub(crate) struct Watch {
    shown: Arc<Shown>,
    looks: Looks,
}

impl Watch {
    /// Takes new files into force while connections are taken. Those that are open keep what they have; files that are not
    /// right are told, and what was in force stays.
    pub(crate) async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = left(&mut phase, Phase::Serving) => return,
            }
            // The disk may take its time, and the end of the process does not wait for it.
            let looking = tokio::task::spawn_blocking(move || self.looked());
            self = tokio::select! {
                Ok(looked) = looking => looked,
                () = left(&mut phase, Phase::Serving) => return,
                else => {
                    tracing::error!("the certificate is no longer watched: restart to take a new one into force");
                    return;
                }
            };
        }
    }

    fn looked(mut self) -> Self {
        match self.look() {
            Ok(false) => {}
            Ok(true) => {
                let cert = self.shown.files.cert.display();
                tracing::info!(%cert, "the certificate {cert} has changed; new connections are shown the new one");
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.looks.told.as_ref() != Some(&why) {
                    tracing::error!(error = why, "the new certificate is not taken, the old one stays");
                    self.looks.told = Some(why);
                }
            }
        }
        self
    }

    /// Whether there was something new, and it is in force.
    fn look(&mut self) -> Result<bool> {
        let looks = &mut self.looks;
        let texts = Texts::read(&self.shown.files)?;
        if texts == looks.taken {
            (looks.seen, looks.told) = (None, None);
            return Ok(false);
        }
        if looks.seen.as_ref() != Some(&texts) {
            looks.seen = Some(texts);
            return Ok(false);
        }
        let key = Arc::new(texts.certified(&self.shown.files, &ring::default_provider())?);
        *self.shown.key.write().unwrap_or_else(PoisonError::into_inner) = key;
        (looks.taken, looks.seen, looks.told) = (texts, None, None);
        Ok(true)
    }
}

impl Texts {
    fn read(files: &TlsFiles) -> Result<Self> {
        let cert = read(&files.cert).with_context(|| format!("tls.cert: {}", files.cert.display()))?;
        let key = read(&files.key).with_context(|| format!("tls.key: {}", files.key.display()))?;
        Ok(Self { cert, key: Secret::new(key) })
    }

    /// The certificate with its chain and its key, which belong together.
    fn certified(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let (cert, key) = (files.cert.display(), files.key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect();
        let chain = chain.map_err(|error| anyhow!("tls.cert: {cert}: {error}"))?;
        if chain.is_empty() {
            bail!("tls.cert: {cert} holds no certificate in PEM");
        }
        // What is wrong with it may quote it.
        let private = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes())
            .map_err(|_| anyhow!("tls.key: {key} holds no private key in PEM that is not encrypted"))?;
        CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => anyhow!("tls.key: {key} is not the key of the certificate in {cert}"),
            rustls::Error::InvalidCertificate(why) => anyhow!("tls.cert: {cert}: {why}"),
            other => anyhow!("tls.key: {key}: {other}"),
        })
    }
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        bail!("larger than {FILE_MAX} bytes");
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
