//! The data directory: what lies where, and who may read it.

use crate::mint;
use domain::ids::NodeId;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// A directory of this process's own, readable by its user only.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file or directory fails.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The node's id was tampered with.
    #[error("{0} does not hold a node id; remove it to get a new one")]
    BadNodeId(PathBuf),
}

impl DataDir {
    /// Makes the directory if it is not there; a new one is for its owner only.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        private_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    /// A directory that is there, for those who only look.
    pub fn existing(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self(path.to_owned()))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The embedded database's file.
    pub fn database(&self) -> PathBuf {
        self.0.join("tollgate.db")
    }

    /// The master key's file.
    pub fn master_key(&self) -> PathBuf {
        self.0.join("master.key")
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The node's id, made at the first start.
    pub(crate) fn node_id(&self) -> Result<NodeId, DataDirError> {
        let path = self.0.join("node.id");
        let fail = |source| DataDirError::Io { path: path.clone(), source };
        let node: NodeId = mint();
        if create_once(&path, format!("{}\n", node.uuid().hyphenated()).as_bytes()).map_err(fail)? {
            return Ok(node);
        }
        let text = fs::read_to_string(&path).map_err(fail)?;
        let id = Uuid::parse_str(text.trim()).map_err(|_| DataDirError::BadNodeId(path.clone()))?;
        Ok(NodeId::from(id))
    }
}

/// Makes a file of mode 0600 with these bytes, durable when it is seen at all; false if there is one already.
///
/// Two processes that start at once agree on one file: it appears under its name only when it is whole.
pub(crate) fn create_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    let draft = path.with_extension(mint::<Uuid>().simple().to_string());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let made = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match made {
        Ok(()) => {
            if let Some(directory) = path.parent() {
                fs::File::open(directory)?.sync_all()?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// A directory that only its owner enters, made if it is not there.
pub(crate) fn private_dir(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })
}
