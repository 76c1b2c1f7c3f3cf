//! The directory of a node that outlives its process: who the node is, its log, its snapshots.
//!
//! ```text
//! LOCK         held by the node while it runs
//! identity     who the node is: written once, before anything else
//! log/         the log
//! snapshots/   snapshots
//! group/       snapshots of the strong group
//! ```
//!
//! - **One node at a time.** The lock is the system's: it is free when its holder is dead, however it died.
//! - **An identity is never replaced.** It is durable before the node draws anything from it; a damaged or missing one stops
//!   the node, because another one in its place would give the same name to two histories (`NodeId`s are never reused).
//! - **Nothing of others is touched.** A directory with files in it and no identity belongs to somebody else.

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    codec::{put_sized, CodecError, Fault, Reader, Stored},
    envelope::{seal, unseal, EnvelopeFault, Magic},
    files::{disk_error, unknown_version, write_whole, TEMPORARY_ENDING},
};
use crate::{
    env::{Disk, DiskLock, OpenMode},
    error::{Error, ErrorCode, Result},
    limits::{CLUSTER_NAME_BYTES_MAX, IDENTITY_BYTES_MAX},
    types::NodeId,
};

/// The version of the identity that this software writes. It reads this one and no other.
const IDENTITY_FORMAT_VERSION: u32 = 1;

const MAGIC: Magic = *b"kvnode\r\n";

const LOCK: &str = "LOCK";
const IDENTITY: &str = "identity";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";
const GROUP: &str = "group";

