//! The one place where a client's operation meets a keyspace, whether it came over the wire or from this process.

use super::eventual::Eventual;
use crate::{
    error::Result,
    types::{Answer, Entry, EntryPage, Operation},
};

/// Does what was asked, now, from this node's memory. Never waits for another node.
///
/// # Errors
/// Those of [`Eventual::write`].
pub fn execute(keyspace: &Eventual, operation: Operation) -> Result<Answer> {
    Ok(match operation {
        Operation::Get { key, metadata_only } => {
            let record = keyspace.read(&key);
            Answer::Entry(record.map(|record| Entry::new(key.to_bytes(), &record, metadata_only)))
        }
        Operation::Write(command) => Answer::Written(keyspace.write(command)?),
        Operation::Count(range) => Answer::Count(keyspace.count(&range)),
        Operation::Scan { page, keys_only } => {
            let found = keyspace.page(&page);
            let entry = |(key, record): &(_, _)| Entry::new(crate::types::Key::to_bytes(key), record, keys_only);
            Answer::Page(EntryPage { entries: found.entries.iter().map(entry).collect(), more: found.more })
        }
        Operation::Ping => Answer::Pong,
    })
}
