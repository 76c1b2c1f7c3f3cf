//! How the files of a data directory begin: what they are, in which version, and a check.
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic: which kind of file
//!      8      4  format version
//!     12      4  length of the body
//!     16      n  body
//!   16+n      4  CRC32C of everything before
//! ```
//!
//! This much is the same in every version, so that a file of a later one is told from a damaged file: its check is right.

use crc32c::crc32c;

use super::codec::{CodecError, Decoded, Fault, Reader};

/// Tells kinds of files apart. It ends with a line end, which shows a transfer that changes them, as PNG's signature does.
pub(crate) type Magic = [u8; 8];

/// Everything before the body.
pub(crate) const PREFIX_BYTES: usize = 8 + 4 + 4;

/// The check after the body.
pub(crate) const CHECK_BYTES: usize = 4;

/// Why an envelope is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeFault {
    /// It is damaged.
    Damaged(CodecError),
    /// It is whole, and of a version that this software does not know.
    Version(u32),
}

impl From<CodecError> for EnvelopeFault {
    fn from(error: CodecError) -> EnvelopeFault {
        EnvelopeFault::Damaged(error)
    }
}

/// The bytes of an envelope, and its check.
pub(crate) fn seal(magic: Magic, version: u32, body: &[u8]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + body.len() + CHECK_BYTES);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    let check = crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    (bytes, check)
}

/// How many bytes the envelope has that begins with this prefix, the check included.
pub(crate) fn sealed_length(magic: Magic, prefix: &[u8], bytes_max: usize) -> Decoded<usize> {
    let mut reader = Reader::new(prefix);
    if reader.take_bytes("magic", magic.len())? != magic {
        return Err(CodecError { field: "magic", fault: Fault::Text });
    }
    reader.take_u32("version")?;
    let length = reader.take_u32("length")? as usize;
    let limit = bytes_max - PREFIX_BYTES - CHECK_BYTES;
    if length > limit {
        let fault = Fault::TooLarge { found: length as u64, limit: limit as u64 };
        return Err(CodecError { field: "length", fault });
    }
    Ok(PREFIX_BYTES + length + CHECK_BYTES)
}

/// Opens an envelope that is all of `bytes`: its body and its check.
pub(crate) fn unseal(magic: Magic, version: u32, bytes: &[u8]) -> Result<(&[u8], u32), EnvelopeFault> {
    let length = sealed_length(magic, bytes, bytes.len().max(PREFIX_BYTES + CHECK_BYTES))?;
    let short = CodecError { field: "check", fault: Fault::Short };
    let (before, check) = bytes.split_last_chunk().ok_or(short)?;
    let check = u32::from_le_bytes(*check);
    if length != bytes.len() || crc32c(before) != check {
        return Err(CodecError { field: "check", fault: Fault::Check }.into());
    }
    let mut reader = Reader::new(before);
    reader.take_bytes("magic", magic.len())?;
    match reader.take_u32("version")? {
        found if found == version => Ok((&before[PREFIX_BYTES..], check)),
        found => Err(EnvelopeFault::Version(found)),
    }
}
