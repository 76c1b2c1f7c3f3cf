//! The keyspaces that share this engine: who is served, and how those that were dropped are emptied.

use std::{num::NonZeroU64, ops::Bound};

use super::{progress::merge_with, Eventual};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{check_keyspace_name, SPACE_SWEEP_KEYS_MAX, SPACE_SWEEP_VISITS_MAX},
    replication::eventual::spaces::{Found, Spaces},
    storage::{Merged, Records, RecordsStats},
    types::{
        Catalogue, Dot, Holding, Key, KeyRange, Listed, PartitionId, Record, RecordRef, Space, SpaceId, Timestamp,
        DEFAULT_KEYSPACE, NAMED_FROM,
    },
};

impl Eventual {
    /// Which keyspaces there are besides `default`.
    pub fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    /// Takes note of which there are by now. Watches of one that was dropped end.
    pub fn take_catalogue(&self, catalogue: Catalogue) {
        if self.spaces.take(catalogue) {
            self.listeners.wake();
        }
    }

    /// The eventual keyspace of a name, an empty one meaning `default`; `None`: this node has not heard of it, and the group
    /// may know better.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no name; `KEYSPACE_IS_STRONG`.
    pub fn space_named(&self, name: &str) -> Result<Option<Space>> {
        if name.is_empty() || name == DEFAULT_KEYSPACE {
            return Ok(Some(Space::Default));
        }
        check_keyspace_name(name)?;
        match self.spaces.find(name) {
            Found::Eventual(space) => Ok(Some(space)),
            Found::Unknown => Ok(None),
            Found::Strong => {
                let text = format!("keyspace {name:?}: it is strong, and was asked for as an eventual one");
                Err(Error::new(ErrorCode::KeyspaceIsStrong, text))
            }
        }
    }

