//! Records as blocks: filled one by one, read one by one.

use super::{Block, SnapshotWriter};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::SNAPSHOT_BLOCK_BYTES_TARGET,
    storage::codec::{put_keyed, take_keyed, Reader},
    types::{Key, Record},
};

/// The records of a partition on their way into blocks of about [`SNAPSHOT_BLOCK_BYTES_TARGET`].
#[derive(Debug)]
pub struct RecordBlocks {
    kind: u8,
    partition: u32,
    records: u32,
    payload: Vec<u8>,
}

impl RecordBlocks {
    /// Nothing yet; the blocks will be of this kind and partition.
    pub fn new(kind: u8, partition: u32) -> RecordBlocks {
        RecordBlocks { kind, partition, records: 0, payload: Vec::new() }
    }

    /// Adds a record. In key order, they are loaded fastest.
    ///
    /// # Errors
    /// Those of [`SnapshotWriter::block`].
    pub fn push(&mut self, writer: &mut SnapshotWriter, key: &Key, record: &Record) -> Result<()> {
        put_keyed(&mut self.payload, key, record);
        self.records += 1;
        match self.payload.len() >= SNAPSHOT_BLOCK_BYTES_TARGET {
            true => self.flush(writer),
            false => Ok(()),
        }
    }

    /// Writes the block that is not full. To be called after the last record.
    ///
    /// # Errors
    /// Those of [`SnapshotWriter::block`].
    pub fn flush(&mut self, writer: &mut SnapshotWriter) -> Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let RecordBlocks { kind, partition, records, ref payload } = *self;
        writer.block(&Block { kind, partition, records, payload })?;
        self.records = 0;
        self.payload.clear();
        Ok(())
    }
}

/// The records in a block that [`RecordBlocks`] filled, in its order. The first error is the last item.
///
/// # Errors
/// `CORRUPT`: the block is whole, and was not filled like this.
pub fn records_in<'a>(block: &Block<'a>) -> impl Iterator<Item = Result<(Key, Record)>> + use<'a> {
    let (mut reader, mut left) = (Reader::new(block.payload), block.records);
    std::iter::from_fn(move || {
        if left == 0 && reader.is_empty() {
            return None;
        }
        let Some(next) = left.checked_sub(1) else {
            reader = Reader::new(&[]);
            return Some(Err(Error::new(
                ErrorCode::Corrupt,
                "snapshot: there are more records in a block than it says",
            )));
        };
        let item = take_keyed(&mut reader);
        left = if item.is_ok() { next } else { 0 };
        if item.is_err() {
            reader = Reader::new(&[]);
        }
        Some(item.map_err(|error| Error::new(ErrorCode::Corrupt, format!("snapshot: a record: {error}"))))
    })
}
