//! Segment files: their names, their header, and places in them.

use super::JournalError;
use domain::ids::NodeId;
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"TGJOURNL";
const FORMAT: u16 = 1;
/// Magic, format, node, epoch, segment, checksum.
pub(crate) const HEADER: usize = 8 + 2 + 16 + 8 + 4 + 4;

/// One segment file of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The epoch that wrote it.
    pub epoch: u64,
    /// From 0 in each epoch.
    pub number: u32,
}

impl SegmentId {
    pub(crate) fn file_name(self) -> String {
        format!("{:08}-{:06}.log", self.epoch, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (epoch, number) = name.strip_suffix(".log")?.split_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A place in a journal; places of one node are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// In which file.
    pub segment: SegmentId,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// A segment's first bytes.
pub(crate) fn header(node: NodeId, id: SegmentId) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[10..26].copy_from_slice(node.uuid().as_bytes());
    bytes[26..34].copy_from_slice(&id.epoch.to_le_bytes());
    bytes[34..38].copy_from_slice(&id.number.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..38]);
    bytes[38..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What a file's first bytes say.
pub(crate) enum Header {
    /// A segment of this node.
    Good,
    /// Too short or damaged: nothing behind it can be trusted.
    Torn,
}

/// What an undamaged header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) format: u16,
    pub(crate) node: NodeId,
    pub(crate) id: SegmentId,
}

impl Head {
    /// Whether this version reads what follows.
    pub(crate) const fn is_known(&self) -> bool {
        self.format <= FORMAT
    }
}

/// Reads a segment's first bytes, `None` if they are torn; what follows is behind the file's cursor.
pub(crate) fn read_head(file: &mut fs::File) -> io::Result<Option<Head>> {
    let mut bytes = [0; HEADER];
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (body, sum) = bytes.split_at(38);
    if sum != crc32fast::hash(body).to_le_bytes() || &body[..8] != MAGIC {
        return Ok(None);
    }
    let (mut owner, mut epoch, mut number) = ([0; 16], [0; 8], [0; 4]);
    owner.copy_from_slice(&body[10..26]);
    epoch.copy_from_slice(&body[26..34]);
    number.copy_from_slice(&body[34..38]);
    let id = SegmentId { epoch: u64::from_le_bytes(epoch), number: u32::from_le_bytes(number) };
    let format = u16::from_le_bytes([body[8], body[9]]);
    Ok(Some(Head { format, node: NodeId::from(Uuid::from_bytes(owner)), id }))
}

/// Reads and checks a segment's header; what follows is behind the file's cursor.
pub(crate) fn read_header(file: &mut fs::File, path: &Path, node: NodeId) -> Result<Header, JournalError> {
    let head = read_head(file).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    let Some(head) = head else { return Ok(Header::Torn) };
    if !head.is_known() {
        return Err(JournalError::Newer { path: path.to_owned(), what: format!("segment format {}", head.format) });
    }
    if head.node != node {
        return Err(JournalError::OtherNode(path.to_owned()));
    }
    Ok(Header::Good)
}

/// All segments of a directory, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(SegmentId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(SegmentId::parse) {
            found.push((id, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Opens a segment for reading from `offset` on, or from behind its header; where it stands.
pub(crate) fn open_segment(dir: &Path, id: SegmentId, offset: u64) -> io::Result<(fs::File, u64)> {
    use std::io::Seek as _;
    let start = offset.max(HEADER as u64);
    let mut file = fs::File::open(dir.join(id.file_name()))?;
    file.seek(io::SeekFrom::Start(start))?;
    Ok((file, start))
}
