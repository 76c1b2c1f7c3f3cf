//! How what is stored looks as bytes: one form for each value, little endian, without a version of its own. The container
//! (log segment, snapshot, identity) has the version, the length and the checksum.
//!
//! Two promises. *Nothing panics*: any bytes are read or refused, whatever their lengths claim, and no more memory is
//! taken than a small multiple of the bytes that are there. *One form*: what is read without an error is written as the
//! same bytes again, so equal states have equal encodings. `docs/storage-format-snapshot.md` draws each form.
//!
//! Numbers that are mostly small (lengths, counts, sequences, flags) are LEB128, seven bits a byte, the lowest first;
//! identities and timestamps, whose high bits are in use, are 8 bytes. A list of its own has its count before it.

mod knowledge;
mod values;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use crate::error::{Error, ErrorCode};

pub use values::{put_keyed, put_write, take_keyed};

/// Why stored bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct CodecError {
    /// The field, such as `record.timestamp`.
    pub field: &'static str,
    /// The rule that it breaks.
    pub fault: Fault,
}

/// A rule that stored bytes may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end before the field does.
    Short,
    /// A number of more than 64 bits, or not in its shortest form.
    Number,
    /// No value of this type looks like this.
    Invalid(u64),
    /// More than the limit.
    TooLarge {
        /// What is there.
        found: u64,
        /// What may be there.
        limit: u64,
    },
    /// A map whose keys do not grow.
    Order,
    /// Text that no value of this type has.
    Text,
    /// There are bytes after the last field.
    Rest(usize),
    /// A checksum of other bytes than these.
    Check,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Short => write!(f, "the bytes end within it"),
            Fault::Number => write!(f, "no number in its shortest form"),
            Fault::Invalid(found) => write!(f, "{found} is none"),
            Fault::TooLarge { found, limit } => write!(f, "{found}, the limit is {limit}"),
            Fault::Order => write!(f, "its keys do not grow"),
            Fault::Text => write!(f, "its text is none"),
            Fault::Rest(bytes) => write!(f, "{bytes} bytes follow the last field"),
            Fault::Check => write!(f, "the checksum is of other bytes"),
        }
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Error {
        Error::new(ErrorCode::Corrupt, error.to_string())
    }
}

/// Shorthand for results of reading.
pub type Decoded<T> = Result<T, CodecError>;

/// A [`CodecError`] about `field`.
fn bad<T>(field: &'static str, fault: Fault) -> Decoded<T> {
    Err(CodecError { field, fault })
}

/// What has a stored form.
pub trait Stored: Sized {
    /// The least bytes that any value takes: what a count is checked against before memory is taken for it. Not 0.
    const BYTES_LEAST: usize;

    /// Appends the stored form.
    fn put(&self, buf: &mut Vec<u8>);

    /// Reads a value.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    fn take(reader: &mut Reader<'_>) -> Decoded<Self>;
}