/// The data directory of a running node: locked until this is dropped.
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    /// Nobody else works here while it is held.
    _lock: Box<dyn DiskLock>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    node: NodeId,
    cluster: String,
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataDir").field("path", &self.path).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl DataDir {
    /// Opens the directory of a node of this cluster, or makes one; then `draw` says who the node is.
    ///
    /// # Errors
    /// Nothing is changed but for the lock's file: `DATA_DIR_IN_USE` while another node has it, `WRONG_CLUSTER` for a node of
    /// another cluster, `CORRUPT` for a damaged or missing identity, `FORMAT_TOO_NEW` for one of a later version,
    /// `BAD_SETTING` for a directory that is somebody else's. `DISK_FULL`, `DISK_FAILED`, and what `draw` says.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        cluster: &str,
        draw: impl FnOnce() -> Result<NodeId>,
    ) -> Result<DataDir> {
        if cluster.len() > CLUSTER_NAME_BYTES_MAX {
            let text = format!("cluster: {} bytes, the limit is {CLUSTER_NAME_BYTES_MAX}", cluster.len());
            return Err(Error::new(ErrorCode::BadSetting, text));
        }
        let failed = |error| disk_error("create", path, &error);
        disk.create_dir_all(path).map_err(failed)?;
        check_owner(&*disk, path)?;
        let lock = take_lock(&*disk, path)?;
        let found = read_identity(&*disk, &path.join(IDENTITY))?;
        let is_new = found.is_none();
        let identity = match found {
            Some(identity) => identity,
            None => {
                // Once more under the lock: somebody else may have been at work before.
                check_owner(&*disk, path)?;
                create_identity(&*disk, path, Identity { node: draw()?, cluster: cluster.to_string() })?
            }
        };
        check_cluster(path, &identity, cluster)?;
        for name in [LOG, SNAPSHOTS, GROUP] {
            disk.create_dir_all(&path.join(name)).map_err(failed)?;
        }
        Ok(DataDir { disk, path: path.into(), identity, is_new, _lock: lock })
    }

    /// Who the node is.
    pub fn node(&self) -> NodeId {
        self.identity.node
    }

    /// Makes the node another one, durably: what it has is that of a former self.
    ///
    /// # Errors
    /// `DISK_FULL`, `DISK_FAILED`; it is who it was then.
    pub fn renew(&mut self, node: NodeId) -> Result<()> {
        let identity = Identity { node, cluster: self.identity.cluster.clone() };
        self.identity = create_identity(&*self.disk, &self.path, identity)?;
        Ok(())
    }

    /// Its cluster.
    pub fn cluster(&self) -> &str {
        &self.identity.cluster
    }

    /// Whether the node has just been made: there is nothing to recover.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its log is.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where its snapshots are.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// Where the snapshots of its strong group are.
    pub fn group_dir(&self) -> PathBuf {
        self.path.join(GROUP)
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

/// Makes a new directory of a node that holds something from the beginning: `fill` writes snapshots into the directory that
/// it is given. Who the node is comes last, so that a directory that was filled by half is no node's.
///
/// # Errors
/// `BAD_SETTING` for a directory that holds anything, `DATA_DIR_IN_USE`, `DISK_FULL`, `DISK_FAILED`, and what `fill` says.
pub fn create_filled(
    disk: &Arc<dyn Disk>,
    path: &Path,
    (node, cluster): (NodeId, &str),
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let failed = |what| move |error| disk_error(what, path, &error);
    disk.create_dir_all(path).map_err(failed("create"))?;
    let _lock = take_lock(&**disk, path)?;
    let (files, dirs) = (disk.list(path).map_err(failed("list"))?, disk.list_dirs(path).map_err(failed("list"))?);
    if let Some(name) = files.iter().chain(&dirs).find(|name| *name != LOCK) {
        let text = format!("data_dir: {} is not empty ({name:?} is in it): give a new directory", path.display());
        return Err(Error::new(ErrorCode::BadSetting, text));
    }
    for name in [LOG, SNAPSHOTS] {
        disk.create_dir_all(&path.join(name)).map_err(failed("create"))?;
    }
    fill(&path.join(SNAPSHOTS))?;
    create_identity(&**disk, path, Identity { node, cluster: cluster.to_string() })?;
    Ok(())
}

/// How the names of files begin to end that were set aside.
pub(super) const DAMAGED_ENDING: &str = ".damaged-";

/// Puts everything in the directory of a node aside, under names that nobody reads, and makes the directory that of a new
/// node. For one whose data are damaged, and that can get them elsewhere. A crash on the way leaves a directory that is
/// damaged as before.
///
/// # Errors
/// `DATA_DIR_IN_USE`, `DISK_FULL`, `DISK_FAILED`.
pub fn set_aside(disk: &dyn Disk, path: &Path, (node, cluster): (NodeId, &str), now_ms: u64) -> Result<()> {
    let _lock = take_lock(disk, path)?;
    let ending = format!("{DAMAGED_ENDING}{now_ms}");
    for dir in [path.join(LOG), path.join(SNAPSHOTS)] {
        disk.create_dir_all(&dir).map_err(|error| disk_error("create", &dir, &error))?;
        let names = disk.list(&dir).map_err(|error| disk_error("list", &dir, &error))?;
        for name in names.iter().filter(|name| !name.contains(DAMAGED_ENDING)) {
            put_aside(disk, &dir.join(name), &ending)?;
        }
        disk.sync_dir(&dir).map_err(|error| disk_error("sync", &dir, &error))?;
    }
    put_aside(disk, &path.join(IDENTITY), &ending)?;
    create_identity(disk, path, Identity { node, cluster: cluster.to_string() })?;
    Ok(())
}

/// Where things are in a directory, for those who only look.
pub(super) struct Layout {
    path: PathBuf,
    pub(super) log: PathBuf,
    pub(super) snapshots: PathBuf,
}

impl Layout {
    pub(super) fn of(path: &Path) -> Layout {
        Layout { path: path.into(), log: path.join(LOG), snapshots: path.join(SNAPSHOTS) }
    }

    /// Whether these files and directories are in it that a node makes.
    pub(super) fn is_of_a_node(&self, files: &[String], dirs: &[String]) -> bool {
        files.iter().any(|name| name == IDENTITY) || dirs.iter().any(|name| name == LOG || name == SNAPSHOTS)
    }

    /// Who the node is, and of which cluster; `None`: nothing says it.
    pub(super) fn identity(&self, disk: &dyn Disk) -> Result<Option<(NodeId, String)>> {
        let identity = read_identity(disk, &self.path.join(IDENTITY))?;
        Ok(identity.map(|identity| (identity.node, identity.cluster)))
    }

    /// Whether a node works with it. Takes the lock for a moment when nobody has it, and makes no file.
    pub(super) fn is_locked(&self, disk: &dyn Disk) -> Result<bool> {
        let failed = |error| disk_error("list", &self.path, &error);
        if !disk.list(&self.path).map_err(failed)?.iter().any(|name| name == LOCK) {
            return Ok(false);
        }
        match take_lock(disk, &self.path) {
            Ok(_lock) => Ok(false),
            Err(error) if error.code() == ErrorCode::DataDirInUse => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Renames a file, if there is one.
fn put_aside(disk: &dyn Disk, path: &Path, ending: &str) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    match disk.rename(path, &path.with_file_name(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk_error("rename", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Refuses a directory without an identity that holds something.
fn check_owner(disk: &dyn Disk, path: &Path) -> Result<()> {
    let failed = |error| disk_error("list", path, &error);
    let (files, dirs) = (disk.list(path).map_err(failed)?, disk.list_dirs(path).map_err(failed)?);
    if files.iter().any(|name| name == IDENTITY) {
        return Ok(());
    }
    if let Some(name) = dirs.iter().find(|name| [LOG, SNAPSHOTS].contains(&name.as_str())) {
        let identity = path.join(IDENTITY);
        let text = format!("{} is missing although there is a {name}/ beside it: bring it back", identity.display());
        return Err(Error::new(ErrorCode::Corrupt, text));
    }
    let is_ours = |name: &&String| *name == LOCK || name.strip_suffix(TEMPORARY_ENDING) == Some(IDENTITY);
    if let Some(name) = files.iter().find(|name| !is_ours(name)).or(dirs.first()) {
        let text = format!(
            "data_dir: {} is not empty ({name:?} is in it) and holds no node: give an empty directory, or a new one",
            path.display()
        );
        return Err(Error::new(ErrorCode::BadSetting, text));
    }
    Ok(())
}

fn take_lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>> {
    disk.lock(&path.join(LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = format!("data_dir: another node works with {}", path.display());
            Error::new(ErrorCode::DataDirInUse, text)
        }
        _ => disk_error("lock", &path.join(LOCK), &error),
    })
}

fn check_cluster(path: &Path, identity: &Identity, cluster: &str) -> Result<()> {
    if identity.cluster == cluster {
        return Ok(());
    }
    let text =
        format!("data_dir: {} is of the cluster {:?}, this node is of {cluster:?}", path.display(), identity.cluster);
    Err(Error::new(ErrorCode::WrongCluster, text))
}

fn create_identity(disk: &dyn Disk, dir: &Path, identity: Identity) -> Result<Identity> {
    let mut body = Vec::new();
    identity.node.put(&mut body);
    put_sized(&mut body, identity.cluster.as_bytes());
    let (bytes, _) = seal(MAGIC, IDENTITY_FORMAT_VERSION, &body);
    write_whole(disk, &dir.join(IDENTITY), &bytes)?;
    Ok(identity)
}

/// `None`: there is none.
fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>> {
    let failed = |error: io::Error| disk_error("read", path, &error);
    let file = match disk.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = vec![0; IDENTITY_BYTES_MAX + 1];
    let length = file.read_at(0, &mut bytes).map_err(failed)?;
    bytes.truncate(length);
    let identity = decode_identity(&bytes).map_err(|fault| match fault {
        EnvelopeFault::Version(version) => unknown_version("identity", path, version, IDENTITY_FORMAT_VERSION),
        EnvelopeFault::Damaged(error) => {
            let text = format!("identity {}: damaged: {error}; it is not replaced", path.display());
            Error::new(ErrorCode::Corrupt, text)
        }
    })?;
    Ok(Some(identity))
}

fn decode_identity(bytes: &[u8]) -> Result<Identity, EnvelopeFault> {
    if bytes.len() > IDENTITY_BYTES_MAX {
        let fault = Fault::TooLarge { found: bytes.len() as u64, limit: IDENTITY_BYTES_MAX as u64 };
        return Err(CodecError { field: "length", fault }.into());
    }
    let (body, _) = unseal(MAGIC, IDENTITY_FORMAT_VERSION, bytes)?;
    let mut reader = Reader::new(body);
    let node = NodeId::take(&mut reader)?;
    let cluster = reader.take_text("cluster", CLUSTER_NAME_BYTES_MAX)?.to_string();
    reader.finish("identity")?;
    Ok(Identity { node, cluster })
}
