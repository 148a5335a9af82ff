//! The vault: seals secrets for one column of one row, and opens them there only.
//!
//! A sealed secret is a header (format, master key id, nonce) and an XChaCha20-Poly1305 ciphertext. Its associated data
//! are the header, the column and the row's id, so a ciphertext that was moved or changed does not open. Each column has
//! a key of its own, derived from the master key. Another master key takes its place by [`rotate`].

mod rotate;

pub use rotate::{RotateError, Rotated, rotate};

use crate::data_dir::create_once;
use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use domain::{
    catalog::{Endpoint, ProviderKey},
    ids::{BuildIdHasher, ProviderKeyId},
    ports::{CannotOpen, Keyring},
    secret::{Sealed, Secret},
};
use hkdf::Hkdf;
use sha2::Sha256;
use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const KEY_ID: usize = 8;
const NONCE: usize = 24;
const HEADER: usize = 1 + KEY_ID + NONCE;
const MASTER: usize = 32;

/// A column that holds sealed secrets; its names are part of what is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// `provider_api_keys.api_key`
    ProviderKey,
    /// `api_keys.key_encrypted`
    ClientKey,
    /// `provider_endpoints.proxy_password`
    ProxyPassword,
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::ProviderKey => "provider_api_keys.api_key",
            Self::ClientKey => "api_keys.key_encrypted",
            Self::ProxyPassword => "provider_endpoints.proxy_password",
        }
    }
}

/// Why the vault does not work.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A master key of the wrong form. It is not repeated here.
    #[error("the master key must be base64 of 32 bytes")]
    BadMasterKey,
    /// A key file that others may read.
    #[error("{path} may be read by others (mode {mode:o}); make it 0600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A key file that fails.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// No randomness for a key or a nonce.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// A secret too large to seal.
    #[error("the secret cannot be sealed")]
    CannotSeal,
}

