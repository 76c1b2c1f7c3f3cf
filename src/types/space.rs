//! Where the keys of an eventual keyspace lie among those of the one engine that holds them all.
//!
//! A key of `default` is held as it is, and a key of any other keyspace behind the id of that keyspace. Both are bytes, so the
//! first ones tell them apart:
//!
//! | held | is |
//! | --- | --- |
//! | any key that does not begin with FF | the same key of `default` |
//! | FF 00, key | a key of `default` that begins with FF itself |
//! | FF 01, 8 bytes of the group, 4 bytes of the keyspace (big endian), key | a key of that keyspace |
//!
//! So keys keep their order within their keyspace, those of two keyspaces never meet, and `default` lies below all others. What
//! a client says and gets is always the key alone.

use super::{Key, KeyRange, PageRequest};

/// With what the longer forms begin.
const MARK: u8 = u8::MAX;

/// After the mark: a key of `default` follows.
const ESCAPED: u8 = 0;

/// After the mark: an id follows.
const NAMED: u8 = 1;

/// Below this lies `default`, and from this on everything else.
pub const NAMED_FROM: [u8; 2] = [MARK, NAMED];

/// The bytes before a key of a keyspace with a name.
pub const SPACE_PREFIX_BYTES: usize = 2 + 8 + 4;

/// An eventual keyspace other than `default`, for ever: neither a group nor any other group gives the id a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId {
    /// Drawn at random when the group made its first one: groups that are founded anew must not find keys of former ones.
    pub group: u64,
    /// Counted by that group.
    pub keyspace: u32,
}

impl SpaceId {
    /// What the keys of the keyspace are held behind.
    pub fn prefix(self) -> [u8; SPACE_PREFIX_BYTES] {
        let mut prefix = [0; SPACE_PREFIX_BYTES];
        prefix[..2].copy_from_slice(&NAMED_FROM);
        prefix[2..10].copy_from_slice(&self.group.to_be_bytes());
        prefix[10..].copy_from_slice(&self.keyspace.to_be_bytes());
        prefix
    }

    /// The keyspace that a held key is of; `None`: it is of `default`.
    pub fn of_held(held: &[u8]) -> Option<SpaceId> {
        let id = held.strip_prefix(&NAMED_FROM)?;
        let (group, rest) = id.split_first_chunk()?;
        let keyspace = rest.first_chunk()?;
        Some(SpaceId { group: u64::from_be_bytes(*group), keyspace: u32::from_be_bytes(*keyspace) })
    }
}

/// An eventual keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The one that is there from the start.
    #[default]
    Default,
    /// One that was made.
    Named(SpaceId),
}

impl Space {
    /// The key under which a key of this keyspace is held. One of `default` is mostly itself, which costs a look at a byte.
    #[inline]
    pub fn held(self, key: Key) -> Key {
        match self {
            Space::Default if key[0] != MARK => key,
            Space::Default | Space::Named(_) => self.behind(&key),
        }
    }

    /// As [`Space::held`], of a key's bytes; `None`: they are themselves.
    #[inline]
    pub fn held_behind(self, key: &[u8]) -> Option<Key> {
        match self {
            Space::Default if key.first() != Some(&MARK) => None,
            Space::Default | Space::Named(_) => Some(self.behind(key)),
        }
    }

    #[cold]
    fn behind(self, key: &[u8]) -> Key {
        Key::of_held(&self.bound(key))
    }

    /// The key of this keyspace that is held there; `None`: it is of another.
    pub fn key(self, held: &[u8]) -> Option<&[u8]> {
        match self {
            Space::Default if held.first() != Some(&MARK) => Some(held),
            Space::Default => held.strip_prefix(&[MARK, ESCAPED]),
            Space::Named(id) => held.strip_prefix(&id.prefix()),
        }
    }

