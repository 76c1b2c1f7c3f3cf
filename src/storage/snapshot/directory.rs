//! The snapshots of a node: one file each, named by the position in the log from which its tail begins.

use std::path::{Path, PathBuf};

use super::{verify, Report};
use crate::{
    env::Disk,
    error::Result,
    faults,
    storage::files::{disk_error, remove_if_there, TEMPORARY_ENDING},
};

/// How the names of snapshots end.
const ENDING: &str = ".snapshot";

/// Digits of a position in a name: enough for every 64-bit number, so that names sort as positions do.
const POSITION_DIGITS: usize = 20;

/// A snapshot by its name; nothing of it is read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The position in the log, as the name says.
    pub log_position: u64,
    /// The file.
    pub path: PathBuf,
}

/// What was found on the way to a valid snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The newest valid one, read to its end; `None`: there is none.
    pub valid: Option<Report>,
    /// Those that are newer and damaged, the newest first. Unless this is empty, `valid` may be used only if the log still
    /// reaches back to its position.
    pub damaged: Vec<Report>,
    /// Those that are older and were not read, the newest first.
    pub older: Vec<Listed>,
}

/// The name of the snapshot from whose position on the log is to be replayed.
pub fn file_name(log_position: u64) -> String {
    format!("{log_position:0POSITION_DIGITS$}{ENDING}")
}

/// How the names of files begin that are there only while they are sent to somebody.
const PASSING_BEGINNING: &str = "sent-";

/// A name for a file that is there only while it is sent; `number` tells it from others.
pub fn passing_name(number: u64) -> String {
    format!("{PASSING_BEGINNING}{number:016x}{ENDING}")
}

fn position(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let position = digits.parse().ok()?;
    (file_name(position) == name).then_some(position)
}

/// The snapshots in a directory, the newest first. Other files are left out.
///
/// # Errors
/// `DISK_FAILED`.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Listed>> {
    let names = disk.list(dir).map_err(|error| disk_error("list", dir, &error))?;
    let listed = |name: &String| Some(Listed { log_position: position(name)?, path: dir.join(name) });
    let mut listed: Vec<Listed> = names.iter().filter_map(listed).collect();
    listed.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.log_position));
    Ok(listed)
}

/// Reads snapshots, the newest first, until one is valid. A file whose header has another position than its name is damaged.
///
/// # Errors
/// `FORMAT_TOO_NEW` when a snapshot that had to be read is of a later version; `DISK_FAILED`.
pub fn newest_valid(disk: &dyn Disk, dir: &Path) -> Result<Search> {
    let mut search = Search::default();
    let mut snapshots = list(disk, dir)?.into_iter();
    for Listed { log_position, path } in snapshots.by_ref() {
        let report = verify_named(disk, &path, log_position)?;
        if report.is_valid() {
            search.valid = Some(report);
            break;
        }
        search.damaged.push(report);
    }
    search.older = snapshots.collect();
    Ok(search)
}

fn verify_named(disk: &dyn Disk, path: &Path, log_position: u64) -> Result<Report> {
    let mut report = verify(disk, path)?;
    if let Some(header) = report.header.as_ref().filter(|header| header.log_position != log_position) {
        let why = format!("it is of position {}, its name says {log_position}", header.log_position);
        report.damage.get_or_insert(super::Damage { offset: 0, why });
    }
    Ok(report)
}

/// Removes snapshots but the newest `keep`; at least one stays. Returns the position of the oldest that is left: before it
/// nothing of the log is needed any more. Only to be called when the newest is known to be valid.
///
/// # Errors
/// `DISK_FAILED`: some may be removed.
pub fn remove_older(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<Option<u64>> {
    let mut snapshots = list(disk, dir)?;
    let removed = snapshots.split_off(keep.max(1).min(snapshots.len()));
    for Listed { path, .. } in &removed {
        remove_if_there(disk, path)?;
    }
    if !removed.is_empty() && !faults::is_mutant("snapshot_no_dir_sync") {
        disk.sync_dir(dir).map_err(|error| disk_error("sync", dir, &error))?;
    }
    Ok(snapshots.last().map(|oldest| oldest.log_position))
}

/// Removes all snapshots.
///
/// # Errors
/// `DISK_FAILED`: some may be removed.
pub fn remove_all(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for Listed { path, .. } in list(disk, dir)? {
        remove_if_there(disk, &path)?;
    }
    disk.sync_dir(dir).map_err(|error| disk_error("sync", dir, &error))
}

/// Removes what unfinished snapshots, and those that were being sent, left behind. Nobody may be writing one.
///
/// # Errors
/// `DISK_FAILED`.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let names = disk.list(dir).map_err(|error| disk_error("list", dir, &error))?;
    let is_leftover = |name: &&String| {
        let is_unfinished = name.strip_suffix(TEMPORARY_ENDING).and_then(position).is_some();
        is_unfinished || name.starts_with(PASSING_BEGINNING)
    };
    for name in names.iter().filter(is_leftover) {
        remove_if_there(disk, &dir.join(name))?;
    }
    Ok(())
}
