//! A value: 0 bytes to 1 MiB, shared between the store, the outbox and readers.

use std::{fmt, ops::Deref};

use bytes::Bytes;
use triomphe::ThinArc;

use crate::{error::Result, limits};

/// A value within its bound. Immutable; a clone shares the bytes. One allocation holds the count, the length and the
/// bytes, and never more than the value: a value that arrived in a message is copied out of it, so that a small value
/// does not keep a large message alive. The value itself is one word, because the store keeps one for each key.
#[derive(Clone)]
pub struct Value(ThinArc<(), u8>);

impl Value {
    /// Copies the bytes.
    ///
    /// # Errors
    /// `VALUE_TOO_LARGE`.
    pub fn new(bytes: &[u8]) -> Result<Value> {
        limits::check_value(bytes)?;
        Ok(Value(ThinArc::from_header_and_slice((), bytes)))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0.slice
    }

    /// The bytes for a message, shared, not copied.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_its_bytes_within_the_bound() {
        for length in [0, 1, 100, limits::VALUE_BYTES_MAX] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let value = Value::new(&bytes).unwrap();
            assert_eq!((value.as_slice(), &value.to_bytes()[..]), (&bytes[..], &bytes[..]));
            assert_eq!(value, Value::new(&bytes).unwrap());
        }
        assert_ne!(Value::new(b"a").unwrap(), Value::new(b"b").unwrap());
        assert!(Value::new(&vec![0; limits::VALUE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_clone_shares_the_bytes() {
        let value = Value::new(b"shared").unwrap();
        let clones = (value.clone(), value.to_bytes());
        assert_eq!(
            (clones.0.as_slice().as_ptr(), clones.1.as_ptr()),
            (value.as_slice().as_ptr(), value.as_slice().as_ptr())
        );
    }

    #[test]
    fn a_value_takes_one_word_present_or_not() {
        assert_eq!(std::mem::size_of::<Option<Value>>(), 8);
    }
}