    /// Where in the engine a range of this keyspace lies.
    pub fn range(self, range: &KeyRange) -> KeyRange {
        let bound = |bound: &Option<Vec<u8>>| bound.as_ref().map(|bound| self.bound(bound));
        let end = match (bound(&range.end), self) {
            // Nothing else says where it ends.
            (None, Space::Default) if range.prefix.is_empty() => Some(NAMED_FROM.to_vec()),
            (end, _) => end,
        };
        KeyRange { prefix: self.bound(&range.prefix), start: bound(&range.start), end }
    }

    /// Where in the engine a page of this keyspace lies.
    pub fn page(self, page: PageRequest) -> PageRequest {
        PageRequest { range: self.range(&page.range), ..page }
    }

    /// What stands where these bytes stand among the keys of this keyspace.
    fn bound(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Space::Default if bytes.first() != Some(&MARK) => bytes.to_vec(),
            Space::Default => [&[MARK, ESCAPED], bytes].concat(),
            Space::Named(id) => [&id.prefix()[..], bytes].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(2), Just(254), Just(255), any::<u8>()];
        prop::collection::vec(byte, least..18)
    }

    fn space() -> impl Strategy<Value = Space> {
        let group = prop_oneof![Just(0), Just(u64::MAX), Just(1), any::<u64>()];
        let named = (group, prop_oneof![Just(u32::MAX), 0u32..3]);
        let named = named.prop_map(|(group, keyspace)| Space::Named(SpaceId { group, keyspace }));
        prop_oneof![Just(Space::Default), named]
    }

    fn held(space: Space, key: &[u8]) -> Key {
        space.held(Key::new(key).unwrap())
    }

    proptest! {
        #[test]
        fn a_key_comes_back_from_its_own_keyspace_and_from_no_other(
            key in bytes(1), space in space(), other in space(),
        ) {
            let held = held(space, &key);
            prop_assert_eq!(space.key(&held), Some(&key[..]));
            if other != space {
                prop_assert_eq!(other.key(&held), None);
            }
            prop_assert_eq!(SpaceId::of_held(&held).map_or(Space::Default, Space::Named), space);
            let behind = space.held_behind(&key);
            prop_assert_eq!(behind.unwrap_or_else(|| Key::new(&key).unwrap()), held);
        }

        #[test]
        fn keys_keep_their_order_and_keyspaces_never_meet(
            (one, other) in (bytes(1), bytes(1)), (space, elsewhere) in (space(), space()),
        ) {
            prop_assert_eq!(held(space, &one).cmp(&held(space, &other)), one.cmp(&other));
            prop_assert_eq!(held(space, &one) == held(elsewhere, &other), space == elsewhere && one == other);
            let is_named = matches!(space, Space::Named(_));
            prop_assert_eq!(held(space, &one).as_slice() >= &NAMED_FROM[..], is_named);
        }

        #[test]
        fn a_range_holds_the_same_keys_and_none_of_others(
            (prefix, start, end) in (bytes(0), prop::option::of(bytes(0)), prop::option::of(bytes(0))),
            (key, space, other) in (bytes(1), space(), space()),
        ) {
            let range = KeyRange { prefix: prefix.into_iter().take(3).collect(), start, end };
            let within = space.range(&range);
            prop_assert_eq!(within.contains(&held(space, &key)), range.contains(&key));
            if other != space {
                prop_assert!(!within.contains(&held(other, &key)));
            }
        }
    }

    #[test]
    fn the_longest_key_has_room_behind_an_id() {
        let key = Key::new(&vec![MARK; crate::limits::KEY_BYTES_MAX]).unwrap();
        for space in [Space::Default, Space::Named(SpaceId { group: u64::MAX, keyspace: u32::MAX })] {
            assert_eq!(space.key(&space.held(key.clone())), Some(&key[..]));
        }
    }

    #[test]
    fn the_forms_are_what_nodes_keep_and_tell_each_other() {
        let named = Space::Named(SpaceId { group: 0x0102_0304_0506_0708, keyspace: 9 });
        assert_eq!(held(Space::Default, b"k").as_slice(), b"k");
        assert_eq!(held(Space::Default, b"\xff\x01").as_slice(), b"\xff\x00\xff\x01");
        assert_eq!(held(named, b"k").as_slice(), b"\xff\x01\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x09k");
    }
}
