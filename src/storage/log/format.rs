//! How the log looks on disk, byte by byte; `docs/storage-format.md` draws it. Pure: bytes in, structs out.
//!
//! A batch's checksum covers where it stands: the salt of its segment and its offset in the file. Bytes that were left
//! behind by another file, or that a user stored as a value, are never taken for a batch.

use super::Position;

/// `kvs-log` and the line feed that a transfer in text mode would change.
const SEGMENT_MAGIC: [u8; 8] = *b"kvs-log\n";
pub(super) const BATCH_MAGIC: [u8; 4] = *b"kvsb";
const FORMAT_VERSION: u32 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 48;
pub(super) const BATCH_HEADER_BYTES: usize = 44;
pub(super) const ENTRY_HEADER_BYTES: usize = 9;

const SEGMENT_CRC_AT: usize = 44;
const BATCH_CRC_AT: usize = 40;

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The same in all segments of a log.
    pub(super) log_id: u64,
    /// Random, another one in each segment.
    pub(super) salt: u64,
    /// The first entry of the segment. All before it were synced before the segment got its name.
    pub(super) first: Position,
}

/// The beginning of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// The first entry of the batch.
    pub(super) first: Position,
    /// All entries before this one were synced when the batch was written.
    pub(super) synced: Position,
    /// Its entries; none in a mark.
    pub(super) count: u32,
    /// Bytes of its entries.
    pub(super) len: u32,
    /// The checksum of its entries.
    pub(super) crc: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SEGMENT_CRC_AT]);
        bytes[SEGMENT_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in the first bytes of a file, or what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, String> {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err(format!("{} bytes are no header", bytes.len()));
        }
        if bytes[0..8] != SEGMENT_MAGIC {
            return Err("it does not begin as a log does".to_string());
        }
        if crc32c::crc32c(&bytes[..SEGMENT_CRC_AT]) != u32_at(bytes, SEGMENT_CRC_AT) {
            return Err("the header's checksum is wrong".to_string());
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            version => return Err(format!("format {version}, this release reads {FORMAT_VERSION}")),
        }
        let (log_id, salt, first) = (u64_at(bytes, 16), u64_at(bytes, 24), Position(u64_at(bytes, 32)));
        Ok(SegmentHeader { log_id, salt, first })
    }
}

impl BatchHeader {
    /// The header as it stands at `offset` of the segment with this salt.
    pub(super) fn encode(&self, salt: u64, offset: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..16].copy_from_slice(&salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.crc.to_le_bytes());
        let crc = header_crc(&bytes, offset);
        bytes[BATCH_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that these bytes are at `offset` of the segment with this salt, if they are one.
    pub(super) fn decode(bytes: &[u8], salt: u64, offset: u64) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        let is_header = bytes[0..4] == BATCH_MAGIC
            && u64_at(bytes, 8) == salt
            && header_crc(bytes, offset) == u32_at(bytes, BATCH_CRC_AT);
        is_header.then(|| BatchHeader {
            first: Position(u64_at(bytes, 16)),
            synced: Position(u64_at(bytes, 24)),
            count: u32_at(bytes, 32),
            len: u32_at(bytes, 4),
            crc: u32_at(bytes, 36),
        })
    }

    /// The entry after its last.
    pub(super) fn end(&self) -> Position {
        Position(self.first.0.saturating_add(u64::from(self.count)))
    }
}

fn header_crc(header: &[u8], offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &header[..BATCH_CRC_AT])
}

/// Appends a batch to `out`, which is going to be written at `offset` of a segment.
pub(super) fn push_batch(out: &mut Vec<u8>, salt: u64, offset: u64, batch: (Position, Position, u32), entries: &[u8]) {
    let (first, synced, count) = batch;
    let len = u32::try_from(entries.len()).expect("a batch is bounded far below 4 GiB");
    let header = BatchHeader { first, synced, count, len, crc: crc32c::crc32c(entries) };
    out.extend_from_slice(&header.encode(salt, offset));
    out.extend_from_slice(entries);
}

/// Appends an entry to the bytes of a batch, whose payload `encode` appends. `None`, and nothing is appended, when that is
/// longer than `payload_max`.
pub(super) fn push_entry(
    out: &mut Vec<u8>,
    (stream, kind): (u32, u8),
    payload_max: usize,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Option<()> {
    let start = out.len();
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[4..8].copy_from_slice(&stream.to_le_bytes());
    header[8] = kind;
    out.extend_from_slice(&header);
    encode(out);
    let len = out.len() - start - ENTRY_HEADER_BYTES;
    if len > payload_max {
        out.truncate(start);
        return None;
    }
    let len = u32::try_from(len).expect("an entry is bounded far below 4 GiB");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    Some(())
}

/// Where an entry's payload stands in the bytes of its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryHeader {
    pub(super) stream: u32,
    pub(super) kind: u8,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The entry that begins at `at`, if it ends within the bytes.
pub(super) fn entry_at(entries: &[u8], at: usize) -> Option<EntryHeader> {
    let header = entries.get(at..at.checked_add(ENTRY_HEADER_BYTES)?)?;
    let start = at + ENTRY_HEADER_BYTES;
    let end = start.checked_add(u32_at(header, 0) as usize)?;
    (end <= entries.len()).then(|| EntryHeader { stream: u32_at(header, 4), kind: header[8], start, end })
}

/// The longest stretch of whole entries from `at` on that closes with the entry that reaches the target: its end and
/// the number of entries.
pub(super) fn stretch(entries: &[u8], at: usize, target: usize) -> (usize, u32) {
    let (mut end, mut count) = (at, 0);
    while end - at < target {
        let Some(entry) = entry_at(entries, end) else { break };
        (end, count) = (entry.end, count + 1);
    }
    (end, count)
}

/// The name of the segment that begins with this entry; names sort as positions do.
pub(super) fn segment_name(first: Position) -> String {
    format!("{:020}.log", first.0)
}

/// The first entry of the segment with this name, if it is the name of one.
pub(super) fn segment_first(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".log")?;
    let is_plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok().map(Position)).flatten()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
