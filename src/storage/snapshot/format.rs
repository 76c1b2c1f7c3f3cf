//! The bytes of a snapshot: header, block heads, footer. Pure; `reader` and `writer` move them.

use crc32c::crc32c_append;

use crate::{
    limits::{CLUSTER_NAME_BYTES_MAX, SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_HEADER_BYTES_MAX},
    storage::{
        codec::{put_sized, CodecError, Decoded, Fault, Reader, Stored},
        envelope::{self, EnvelopeFault, Magic, CHECK_BYTES},
    },
    types::NodeId,
};

/// The version of the format that this software writes. It reads this one and no other.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 1;

/// The kind of the block that ends a snapshot; the engine's kinds are all others.
pub const BLOCK_KIND_FOOTER: u8 = 0;

const MAGIC: Magic = *b"kvsnap\r\n";

/// Kind, partition, records, length; then the check.
pub(super) const BLOCK_HEAD_BYTES: usize = 1 + 4 + 4 + 4 + CHECK_BYTES;

/// Blocks, records, bytes of payload, bytes of the file.
pub(super) const FOOTER_BYTES: usize = 4 * 8;

/// Whose state a snapshot is, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The node that wrote it.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: String,
    /// Where in its log the tail begins that is to be replayed over this state.
    pub log_position: u64,
    /// When it was begun: milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What the payload is; the engine's word, any but [`BLOCK_KIND_FOOTER`].
    pub kind: u8,
    /// Which partition or stream it belongs to; the engine's word.
    pub partition: u32,
    /// How many records are in it, so that a reader can make room for all; the engine's word.
    pub records: u32,
    /// At most [`SNAPSHOT_BLOCK_BYTES_MAX`] bytes.
    pub payload: &'a [u8],
}

/// What the blocks of a snapshot amount to, the footer left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks.
    pub blocks: u64,
    /// Records in them, as the engine counted.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, block: &Block<'_>) {
        self.blocks += 1;
        self.records += u64::from(block.records);
        self.payload_bytes += block.payload.len() as u64;
    }
}

/// The head of a block as it was read, not yet checked but for its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) partition: u32,
    pub(super) records: u32,
    pub(super) length: usize,
    pub(super) check: u32,
}

/// The bytes of a header, and its check, from which the checks of the blocks go on.
pub(super) fn encode_header(header: &Header) -> (Vec<u8>, u32) {
    let mut body = Vec::new();
    header.node.put(&mut body);
    body.extend_from_slice(&header.log_position.to_le_bytes());
    body.extend_from_slice(&header.created_ms.to_le_bytes());
    put_sized(&mut body, header.cluster.as_bytes());
    envelope::seal(MAGIC, SNAPSHOT_FORMAT_VERSION, &body)
}

/// How many bytes the header has that begins with this prefix, check and all.
pub(super) fn header_length(prefix: &[u8]) -> Decoded<usize> {
    envelope::sealed_length(MAGIC, prefix, SNAPSHOT_HEADER_BYTES_MAX)
}

/// Reads a header from all of its bytes, and its check.
pub(super) fn decode_header(bytes: &[u8]) -> Result<(Header, u32), EnvelopeFault> {
    let (body, check) = envelope::unseal(MAGIC, SNAPSHOT_FORMAT_VERSION, bytes)?;
    let mut reader = Reader::new(body);
    let node = NodeId::take(&mut reader)?;
    let log_position = reader.take_u64("log_position")?;
    let created_ms = reader.take_u64("created_ms")?;
    let cluster = reader.take_text("cluster", CLUSTER_NAME_BYTES_MAX)?.to_string();
    reader.finish("header")?;
    Ok((Header { node, cluster, log_position, created_ms }, check))
}

/// The head of a block that goes on from the check `before`, with its check in it; and the check.
pub(super) fn encode_head(block: &Block<'_>, before: u32) -> ([u8; BLOCK_HEAD_BYTES], u32) {
    let mut head = [0; BLOCK_HEAD_BYTES];
    head[0] = block.kind;
    head[1..5].copy_from_slice(&block.partition.to_le_bytes());
    head[5..9].copy_from_slice(&block.records.to_le_bytes());
    head[9..13].copy_from_slice(&(block.payload.len() as u32).to_le_bytes());
    let check = chain(before, &head[..13], block.payload);
    head[13..].copy_from_slice(&check.to_le_bytes());
    (head, check)
}

/// CRC32C over everything so far but the checks themselves.
fn chain(before: u32, head: &[u8], payload: &[u8]) -> u32 {
    crc32c_append(crc32c_append(before, head), payload)
}

/// Reads the head of a block.
pub(super) fn decode_head(bytes: &[u8]) -> Decoded<Head> {
    let mut reader = Reader::new(bytes);
    let head = Head {
        kind: reader.take_u8("block.kind")?,
        partition: reader.take_u32("block.partition")?,
        records: reader.take_u32("block.records")?,
        length: reader.take_u32("block.length")? as usize,
        check: reader.take_u32("block.check")?,
    };
    if head.length > SNAPSHOT_BLOCK_BYTES_MAX {
        let fault = Fault::TooLarge { found: head.length as u64, limit: SNAPSHOT_BLOCK_BYTES_MAX as u64 };
        return Err(CodecError { field: "block.length", fault });
    }
    Ok(head)
}

/// Checks a block that goes on from the check `before`; `head` is what [`decode_head`] read from `bytes`.
pub(super) fn check_block(head: &Head, bytes: &[u8], payload: &[u8], before: u32) -> Decoded<()> {
    match chain(before, &bytes[..BLOCK_HEAD_BYTES - CHECK_BYTES], payload) == head.check {
        true => Ok(()),
        false => Err(CodecError { field: "block.check", fault: Fault::Check }),
    }
}

/// The payload of the footer of a file whose blocks end at `offset`.
pub(super) fn encode_footer(totals: &Totals, offset: u64) -> [u8; FOOTER_BYTES] {
    let file_bytes = offset + (BLOCK_HEAD_BYTES + FOOTER_BYTES) as u64;
    let mut bytes = [0; FOOTER_BYTES];
    let numbers = [totals.blocks, totals.records, totals.payload_bytes, file_bytes];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}