/// The key that all others come from; never printed, wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; MASTER]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl MasterKey {
    /// Takes the bytes over.
    pub fn from_bytes(bytes: [u8; MASTER]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads base64 of 32 bytes.
    pub fn from_base64(text: &Secret) -> Result<Self, VaultError> {
        let bytes = STANDARD.decode(text.expose().trim()).map(Zeroizing::new).map_err(|_| VaultError::BadMasterKey)?;
        let bytes = bytes.as_slice().try_into().map_err(|_| VaultError::BadMasterKey)?;
        Ok(Self::from_bytes(bytes))
    }

    /// Reads the key file, or makes it with mode 0600; refuses one that others may read.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        Self::make(path)?;
        Self::read(path)
    }

    /// Makes the key file if there is none.
    fn make(path: &Path) -> Result<(), VaultError> {
        let fail = |source| VaultError::File { path: path.to_owned(), source };
        if !path.try_exists().map_err(fail)? {
            let mut bytes = Zeroizing::new([0; MASTER]);
            getrandom::fill(&mut *bytes).map_err(|_| VaultError::NoRandomness)?;
            let text = Zeroizing::new(STANDARD.encode(*bytes) + "\n");
            create_once(path, text.as_bytes()).map_err(fail)?;
        }
        Ok(())
    }

    /// Reads the key file if there is one.
    fn read_if_there(path: &Path) -> Result<Option<Self>, VaultError> {
        match Self::read(path) {
            Err(VaultError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn read(path: &Path) -> Result<Self, VaultError> {
        let fail = |source| VaultError::File { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fail)?;
        Self::from_base64(&Secret::new(text))
    }

    fn derive<const N: usize>(&self, purpose: &str) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        // Fails only above 8,160 bytes.
        let _ = Hkdf::<Sha256>::new(Some(b"tollgate vault 1"), &*self.0).expand(purpose.as_bytes(), &mut *key);
        key
    }
}

/// The keys of one master key.
struct Keys {
    id: [u8; KEY_ID],
    provider_key: XChaCha20Poly1305,
    client_key: XChaCha20Poly1305,
    proxy_password: XChaCha20Poly1305,
}

impl Keys {
    fn new(master: &MasterKey) -> Self {
        let cipher = |column: Column| XChaCha20Poly1305::new((&*master.derive::<32>(column.name())).into());
        Self {
            id: *master.derive("key id"),
            provider_key: cipher(Column::ProviderKey),
            client_key: cipher(Column::ClientKey),
            proxy_password: cipher(Column::ProxyPassword),
        }
    }

    fn cipher(&self, column: Column) -> &XChaCha20Poly1305 {
        match column {
            Column::ProviderKey => &self.provider_key,
            Column::ClientKey => &self.client_key,
            Column::ProxyPassword => &self.proxy_password,
        }
    }
}

/// The keys that seal, and those that only open.
struct Ring {
    current: Arc<Keys>,
    former: Vec<Arc<Keys>>,
}

/// Provider credentials that are kept open; when there are more, all are forgotten and opened anew.
const OPEN_MAX: usize = 10_000;

/// Seals with the newest master key and opens with any that it has.
pub struct Vault {
    ring: ArcSwap<Ring>,
    /// Where another master key takes the place of the one in force.
    file: Option<PathBuf>,
    /// Credentials that requests have used, so that not every request opens one.
    open: papaya::HashMap<ProviderKeyId, Open, BuildIdHasher>,
}

/// What a credential was opened from, and what came of it.
struct Open {
    sealed: Sealed,
    clear: Secret,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// A vault with one master key.
    pub fn new(master: &MasterKey) -> Self {
        let ring = Ring { current: Arc::new(Keys::new(master)), former: Vec::new() };
        Self { ring: ArcSwap::from_pointee(ring), file: None, open: papaya::HashMap::default() }
    }

    /// A vault with the master key of a file, made if it is not there, and with the one before it for as long as secrets
    /// are sealed under that.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        let vault = Self { file: Some(path.to_owned()), ..Self::new(&MasterKey::from_file(path)?) };
        vault.refresh()?;
        Ok(vault)
    }

    /// Takes up the master key that has taken the place of the one in force, if one has. What it could open it still can.
    ///
    /// Reads a file or two: not for the way of a request.
    pub fn refresh(&self) -> Result<(), VaultError> {
        let Some(path) = &self.file else { return Ok(()) };
        let current = Arc::new(Keys::new(&MasterKey::read(path)?));
        // After the current one: a rotation that goes on meanwhile puts the former key there first.
        let former = MasterKey::read_if_there(&rotate::former(path))?.map(|master| Arc::new(Keys::new(&master)));
        let ring = self.ring.load();
        let known = std::iter::once(&ring.current).chain(&ring.former).cloned();
        let mut opening: Vec<Arc<Keys>> = Vec::new();
        for keys in known.chain(former) {
            if keys.id != current.id && !opening.iter().any(|other| other.id == keys.id) {
                opening.push(keys);
            }
        }
        if current.id != ring.current.id || opening.len() != ring.former.len() {
            self.ring.store(Arc::new(Ring { current, former: opening }));
        }
        Ok(())
    }

    /// Whether secrets may still lie under the master key before this one, because a rotation did not come to its end.
    pub fn is_being_rotated(&self) -> bool {
        let exists = |path: PathBuf| path.try_exists().unwrap_or(true);
        self.file().is_some_and(|path| exists(rotate::former(path)) || exists(rotate::next(path)))
    }

    /// The key file, if the master key is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether a secret is sealed under the newest master key.
    fn is_current(&self, sealed: &Sealed) -> bool {
        sealed.0.get(1..=KEY_ID) == Some(&self.ring.load().current.id)
    }

    /// Seals a secret for one row.
    pub fn seal(&self, column: Column, row: Uuid, secret: &Secret) -> Result<Sealed, VaultError> {
        let mut sealed = Vec::with_capacity(HEADER + secret.expose().len() + 16);
        let keys = self.ring.load().current.clone();
        sealed.push(FORMAT);
        sealed.extend_from_slice(&keys.id);
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::NoRandomness)?;
        sealed.extend_from_slice(&nonce);
        let aad = associated(&sealed, column, row);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &aad };
        let cipher = keys.cipher(column);
        sealed.extend(cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| VaultError::CannotSeal)?);
        Ok(Sealed(sealed))
    }

    /// Opens a secret in its row.
    pub fn unseal(&self, column: Column, row: Uuid, sealed: &Sealed) -> Result<Secret, CannotOpen> {
        let (header, ciphertext) = sealed.0.split_at_checked(HEADER).ok_or(CannotOpen)?;
        let (format, rest) = header.split_first().ok_or(CannotOpen)?;
        let (id, nonce) = rest.split_at_checked(KEY_ID).ok_or(CannotOpen)?;
        if *format != FORMAT {
            return Err(CannotOpen);
        }
        let ring = self.ring.load();
        let keys = std::iter::once(&ring.current).chain(&ring.former).find(|keys| keys.id == id).ok_or(CannotOpen)?;
        let payload = Payload { msg: ciphertext, aad: &associated(header, column, row) };
        let clear = keys.cipher(column).decrypt(XNonce::from_slice(nonce), payload).map_err(|_| CannotOpen)?;
        String::from_utf8(clear).map(Secret::new).map_err(|_| CannotOpen)
    }
}

impl Keyring for Vault {
    fn open(&self, key: &ProviderKey) -> Result<Secret, CannotOpen> {
        let known = self.open.pin();
        if let Some(open) = known.get(&key.id).filter(|open| open.sealed == key.api_key) {
            return Ok(open.clear.clone());
        }
        let clear = self.unseal(Column::ProviderKey, key.id.uuid(), &key.api_key)?;
        if known.len() >= OPEN_MAX {
            known.clear();
        }
        known.insert(key.id, Open { sealed: key.api_key.clone(), clear: clear.clone() });
        Ok(clear)
    }

    /// Not kept: a connection is made with it, and connections are.
    fn proxy_password(&self, endpoint: &Endpoint) -> Result<Option<Secret>, CannotOpen> {
        let sealed = endpoint.proxy_password.as_ref();
        sealed.map(|sealed| self.unseal(Column::ProxyPassword, endpoint.id.uuid(), sealed)).transpose()
    }
}

fn associated(header: &[u8], column: Column, row: Uuid) -> Vec<u8> {
    // The parts before the column's name have fixed lengths: no two inputs give the same bytes.
    [header, row.as_bytes(), column.name().as_bytes()].concat()
}

#[cfg(test)]
mod tests;
