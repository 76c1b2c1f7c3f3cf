//! A key: 1 to 8,192 bytes, ordered bytewise.

use std::{borrow::Borrow, cmp::Ordering, fmt, hash, ops::Deref};

use bytes::Bytes;

use crate::{error::Result, limits};

/// Up to this many bytes a key lies inline, beside its record, without an allocation of its own.
const INLINE_BYTES_MAX: usize = 22;

/// A key within its bounds. Cheap to clone when short; compared, ordered and hashed as its bytes.
#[derive(Clone)]
pub struct Key(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Boxed(Box<[u8]>),
}

impl Key {
    /// Copies the bytes.
    ///
    /// # Errors
    /// `KEY_EMPTY` or `KEY_TOO_LONG`.
    pub fn new(bytes: &[u8]) -> Result<Key> {
        limits::check_key(bytes)?;
        Ok(Key::copy(bytes))
    }

    /// As [`Key::new`], of a key as nodes hold it and tell each other, which may be longer than a client's: see
    /// [`Space`](super::Space).
    ///
    /// # Errors
    /// `KEY_EMPTY` or `KEY_TOO_LONG`.
    pub fn held(bytes: &[u8]) -> Result<Key> {
        limits::check_held_key(bytes)?;
        Ok(Key::copy(bytes))
    }

    fn copy(bytes: &[u8]) -> Key {
        if bytes.len() > INLINE_BYTES_MAX {
            return Key(Repr::Boxed(bytes.into()));
        }
        let mut inline = [0; INLINE_BYTES_MAX];
        inline[..bytes.len()].copy_from_slice(bytes);
        Key(Repr::Inline { length: bytes.len() as u8, bytes: inline })
    }

    /// A copy of bytes that have been a key before, or are made of one.
    ///
    /// # Panics
    /// When they have not, because they are out of bounds.
    pub fn of_held(bytes: &[u8]) -> Key {
        Key::held(bytes).expect("what has been a key is within the bounds")
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Boxed(bytes) => bytes,
        }
    }

    /// A copy of the bytes for a message.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_slice())
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl hash::Hash for Key {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(b\"{}\")", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_its_bytes(a in prop::collection::vec(any::<u8>(), 1..64), b in prop::collection::vec(any::<u8>(), 1..64)) {
            let (key_a, key_b) = (Key::new(&a).unwrap(), Key::new(&b).unwrap());
            prop_assert_eq!(key_a.as_slice(), a.as_slice());
            prop_assert_eq!(key_a.to_bytes(), a.as_slice());
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
            prop_assert_eq!(key_a == key_b, a == b);
        }
    }

    #[test]
    fn keys_out_of_bounds_are_refused() {
        assert!(Key::new(b"").is_err());
        assert!(Key::new(&vec![b'k'; limits::KEY_BYTES_MAX]).is_ok());
        assert!(Key::new(&vec![b'k'; limits::KEY_BYTES_MAX + 1]).is_err());
        assert!(Key::held(b"").is_err());
        assert!(Key::held(&vec![b'k'; limits::HELD_KEY_BYTES_MAX]).is_ok());
        assert!(Key::held(&vec![b'k'; limits::HELD_KEY_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_key_takes_three_words() {
        assert_eq!(std::mem::size_of::<Key>(), 24);
    }
}
