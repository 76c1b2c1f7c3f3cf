//! The one place where a client's operation meets a keyspace, whether it came over the wire or from this process.

use super::eventual::Eventual;
use crate::{
    error::Result,
    types::{Answer, Entry, EntryPage, Key, Operation, Record, Seen},
};

/// Does what was asked, now, from this node's memory. Never waits for another node.
///
/// # Errors
/// Those of [`Eventual::write`] and [`Eventual::check_clients`].
pub fn execute(keyspace: &Eventual, operation: Operation) -> Result<Answer> {
    execute_seen(keyspace, operation, false).map(|(answer, _)| answer)
}

/// As [`execute`]; also says what the caller has seen by it. For reads of many keys, where that is a vector for each
/// partition, only when `of_many` asks for it.
///
/// # Errors
/// Those of [`Eventual::write`] and [`Eventual::check_clients`].
pub fn execute_seen(keyspace: &Eventual, operation: Operation, of_many: bool) -> Result<(Answer, Seen)> {
    if !matches!(operation, Operation::Ping) {
        keyspace.check_clients()?;
    }
    // Taken after the read, so that nothing can have been read that it does not cover.
    let seen_of_many = || if of_many { Seen::Partitions(keyspace.seen()) } else { Seen::Nothing };
    Ok(match operation {
        Operation::Get { key, metadata_only } => {
            let (record, seen) = keyspace.read_seen(&key);
            let entry = record.map(|record| Entry::new(key.to_bytes(), record.view(), metadata_only));
            (Answer::Entry(entry), seen)
        }
        Operation::Write(command) => {
            let (written, seen) = keyspace.write_seen(command)?;
            (Answer::Written(written), seen)
        }
        Operation::Count(range) => (Answer::Count(keyspace.count(&range)), seen_of_many()),
        Operation::Scan { page, keys_only } => {
            let found = keyspace.page(&page);
            let entry = |(key, record): &(Key, Record)| Entry::new(key.to_bytes(), record.view(), keys_only);
            let page = EntryPage { entries: found.entries.iter().map(entry).collect(), more: found.more };
            (Answer::Page(page), seen_of_many())
        }
        Operation::Ping => (Answer::Pong, Seen::Nothing),
    })
}