/// Reads one field after another. After an error nothing is promised of the rest.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends the reading of `field`.
    ///
    /// # Errors
    /// [`Fault::Rest`] when something is left.
    pub fn finish(self, field: &'static str) -> Decoded<()> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(CodecError { field, fault: Fault::Rest(bytes) }),
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Fault::Short`].
    #[inline]
    pub fn take_bytes(&mut self, field: &'static str, count: usize) -> Decoded<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            return Err(CodecError { field, fault: Fault::Short });
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Decoded<[u8; N]> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(CodecError { field, fault: Fault::Short });
        };
        self.rest = rest;
        Ok(*bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Fault::Short`].
    #[inline]
    pub fn take_u8(&mut self, field: &'static str) -> Decoded<u8> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`Fault::Short`].
    #[inline]
    pub fn take_u16(&mut self, field: &'static str) -> Decoded<u16> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Fault::Short`].
    #[inline]
    pub fn take_u32(&mut self, field: &'static str) -> Decoded<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`Fault::Short`].
    #[inline]
    pub fn take_u64(&mut self, field: &'static str) -> Decoded<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A number of seven bits a byte.
    ///
    /// # Errors
    /// [`Fault::Short`], or [`Fault::Number`] when it has over 64 bits or more bytes than it needs.
    #[inline]
    pub fn take_number(&mut self, field: &'static str) -> Decoded<u64> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.take_long_number(field),
        }
    }

    fn take_long_number(&mut self, field: &'static str) -> Decoded<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take_u8(field)?;
            let bits = u64::from(byte & 0x7f);
            let is_cut = bits << shift >> shift != bits;
            let is_padded = byte == 0 && shift > 0;
            if is_cut || is_padded {
                return Err(CodecError { field, fault: Fault::Number });
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError { field, fault: Fault::Number })
    }

    /// A number of at most 32 bits.
    ///
    /// # Errors
    /// As [`Reader::take_number`], or [`Fault::TooLarge`].
    pub fn take_number_u32(&mut self, field: &'static str) -> Decoded<u32> {
        let found = self.take_number(field)?;
        let too_large = Fault::TooLarge { found, limit: u32::MAX.into() };
        u32::try_from(found).map_err(|_| CodecError { field, fault: too_large })
    }

    /// Bytes with their length before them.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] for more than `bytes_max`, [`Fault::Short`] for more than there are.
    #[inline]
    pub fn take_sized(&mut self, field: &'static str, bytes_max: usize) -> Decoded<&'a [u8]> {
        let found = self.take_number(field)?;
        match usize::try_from(found).ok().filter(|&bytes| bytes <= bytes_max) {
            Some(bytes) => self.take_bytes(field, bytes),
            None => Err(CodecError { field, fault: Fault::TooLarge { found, limit: bytes_max as u64 } }),
        }
    }

    /// UTF-8 text with its length in bytes before it.
    ///
    /// # Errors
    /// As [`Reader::take_sized`], or [`Fault::Text`].
    pub fn take_text(&mut self, field: &'static str, bytes_max: usize) -> Decoded<&'a str> {
        let bytes = self.take_sized(field, bytes_max)?;
        std::str::from_utf8(bytes).map_err(|_| CodecError { field, fault: Fault::Text })
    }

    /// How many values of a type follow.
    ///
    /// # Errors
    /// [`Fault::Short`] when so many cannot be in the bytes that are left.
    pub fn take_count<T: Stored>(&mut self, field: &'static str) -> Decoded<usize> {
        let found = self.take_number(field)?;
        let count = usize::try_from(found).ok().filter(|&count| count <= self.rest.len() / T::BYTES_LEAST);
        count.ok_or(CodecError { field, fault: Fault::Short })
    }

    /// A list with its count before it.
    ///
    /// # Errors
    /// Those of the count and of its values.
    pub fn take_list<T: Stored>(&mut self, field: &'static str) -> Decoded<Vec<T>> {
        let count = self.take_count::<T>(field)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(T::take(self)?);
        }
        Ok(list)
    }

    /// The values up to the end of the bytes.
    ///
    /// # Errors
    /// Those of its values.
    pub fn take_rest<T: Stored>(&mut self) -> Decoded<Vec<T>> {
        let mut list = Vec::new();
        while !self.is_empty() {
            list.push(T::take(self)?);
        }
        Ok(list)
    }
}

/// Appends a number of seven bits a byte.
#[inline]
pub fn put_number(buf: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buf.push(number as u8 | 0x80);
        number >>= 7;
    }
    buf.push(number as u8);
}

/// Appends bytes with their length before them.
#[inline]
pub fn put_sized(buf: &mut Vec<u8>, bytes: &[u8]) {
    put_number(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

/// Appends a list with its count before it.
pub fn put_list<T: Stored>(buf: &mut Vec<u8>, list: &[T]) {
    put_number(buf, list.len() as u64);
    list.iter().for_each(|value| value.put(buf));
}

/// Reads one value that is all of `bytes`; `field` names the whole.
///
/// # Errors
/// Names the first field that breaks a rule.
pub fn decode<T: Stored>(field: &'static str, bytes: &[u8]) -> Decoded<T> {
    let mut reader = Reader::new(bytes);
    let value = T::take(&mut reader)?;
    reader.finish(field)?;
    Ok(value)
}
