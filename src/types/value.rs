//! A value: 0 bytes to 1 MiB, shared between the store, the outbox and readers.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;

use crate::{error::Result, limits};

/// A value within its bound. Immutable; a clone shares the bytes. One allocation holds the count and the bytes, and
/// never more than the value: a value that arrived in a message is copied out of it, so that a small value does not
/// keep a large message alive.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// Copies the bytes.
    ///
    /// # Errors
    /// `VALUE_TOO_LARGE`.
    pub fn new(bytes: &[u8]) -> Result<Value> {
        limits::check_value(bytes)?;
        Ok(Value(bytes.into()))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes for a message, shared, not copied.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}