    /// The name of a keyspace; empty for one that was dropped.
    pub fn name_of(&self, space: Space) -> String {
        let Space::Named(id) = space else { return DEFAULT_KEYSPACE.to_string() };
        let is_it = |listed: &Listed| matches!(listed, Listed::Eventual { space, .. } if *space == id);
        let catalogue = self.spaces.catalogue();
        let found = catalogue.keyspaces.iter().find(|(_, listed)| is_it(listed));
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// As [`Eventual::space_named`], of one that the group was asked for.
    ///
    /// # Errors
    /// Those of [`Eventual::space_named`]; `UNKNOWN_KEYSPACE`.
    pub fn space_settled(&self, name: &str) -> Result<Space> {
        let unknown = || Error::new(ErrorCode::UnknownKeyspace, format!("keyspace {name:?}: there is none"));
        self.space_named(name)?.ok_or_else(unknown)
    }

    /// Refuses a client that is not, or no longer, to be served here.
    ///
    /// # Errors
    /// Those of [`Eventual::check_clients`] for `default`; `UNKNOWN_KEYSPACE` for one that was dropped.
    #[inline]
    pub fn check_space(&self, space: Space) -> Result<()> {
        match space {
            Space::Default => self.check_clients(),
            Space::Named(_) if self.spaces.has(space) => Ok(()),
            Space::Named(_) => Err(Error::new(ErrorCode::UnknownKeyspace, "keyspace: it was dropped")),
        }
    }

    /// What this node holds of each keyspace that it knows, of `default` unless that is strong. Reads every record of those
    /// with a name.
    pub fn holdings(&self) -> Vec<Holding> {
        let named = KeyRange { start: Some(NAMED_FROM.to_vec()), ..KeyRange::default() };
        let mut default = self.stats();
        let named = self.stats_of(&named);
        // Of two moments, so that it may come out below none for a while.
        default.keys = default.keys.saturating_sub(named.keys);
        default.bytes = default.bytes.saturating_sub(named.bytes);
        let holding = |name: &str, space, stats: RecordsStats| Holding {
            keyspace: name.to_string(),
            keys: stats.keys,
            bytes: stats.bytes,
            conflicts: self.conflicts_of(space),
        };
        let default = self.serves_clients().then(|| holding(DEFAULT_KEYSPACE, Space::Default, default));
        let catalogue = self.spaces.catalogue();
        let others = catalogue.keyspaces.iter().filter_map(|(name, listed)| match listed {
            Listed::Eventual { space, .. } => {
                let space = Space::Named(*space);
                Some(holding(name, space, self.stats_of(&space.range(&KeyRange::default()))))
            }
            Listed::Strong => None,
        });
        default.into_iter().chain(others).collect()
    }

    /// Whether there is a key of `default`, or a delete of one that is remembered.
    pub fn has_default(&self) -> bool {
        let default = (Bound::Unbounded, Bound::Excluded(&NAMED_FROM[..]));
        self.partition_ids().any(|partition| self.records(partition, |records| records.range(default).next().is_some()))
    }

    /// What the records of a range amount to, keys counted as they are held.
    fn stats_of(&self, range: &KeyRange) -> RecordsStats {
        let mut sum = RecordsStats::default();
        let Some((lower, upper)) = range.bounds() else { return sum };
        let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        for partition in self.partition_ids() {
            self.records(partition, |records| {
                records.range(bounds).for_each(|(key, record)| sum += RecordsStats::of(key, record));
            });
        }
        sum
    }

    /// Deletes what a partition holds of keyspaces that were dropped, a bounded number of keys, and again whenever there is
    /// something: a node that has not heard yet goes on taking writes. To be called from time to time at every node, more
    /// often by the owner of the partition; two at once do no harm.
    ///
    /// Such a tombstone is stamped right behind the write that it ends, as in [`Eventual::sweep`], and no conflict.
    pub fn sweep_dropped(&self, partition: PartitionId, is_owner: bool) {
        let now_ms = self.now_ms();
        let catalogue = self.spaces.catalogue();
        if catalogue.group.is_none() || catalogue.edition.dropped == 0 {
            return;
        }
        let Some(round) = self.spaces.round(partition, now_ms) else { return };
        let has_dropped = |space| catalogue.has_dropped(space);
        let (keys, after) = self.records(partition, |records| find_dropped(records, round.after.as_ref(), has_dropped));
        self.spaces.set_round(partition, round.went_to(after, !keys.is_empty()), (now_ms, is_owner));
        if !keys.is_empty() {
            self.end_all(partition, keys, now_ms);
        }
    }

    fn end_all(&self, partition: PartitionId, keys: Vec<Key>, now_ms: u64) {
        let mut guard = self.partitions.write(partition);
        for key in keys {
            let dot = Dot { node: self.me, sequence: guard.sidecar.outbox.last().next() };
            let mut ended = None;
            let merged = merge_with(&mut guard, key.clone(), |held| {
                let RecordRef { timestamp, .. } = held.filter(|held| held.value.is_some())?;
                let (timestamp, expires_ms) = (Timestamp(timestamp.0 | 1), NonZeroU64::new(now_ms.max(1)));
                ended = Some(Record { value: None, flags: 0, timestamp, dot, expires_ms });
                ended.clone()
            });
            let (Some(Merged::Replaced(_)), Some(record)) = (merged, ended) else { continue };
            self.hlc.note(record.timestamp);
            self.push_own(&mut guard, key, record);
        }
        drop(guard);
        self.announce();
        self.listeners.wake();
    }
}

/// Keys with values of dropped keyspaces after a key, as many as are dealt with at once; and where to go on, `None` at the end.
fn find_dropped(
    records: &Records,
    after: Option<&Key>,
    has_dropped: impl Fn(SpaceId) -> bool,
) -> (Vec<Key>, Option<Key>) {
    let mut found = Vec::new();
    let mut lower = match after {
        Some(after) => Bound::Excluded(after.to_vec()),
        None => Bound::Included(NAMED_FROM.to_vec()),
    };
    let mut visits = 0;
    loop {
        let rest = (lower.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let Some(space) = records.range(rest).next().and_then(|(key, _)| SpaceId::of_held(key)) else {
            return (found, None);
        };
        let end = match KeyRange::prefix(&space.prefix()).bounds() {
            Some((_, Bound::Excluded(end))) => end,
            _ => return (found, None),
        };
        visits += 1;
        if has_dropped(space) {
            let within = (lower.as_ref().map(Vec::as_slice), Bound::Excluded(end.as_slice()));
            for (key, record) in records.range(within) {
                visits += 1;
                if record.value.is_some() {
                    found.push(Key::of_held(key));
                }
                if found.len() >= SPACE_SWEEP_KEYS_MAX || visits >= SPACE_SWEEP_VISITS_MAX {
                    return (found, Some(Key::of_held(key)));
                }
            }
        }
        lower = Bound::Included(end);
    }
}

#[cfg(test)]
mod tests;
