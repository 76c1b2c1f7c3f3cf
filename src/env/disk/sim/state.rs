//! What a simulated disk holds: for files and directories what the process sees and what is on the platter.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use rand::{rngs::StdRng, Rng, SeedableRng};

use super::SimFault;

pub(super) type FileId = u64;

pub(super) struct State {
    directories: BTreeMap<PathBuf, Directory>,
    files: BTreeMap<FileId, FileData>,
    next_id: FileId,
    rng: StdRng,
    block_bytes: usize,
    faults: Vec<SimFault>,
    is_dying: bool,
    pub(super) faults_happened: u64,
    /// Grows with each crash; handles of an earlier one are dead.
    pub(super) epoch: u64,
    pub(super) locked: BTreeSet<PathBuf>,
    pub(super) capacity: Option<u64>,
    pub(super) steps: u64,
}

/// A directory: its names as the process sees them, and what of that is not durable yet.
#[derive(Clone, Default)]
pub(super) struct Directory {
    durable: BTreeMap<String, FileId>,
    live: BTreeMap<String, FileId>,
    unsynced: Vec<Change>,
}

/// One change of a directory, which happens whole or not at all.
#[derive(Clone)]
pub(super) enum Change {
    Create { name: String, id: FileId },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl Directory {
    pub(super) fn names(&self) -> Vec<String> {
        self.live.keys().cloned().collect()
    }

    fn keep_first(&mut self, changes: usize) {
        for change in self.unsynced.drain(..).take(changes) {
            apply(&mut self.durable, change);
        }
        self.live = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: Change) {
    match change {
        Change::Create { name, id } => {
            names.insert(name, id);
        }
        Change::Rename { from, to } => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
        Change::Remove { name } => {
            names.remove(&name);
        }
    }
}

/// A file's bytes, as the process sees them and on the platter.
#[derive(Clone, Default)]
pub(super) struct FileData {
    pub(super) live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl FileData {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8], block_bytes: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / block_bytes..end.div_ceil(block_bytes));
    }

    pub(super) fn set_len(&mut self, len: usize, block_bytes: usize) {
        let (shorter, longer) = (self.live.len().min(len), self.live.len().max(len));
        self.live.resize(len, 0);
        // What was cut off and comes back as zeros differs from the platter.
        self.dirty.extend(shorter / block_bytes..longer.div_ceil(block_bytes));
    }

    pub(super) fn sync(&mut self, block_bytes: usize) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.live.len(), 0);
        for block in dirty {
            self.keep_block(block, block_bytes);
        }
    }

    /// The kernel has marked the pages clean although they were not written.
    pub(super) fn forget_dirty(&mut self) {
        self.dirty.clear();
    }

    fn keep_block(&mut self, block: usize, block_bytes: usize) {
        let range = block_range(block, block_bytes, self.live.len().min(self.durable.len()));
        self.durable[range.clone()].copy_from_slice(&self.live[range]);
    }

    fn crash(&mut self, rng: &mut StdRng, block_bytes: usize) {
        let (shorter, longer) = (self.durable.len().min(self.live.len()), self.durable.len().max(self.live.len()));
        let len = match rng.random_range(0..4) {
            0 => self.durable.len(),
            1 | 2 => self.live.len(),
            _ => rng.random_range(shorter..=longer),
        };
        self.durable.resize(len, 0);
        // Most crashes keep nearly all or nearly nothing; between them lie the torn ones.
        let kept_of_8 = [0, 1, 4, 7, 8][rng.random_range(0..5)];
        for block in std::mem::take(&mut self.dirty) {
            if rng.random_range(0..8) < kept_of_8 {
                self.keep_block(block, block_bytes);
            }
        }
        self.live = self.durable.clone();
    }
}

