//! Fetches a snapshot into a file that is there whole or not at all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{
    env::{Disk, DiskFile, OpenMode},
    error::{Error, ErrorCode, Result},
    rpc::{open_snapshot, Channel, SnapshotPieces},
    storage::snapshot::{disk_error, remove_if_there, temporary, verify},
};

/// Fetches what the node at the other end holds; the bytes of the file. Dropping it gives the file up.
///
/// # Errors
/// `CORRUPT` when what came is no whole snapshot; those of the disk, of the connection and of the node.
pub(super) async fn download(disk: Arc<dyn Disk>, channel: Channel, path: PathBuf) -> Result<u64> {
    let pieces = open_snapshot(channel).await?;
    let (mut done, fetched) = oneshot::channel();
    let worker = disk.clone();
    let work = async move {
        let outcome = tokio::select! {
            biased;
            () = done.closed() => Err(Error::new(ErrorCode::ClientClosed, "snapshot: it was given up")),
            outcome = fetch(&*worker, pieces, &path) => outcome,
        };
        let cleared = match (&outcome, temporary(&path)) {
            (Err(_), Some(temporary)) => remove_if_there(&*worker, &temporary),
            (Ok(_), _) | (_, None) => Ok(()),
        };
        // Whoever has given it up needs no answer.
        drop(done.send(cleared.and(outcome)));
    };
    // Ends by itself, and tells what came of it.
    let _detached = disk
        .spawn("kvstore-download", Box::pin(work))
        .map_err(|error| Error::new(ErrorCode::Internal, format!("no thread for a download: {error}")))?;
    fetched.await.unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "snapshot: the download broke off")))
}

async fn fetch(disk: &dyn Disk, mut pieces: SnapshotPieces, path: &Path) -> Result<u64> {
    let no_name = || Error::new(ErrorCode::BadSetting, format!("snapshot {path:?}: there is no file name in it"));
    let temporary = temporary(path).ok_or_else(no_name)?;
    remove_if_there(disk, &temporary)?;
    let failed = |what, error: std::io::Error| disk_error(what, &temporary, &error);
    let file = disk.open(&temporary, OpenMode::CreateNew).map_err(|error| failed("create", error))?;
    let bytes = take_pieces(&*file, &mut pieces, &temporary).await?;
    file.sync().map_err(|error| failed("sync", error))?;
    if let Some(damage) = verify(disk, &temporary)?.damage {
        return Err(Error::new(ErrorCode::Corrupt, format!("snapshot: what the node sent is not whole: {damage}")));
    }
    disk.rename(&temporary, path).map_err(|error| failed("rename", error))?;
    let dir = path.parent().unwrap_or(Path::new(""));
    disk.sync_dir(dir).map_err(|error| disk_error("sync", dir, &error))?;
    Ok(bytes)
}

async fn take_pieces(file: &dyn DiskFile, pieces: &mut SnapshotPieces, path: &Path) -> Result<u64> {
    let mut offset = 0;
    while let Some(piece) = pieces.next().await? {
        file.write_all_at(offset, &piece).map_err(|error| disk_error("write", path, &error))?;
        offset += piece.len() as u64;
    }
    Ok(offset)
}
