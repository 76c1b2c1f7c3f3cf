//! What all files of a data directory share: errors that name the file, and small files that are written whole.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    env::{Disk, OpenMode},
    error::{Error, ErrorCode},
};

/// An error of the disk, with what was to be done and where.
pub(crate) fn disk_error(what: &str, path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
        _ => ErrorCode::DiskFailed,
    };
    Error::new(code, format!("disk: cannot {what} {}: {error}", path.display()))
}

/// A file that is whole, and of a version that this software does not know.
pub(crate) fn unknown_version(what: &str, path: &Path, found: u32, known: u32) -> Error {
    let text = format!(
        "{what} {}: its format has version {found}, this software knows version {known}: use the version of the \
         software that wrote it, or a later one",
        path.display()
    );
    Error::new(ErrorCode::FormatTooNew, text)
}

/// The name under which a file is written before it gets its own. `None`: the path names no file.
pub(crate) fn temporary(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_os_string();
    name.push(TEMPORARY_ENDING);
    Some(path.with_file_name(name))
}

/// How the names of files end that are not finished.
pub(crate) const TEMPORARY_ENDING: &str = ".tmp";

/// Writes a small file that is there whole or not at all, and durable when this returns.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let no_name = || Error::new(ErrorCode::BadSetting, format!("{path:?}: there is no file name in it"));
    let temporary = temporary(path).ok_or_else(no_name)?;
    remove_if_there(disk, &temporary)?;
    let failed = |what| move |error: io::Error| disk_error(what, path, &error);
    let file = disk.open(&temporary, OpenMode::CreateNew).map_err(failed("create"))?;
    file.write_all_at(0, bytes).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    disk.rename(&temporary, path).map_err(failed("rename"))?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(""))).map_err(failed("sync the directory of"))
}

/// Removes a file; that there is none is no error. Not durable.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match disk.remove(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(disk_error("remove", path, &error)),
    }
}
