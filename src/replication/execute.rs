//! The one place where a client's operation meets a keyspace, whether it came over the wire or from this process.

use std::time::Duration;

use bytes::Bytes;

use super::eventual::Eventual;
use crate::{
    error::Result,
    types::{
        Answer, Command, CommandKind, Entry, EntryPage, Key, Operation, PageRequest, Record, SampledCall, Seen, Space,
    },
};

/// Does what was asked of `default`, now, from this node's memory. Never waits for another node.
///
/// # Errors
/// Those of [`Eventual::write`] and [`Eventual::check_clients`].
pub fn execute(keyspace: &Eventual, operation: Operation) -> Result<Answer> {
    execute_in(keyspace, Space::Default, operation)
}

/// As [`execute`], in any eventual keyspace.
///
/// # Errors
/// Those of [`execute`].
pub fn execute_in(keyspace: &Eventual, space: Space, operation: Operation) -> Result<Answer> {
    execute_seen(keyspace, space, operation, false).map(|(answer, _)| answer)
}

/// As [`execute_in`]; also says what the caller has seen by it. For reads of many keys, where that is a vector for each
/// partition, only when `of_many` asks for it.
///
/// # Errors
/// Those of [`Eventual::write`] and [`Eventual::check_clients`].
pub fn execute_seen(keyspace: &Eventual, space: Space, operation: Operation, of_many: bool) -> Result<(Answer, Seen)> {
    match keyspace.tap().is_on() {
        false => perform(keyspace, space, operation, of_many),
        true => perform_heard(keyspace, space, operation, of_many),
    }
}

/// While operators listen.
#[cold]
fn perform_heard(keyspace: &Eventual, space: Space, operation: Operation, of_many: bool) -> Result<(Answer, Seen)> {
    let picked = match operation {
        Operation::Ping => None,
        _ => keyspace.tap().pick(),
    };
    let Some(picked) = picked else { return perform(keyspace, space, operation, of_many) };
    let (key, written) = match &operation {
        Operation::Get { key, .. } => (key.to_bytes(), 0),
        Operation::Write(Command { key, kind: CommandKind::Put { value, .. } }) => (key.to_bytes(), value.len()),
        Operation::Write(Command { key, .. }) => (key.to_bytes(), 0),
        Operation::Count(range) | Operation::Scan { page: PageRequest { range, .. }, .. } => {
            (Bytes::copy_from_slice(&range.prefix), 0)
        }
        Operation::Ping => (Bytes::new(), 0),
    };
    let kind = operation.name();
    let answer = perform(keyspace, space, operation, of_many);
    let found = match &answer {
        Ok((Answer::Entry(Some(entry)), _)) => entry.value.len(),
        Ok((Answer::Page(page), _)) => page.entries.iter().map(|entry| entry.value.len()).sum(),
        _ => 0,
    };
    picked.tell(SampledCall {
        kind: kind.into(),
        keyspace: keyspace.name_of(space),
        key,
        client: None,
        value_bytes: (written + found) as u64,
        at: Duration::ZERO,
    });
    answer
}

#[inline]
fn perform(keyspace: &Eventual, space: Space, operation: Operation, of_many: bool) -> Result<(Answer, Seen)> {
    // Whoever found the space under its name has found that it is there.
    if space == Space::Default && !matches!(operation, Operation::Ping) {
        keyspace.check_clients()?;
    }
    // Taken after the read, so that nothing can have been read that it does not cover.
    let seen_of_many = || if of_many { Seen::Partitions(keyspace.seen()) } else { Seen::Nothing };
    Ok(match operation {
        Operation::Get { key, metadata_only } => {
            let held = space.held_behind(&key);
            let (record, seen) = keyspace.read_seen(held.as_ref().unwrap_or(&key));
            let entry = record.map(|record| Entry::new(key.to_bytes(), record.view(), metadata_only));
            (Answer::Entry(entry), seen)
        }
        Operation::Write(Command { key, kind }) => {
            let (written, seen) = keyspace.write_seen(Command { key: space.held(key), kind })?;
            (Answer::Written(written), seen)
        }
        Operation::Count(range) => (Answer::Count(keyspace.count(&space.range(&range))), seen_of_many()),
        Operation::Scan { page, keys_only } => {
            let found = keyspace.page(&space.page(page));
            let entry = |(held, record): &(Key, Record)| {
                let key = space.key(held).map(Bytes::copy_from_slice)?;
                Some(Entry::new(key, record.view(), keys_only))
            };
            // Every key that lies in the range is one of the keyspace.
            let page = EntryPage { entries: found.entries.iter().filter_map(entry).collect(), more: found.more };
            (Answer::Page(page), seen_of_many())
        }
        Operation::Ping => (Answer::Pong, Seen::Nothing),
    })
}