fn block_range(block: usize, block_bytes: usize, len: usize) -> Range<usize> {
    let start = (block * block_bytes).min(len);
    start..(start + block_bytes).min(len)
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl State {
    pub(super) fn new(seed: u64, block_bytes: usize) -> State {
        State {
            directories: BTreeMap::from([(PathBuf::new(), Directory::default())]),
            files: BTreeMap::new(),
            next_id: 0,
            rng: StdRng::seed_from_u64(seed),
            block_bytes,
            faults: Vec::new(),
            is_dying: false,
            faults_happened: 0,
            epoch: 0,
            locked: BTreeSet::new(),
            capacity: None,
            steps: 0,
        }
    }

    pub(super) fn copy(&self, seed: u64) -> State {
        let mut copy = State::new(seed, self.block_bytes);
        copy.directories = self.directories.clone();
        copy.files = self.files.clone();
        copy.next_id = self.next_id;
        let changes = |directory: &mut Directory| directory.keep_first(usize::MAX);
        copy.directories.values_mut().for_each(changes);
        copy.files.values_mut().for_each(|file| file.durable.clone_from(&file.live));
        copy.files.values_mut().for_each(FileData::forget_dirty);
        copy
    }

    pub(super) fn crash(&mut self) {
        for directory in self.directories.values_mut() {
            let kept = match self.rng.random_range(0..2) {
                0 => 0,
                _ => self.rng.random_range(0..=directory.unsynced.len()),
            };
            directory.keep_first(kept);
        }
        for file in self.files.values_mut() {
            file.crash(&mut self.rng, self.block_bytes);
        }
        self.restart();
    }

    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        self.locked.clear();
        self.faults.clear();
        self.is_dying = false;
        let named =
            |directory: &Directory| directory.live.values().chain(directory.durable.values()).copied().collect();
        let used: BTreeSet<FileId> = self.directories.values().flat_map::<Vec<FileId>, _>(named).collect();
        self.files.retain(|id, _| used.contains(id));
    }

    pub(super) fn mark_dying(&mut self) {
        self.is_dying = true;
    }

    pub(super) fn set_fault(&mut self, fault: SimFault) {
        self.faults.push(match fault {
            SimFault::DieAt(calls) => SimFault::DieAt(self.steps + calls),
            SimFault::Sync(_) | SimFault::Write(..) => fault,
        });
    }

    pub(super) fn check_alive(&self) -> io::Result<()> {
        match self.is_dying {
            true => Err(io::Error::other("the host is dying")),
            false => Ok(()),
        }
    }

    /// Counts a call that changes or syncs something.
    pub(super) fn step(&mut self) -> io::Result<()> {
        if self.faults.contains(&SimFault::DieAt(self.steps)) && !self.is_dying {
            self.is_dying = true;
            self.faults_happened += 1;
        }
        self.check_alive()?;
        self.steps += 1;
        Ok(())
    }

    /// Counts a sync against the faults that are set.
    pub(super) fn next_sync_fails(&mut self) -> bool {
        let mut fails = false;
        self.faults.retain_mut(|fault| match fault {
            SimFault::Sync(0) => {
                fails = true;
                false
            }
            SimFault::Sync(left) => {
                *left -= 1;
                true
            }
            SimFault::Write(..) | SimFault::DieAt(_) => true,
        });
        self.faults_happened += u64::from(fails);
        fails
    }

    /// Counts a write against the faults that are set: how many of its bytes are written before it fails.
    pub(super) fn next_write_fails_after(&mut self) -> Option<usize> {
        let mut fails_after = None;
        self.faults.retain_mut(|fault| match fault {
            SimFault::Write(0, bytes) => {
                fails_after = Some(*bytes);
                false
            }
            SimFault::Write(left, _) => {
                *left -= 1;
                true
            }
            SimFault::Sync(_) | SimFault::DieAt(_) => true,
        });
        self.faults_happened += u64::from(fails_after.is_some());
        fails_after
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) {
        for dir in dir.ancestors() {
            self.directories.entry(dir.to_path_buf()).or_default();
        }
    }

    pub(super) fn directory(&self, dir: &Path) -> io::Result<&Directory> {
        self.directories.get(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn directory_names(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.directory(dir)?;
        let inside = self.directories.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| file_name(path)).collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path, fails: bool) -> io::Result<()> {
        let directory = self.directories.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            return Err(io::Error::other("the sync of a directory failed"));
        }
        directory.keep_first(usize::MAX);
        Ok(())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<FileId> {
        let directory = self.directory(directory_of(path))?;
        directory.live.get(&file_name(path)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<FileId> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.next_id;
        self.change(path, |name| Change::Create { name, id })?;
        self.next_id += 1;
        self.files.insert(id, FileData::default());
        Ok(id)
    }

    /// Changes the directory of `path`, which is seen at once and not durable.
    pub(super) fn change(&mut self, path: &Path, change: impl FnOnce(String) -> Change) -> io::Result<()> {
        let directory = self.directories.get_mut(directory_of(path)).ok_or(io::ErrorKind::NotFound)?;
        let change = change(file_name(path));
        apply(&mut directory.live, change.clone());
        directory.unsynced.push(change);
        Ok(())
    }

    pub(super) fn file(&mut self, id: FileId) -> &mut FileData {
        self.files.entry(id).or_default()
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let files = self.directories.values().flat_map(|directory| directory.live.values());
        files.filter_map(|id| self.files.get(id)).map(|file| file.live.len() as u64).sum()
    }

    pub(super) fn flip_bit(&mut self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let id = self.find(path)?;
        let (file, at) = (self.file(id), offset as usize);
        let byte = file.live.get_mut(at).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= 1 << bit;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= 1 << bit;
        }
        Ok(())
    }
}
