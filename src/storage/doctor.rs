//! Looks at a data directory without changing it: who it belongs to, what of it is readable, and where it is damaged.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    data_dir::{Layout, DAMAGED_ENDING},
    files::disk_error,
    log::{self, SegmentReport},
    snapshot::{self, Report},
};
use crate::{
    env::Disk,
    error::{Error, ErrorCode, Result},
    types::NodeId,
};

/// What a directory holds.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The directory.
    pub path: PathBuf,
    /// Whose it is; `None`: its identity cannot be read, and `problems` says why.
    pub node: Option<NodeId>,
    /// Of which cluster.
    pub cluster: Option<String>,
    /// A node works with it now. The end of its log is being written, then, and may look torn.
    pub in_use: bool,
    /// The newest first.
    pub snapshots: Vec<Report>,
    /// In their order.
    pub segments: Vec<SegmentReport>,
    /// Files that a node found damaged at a start, and put aside.
    pub set_aside: Vec<PathBuf>,
    /// Everything that is wrong, a sentence each. None: the directory is healthy.
    pub problems: Vec<String>,
}

/// Reads everything that a node of this directory would read. That something is damaged is no error.
///
/// # Errors
/// `BAD_SETTING` when there is no such directory, or it is nobody's; `DISK_FAILED`.
pub fn examine(disk: &dyn Disk, path: &Path) -> Result<Diagnosis> {
    let layout = Layout::of(path);
    check_is_ours(disk, path, &layout)?;
    let mut problems = Vec::new();
    let identity = match layout.identity(disk) {
        Ok(found) => found,
        Err(error) if matches!(error.code(), ErrorCode::Corrupt | ErrorCode::FormatTooNew) => {
            problems.push(error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    if identity.is_none() && problems.is_empty() {
        problems.push(format!("{} has no identity: it was filled by half, or a file is missing", path.display()));
    }
    let snapshots = snapshots(disk, &layout.snapshots, &mut problems)?;
    let segments = segments(disk, &layout.log, &mut problems)?;
    let mut set_aside = Vec::new();
    for dir in [path, &layout.log, &layout.snapshots] {
        let names = files_of(disk, dir)?;
        set_aside.extend(names.iter().filter(|name| name.contains(DAMAGED_ENDING)).map(|name| dir.join(name)));
    }
    let (node, cluster) = identity.unzip();
    let in_use = layout.is_locked(disk)?;
    Ok(Diagnosis { path: path.into(), node, cluster, in_use, snapshots, segments, set_aside, problems })
}

fn check_is_ours(disk: &dyn Disk, path: &Path, layout: &Layout) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorCode::BadSetting, format!("{}: there is no such directory", path.display()))
        }
        _ => disk_error("list", path, &error),
    };
    let files = disk.list(path).map_err(failed)?;
    let dirs = disk.list_dirs(path).map_err(failed)?;
    match layout.is_of_a_node(&files, &dirs) {
        true => Ok(()),
        false => Err(Error::new(ErrorCode::BadSetting, format!("{} holds no node", path.display()))),
    }
}

/// The names of the files in a directory; none when it is not there.
fn files_of(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(disk_error("list", dir, &error)),
    }
}

fn snapshots(disk: &dyn Disk, dir: &Path, problems: &mut Vec<String>) -> Result<Vec<Report>> {
    if files_of(disk, dir)?.is_empty() {
        return Ok(Vec::new());
    }
    let mut reports = Vec::new();
    for listed in snapshot::list(disk, dir)? {
        match snapshot::verify(disk, &listed.path) {
            Ok(report) => {
                problems.extend(report.damage.iter().map(|damage| format!("{}: {damage}", report.path.display())));
                reports.push(report);
            }
            Err(error) if error.code() == ErrorCode::FormatTooNew => problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(reports)
}

fn segments(disk: &dyn Disk, dir: &Path, problems: &mut Vec<String>) -> Result<Vec<SegmentReport>> {
    if files_of(disk, dir)?.is_empty() {
        return Ok(Vec::new());
    }
    let reports = log::verify(disk, dir)?;
    for report in &reports {
        let damage = report.damage.as_ref();
        let text = |log::Damage { offset, why }: &log::Damage| {
            format!("{}: damaged at byte {offset}: {why}", report.path.display())
        };
        problems.extend(damage.map(text));
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        env::{OpenMode, SimDisk},
        storage::{
            snapshot::{file_name, Header, SnapshotWriter},
            DataDir,
        },
    };

    const DIR: &str = "/node";

    fn node(disk: &Arc<dyn Disk>) -> DataDir {
        DataDir::open(disk.clone(), Path::new(DIR), "c", || Ok(NodeId(7))).unwrap()
    }

    fn disk() -> Arc<dyn Disk> {
        Arc::new(SimDisk::new(1))
    }

    fn write_snapshot(disk: &Arc<dyn Disk>, dir: &DataDir) -> PathBuf {
        let header = Header { node: NodeId(7), cluster: "c".into(), log_position: 5, created_ms: 1 };
        SnapshotWriter::create(disk, &dir.snapshots_dir(), &header).unwrap().finish().unwrap();
        dir.snapshots_dir().join(file_name(5))
    }

    #[test]
    fn a_healthy_directory_tells_whose_it_is_and_whether_it_is_in_use() {
        let disk = disk();
        let dir = node(&disk);
        write_snapshot(&disk, &dir);
        let found = examine(&*disk, Path::new(DIR)).unwrap();
        assert_eq!((found.node, found.cluster.as_deref(), found.in_use), (Some(NodeId(7)), Some("c"), true));
        assert_eq!((found.snapshots.len(), found.problems.len()), (1, 0));
        drop(dir);
        assert!(!examine(&*disk, Path::new(DIR)).unwrap().in_use);
        // Looking has not kept it.
        drop(node(&disk));
    }

    #[test]
    fn damage_of_identity_and_snapshot_is_named_and_nothing_is_changed() {
        let disk = disk();
        let dir = node(&disk);
        let snapshot = write_snapshot(&disk, &dir);
        let identity = Path::new(DIR).join("identity");
        for path in [&snapshot, &identity] {
            disk.open(path, OpenMode::ReadWrite).unwrap().write_all_at(17, b"\xff\xff\xff").unwrap();
        }
        let found = examine(&*disk, Path::new(DIR)).unwrap();
        assert_eq!((found.node, found.problems.len()), (None, 2), "{:?}", found.problems);
        for path in [&snapshot, &identity] {
            assert!(found.problems.iter().any(|text| text.contains(&path.display().to_string())), "{path:?}");
        }
    }

    #[test]
    fn what_is_no_directory_of_a_node_is_refused() {
        let disk = disk();
        let code = |path: &str| examine(&*disk, Path::new(path)).unwrap_err().code();
        assert_eq!(code("/nowhere"), ErrorCode::BadSetting);
        disk.create_dir_all(Path::new("/other")).unwrap();
        assert_eq!(code("/other"), ErrorCode::BadSetting);
        disk.open(Path::new("/other/letter.txt"), OpenMode::CreateNew).unwrap();
        assert_eq!(code("/other"), ErrorCode::BadSetting);
    }
}
