//! The records of a partition without order: one slot a record, numbered from 0 without gaps.
//!
//! When a record goes, the last one takes its place: the memory that is used is always what the records need, and whoever
//! knows records by their number is told of that one move. The slots are one vector. When it grows, its new half takes
//! no memory until it is used, and Linux moves a large one without copying it; elsewhere it is copied, 40 bytes a record.

use super::packed::{Nodes, Slot};
use crate::types::{Key, Record, RecordRef};

/// The number of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotId(u32);

#[cfg(test)]
impl SlotId {
    pub(super) fn of_number(number: u32) -> SlotId {
        SlotId(number)
    }
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    nodes: Nodes,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn key(&self, id: SlotId) -> &[u8] {
        self.slots[id.0 as usize].key()
    }

    #[inline]
    pub(super) fn record(&self, id: SlotId) -> RecordRef<'_> {
        self.slots[id.0 as usize].record(&self.nodes)
    }

    /// Every record, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], RecordRef<'_>)> {
        self.slots.iter().map(|slot| (slot.key(), slot.record(&self.nodes)))
    }

    pub(super) fn last(&self) -> Option<SlotId> {
        self.len().checked_sub(1).map(id_of)
    }

    /// Adds a record. Its number is one above the last.
    pub(super) fn push(&mut self, key: &Key, record: Record) -> SlotId {
        let id = id_of(self.len());
        self.slots.push(Slot::new(key, record, &mut self.nodes));
        id
    }

    /// Puts a record in the place of another one of the same key, and gives that one back.
    pub(super) fn replace(&mut self, id: SlotId, record: Record) -> Record {
        self.slots[id.0 as usize].replace(record, &mut self.nodes)
    }

    /// Takes a record out. The last one, unless it is this one, has its number from now on.
    pub(super) fn swap_remove(&mut self, id: SlotId) -> Record {
        let gone = self.slots.swap_remove(id.0 as usize);
        if self.slots.len() * 4 < self.slots.capacity() {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        gone.into_record(&self.nodes)
    }

    /// How many slots there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

fn id_of(number: usize) -> SlotId {
    SlotId(u32::try_from(number).expect("a partition of four billion records is larger than any memory"))
}
