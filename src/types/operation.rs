//! What a client may ask of a keyspace, and the answers: the same whether it comes over the wire or from this process.

use std::num::NonZeroU64;

use bytes::Bytes;

use super::{Command, Key, KeyRange, PageRequest, RecordRef, Timestamp, Written};

/// One call, checked against the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One key.
    Get {
        /// Which.
        key: Key,
        /// Leave the value of the answer empty.
        metadata_only: bool,
    },
    /// A put, delete or touch.
    Write(Command),
    /// How many keys of a range a reader sees.
    Count(KeyRange),
    /// One page of a range.
    Scan {
        /// Which.
        page: PageRequest,
        /// Leave the values of the answer empty.
        keys_only: bool,
    },
    /// Nothing, to see that the node answers.
    Ping,
}

impl Operation {
    /// Whether it changes anything, so that its outcome is unknown when the answer is lost.
    pub fn is_write(&self) -> bool {
        match self {
            Operation::Write(_) => true,
            Operation::Get { .. } | Operation::Count(_) | Operation::Scan { .. } | Operation::Ping => false,
        }
    }

    /// Whether what it gives or does depends on what is stored. A touch writes the value that it finds; a delete writes
    /// its tombstone whatever it finds, and whether the key was there is the answering node's view.
    pub fn is_read(&self) -> bool {
        match self {
            Operation::Write(command) => matches!(command.kind, super::CommandKind::Touch { .. }),
            Operation::Get { .. } | Operation::Count(_) | Operation::Scan { .. } => true,
            Operation::Ping => false,
        }
    }

    /// The name users know it by.
    pub fn name(&self) -> &'static str {
        use super::CommandKind;
        match self {
            Operation::Get { .. } => "get",
            Operation::Write(Command { kind: CommandKind::Put { .. }, .. }) => "put",
            Operation::Write(Command { kind: CommandKind::Delete, .. }) => "delete",
            Operation::Write(Command { kind: CommandKind::Touch { .. }, .. }) => "touch",
            Operation::Count(_) => "count",
            Operation::Scan { .. } => "scan",
            Operation::Ping => "ping",
        }
    }
}

/// The answer to an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a get; `None`: there is no such key.
    Entry(Option<Entry>),
    /// To a put, delete or touch.
    Written(Written),
    /// To a count.
    Count(u64),
    /// To a scan.
    Page(EntryPage),
    /// To a ping.
    Pong,
}

/// One stored key as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Empty when only the metadata was asked for.
    pub value: Bytes,
    /// How the writer's codec encoded the value.
    pub flags: u32,
    /// Which write made it.
    pub version: Timestamp,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// Milliseconds since the Unix epoch; `None`: never.
    pub expires_ms: Option<NonZeroU64>,
}

impl Entry {
    /// The entry that a visible record gives.
    pub fn new(key: Bytes, record: RecordRef<'_>, metadata_only: bool) -> Entry {
        let value = record.value.filter(|_| !metadata_only);
        Entry {
            key,
            value: value.map(|value| value.to_bytes()).unwrap_or_default(),
            flags: record.flags,
            version: record.timestamp,
            modified_ms: record.timestamp.millis(),
            expires_ms: record.expires_ms,
        }
    }
}

/// A part of a range, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// In the order asked for.
    pub entries: Vec<Entry>,
    /// There may be more beyond the last entry.
    pub more: bool,
}
