//! Keys and values for those who look: of an eventual keyspace, or of a strong one as this node has it now. No read here waits for
//! another node, so all of them may be behind.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    error::{Error, ErrorCode, Result},
    limits::{HTTP_CALL_TIMEOUT, HTTP_FOLD_KEYS, PAGE_BYTES_TARGET},
    replication::{
        execute_in,
        strong::{self, Call, Freshness, Item, Read, ReadAnswer, ReadCall, ReadKind, Reply, Until},
    },
    rpc::{
        host::{space_of, Host},
        strong::StrongBackend,
    },
    types::{Answer, Entry, Key, KeyRange, Operation, PageRequest, Space, DEFAULT_KEYSPACE},
};

/// A keyspace that is looked into.
pub(super) enum Keyspace {
    Eventual(Arc<dyn Host>, Space),
    Strong(Arc<dyn StrongBackend>, String),
}

/// A key with its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) flags: u32,
    pub(super) version: u64,
    pub(super) modified_ms: u64,
    pub(super) ends: Ends,
}

/// When a value ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Never,
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// So many milliseconds from now.
    In(u64),
    WithLease(u64),
}

/// A part of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// What keys begin with, up to and with a delimiter; in order.
    pub(super) folders: Vec<Vec<u8>>,
    /// In order.
    pub(super) keys: Vec<Found>,
    /// The last key or folder, where there may be more.
    pub(super) next: Option<Vec<u8>>,
}

impl Keyspace {
    /// That of a name; an empty one means `default`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no name, `UNKNOWN_KEYSPACE`, and those of asking the group for it.
    pub(super) async fn find(host: &Arc<dyn Host>, name: &str) -> Result<Keyspace> {
        let found = match space_of(&**host, name).await {
            Ok(space) => host.keyspace().check_space(space).map(|()| space),
            Err(error) => Err(error),
        };
        match found {
            Ok(space) => Ok(Keyspace::Eventual(host.clone(), space)),
            Err(error) => match (error.code(), host.strong()) {
                (ErrorCode::KeyspaceIsStrong | ErrorCode::DefaultIsStrong, Some(backend)) => {
                    let name = if name.is_empty() { DEFAULT_KEYSPACE } else { name };
                    Ok(Keyspace::Strong(backend, name.to_string()))
                }
                _ => Err(error),
            },
        }
    }

    /// One key; `None`: it is not there.
    ///
    /// # Errors
    /// Those of the keyspace.
    pub(super) async fn get(&self, key: Key) -> Result<Option<Found>> {
        match self {
            Keyspace::Eventual(host, space) => {
                match execute_in(host.keyspace(), *space, Operation::Get { key, metadata_only: false })? {
                    Answer::Entry(entry) => Ok(entry.map(Found::from)),
                    other => Err(mismatch(&other)),
                }
            }
            Keyspace::Strong(backend, name) => {
                let (elapsed_ms, answer) = ask(&**backend, name, ReadKind::Key { key, metadata_only: false }).await?;
                match answer {
                    ReadAnswer::Key { key, item, .. } => Ok(item.map(|item| found(&key, &item, elapsed_ms))),
                    other => Err(mismatch(&other)),
                }
            }
        }
    }

    /// One page, in key order, and whether there may be more.
    async fn page(&self, range: KeyRange, keys_max: usize) -> Result<(Vec<Found>, bool)> {
        let page = PageRequest { range, reverse: false, keys_max, bytes_target: PAGE_BYTES_TARGET };
        match self {
            Keyspace::Eventual(host, space) => {
                match execute_in(host.keyspace(), *space, Operation::Scan { page, keys_only: false })? {
                    Answer::Page(page) => Ok((page.entries.into_iter().map(Found::from).collect(), page.more)),
                    other => Err(mismatch(&other)),
                }
            }
            Keyspace::Strong(backend, name) => {
                let (elapsed_ms, answer) = ask(&**backend, name, ReadKind::Page { page, keys_only: false }).await?;
                match answer {
                    ReadAnswer::Page { page, .. } => {
                        let entries = page.items.iter().map(|(key, item)| found(key, item, elapsed_ms));
                        Ok((entries.collect(), page.more))
                    }
                    other => Err(mismatch(&other)),
                }
            }
        }
    }

    /// The keys under a prefix that come after a key.
    ///
    /// # Errors
    /// Those of the keyspace.
    pub(super) async fn list(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Listing> {
        let range = KeyRange { prefix: prefix.to_vec(), start: after.map(behind_key), end: None };
        let (keys, more) = self.page(range, limit).await?;
        let next = keys.last().filter(|_| more).map(|found| found.key.to_vec());
        Ok(Listing { folders: Vec::new(), keys, next })
    }

    /// As [`Keyspace::list`], but keys that go on with a delimiter somewhere behind the prefix are one folder.
    ///
    /// # Errors
    /// Those of the keyspace.
    pub(super) async fn fold(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut start = after.map(|after| match folder_of(prefix, after) {
            Some(folder) => behind_folder(folder),
            None => behind_key(after),
        });
        loop {
            let range = KeyRange { prefix: prefix.to_vec(), start: start.clone(), end: None };
            let (page, more) = self.page(range, HTTP_FOLD_KEYS).await?;
            let is_last = !more || page.is_empty();
            for found in page {
                if start.as_deref().is_some_and(|start| *found.key < *start) {
                    continue;
                }
                if listing.folders.len() + listing.keys.len() >= limit {
                    return Ok(listing);
                }
                match folder_of(prefix, &found.key) {
                    Some(folder) => {
                        start = Some(behind_folder(folder));
                        listing.next = Some(folder.to_vec());
                        listing.folders.push(folder.to_vec());
                    }
                    None => {
                        start = Some(behind_key(&found.key));
                        listing.next = Some(found.key.to_vec());
                        listing.keys.push(found);
                    }
                }
            }
            if is_last {
                return Ok(Listing { next: None, ..listing });
            }
        }
    }
}

/// A key up to and with the first delimiter behind the prefix; `None`: there is none.
fn folder_of<'a>(prefix: &[u8], key: &'a [u8]) -> Option<&'a [u8]> {
    let rest = key.strip_prefix(prefix)?;
    let at = rest.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    Some(&key[..=prefix.len() + at])
}

/// The first byte string after a key.
fn behind_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first byte string after all in a folder, whose last byte is a delimiter and thus not the last there is.
fn behind_folder(folder: &[u8]) -> Vec<u8> {
    let mut end = folder.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

async fn ask(backend: &dyn StrongBackend, keyspace: &str, kind: ReadKind) -> Result<(u64, ReadAnswer)> {
    let reads = vec![Read { space: strong::Space::Data, kind }];
    let call = ReadCall { keyspace: keyspace.to_string(), freshness: Freshness::Local, at: None, reads };
    match backend.call(Call::Read(call), HTTP_CALL_TIMEOUT).await? {
        Reply::Read(reply) => {
            let elapsed_ms = reply.elapsed_ms;
            let answer = reply.answers.into_iter().next();
            answer.map(|answer| (elapsed_ms, answer)).ok_or_else(|| mismatch(&"no answer"))
        }
        other => Err(mismatch(&other)),
    }
}

fn mismatch(answer: &dyn std::fmt::Debug) -> Error {
    Error::new(ErrorCode::Internal, format!("a read was answered by something else: {answer:?}"))
}

impl From<Entry> for Found {
    fn from(entry: Entry) -> Found {
        let Entry { key, value, flags, version, modified_ms, expires_ms } = entry;
        let ends = expires_ms.map_or(Ends::Never, |at| Ends::At(at.get()));
        Found { key, value, flags, version: version.0, modified_ms, ends }
    }
}

fn found(key: &Key, item: &Item, elapsed_ms: u64) -> Found {
    let ends = match item.until {
        Until::Deleted => Ends::Never,
        Until::Elapsed(at_ms) => Ends::In(at_ms.saturating_sub(elapsed_ms)),
        Until::Lease(lease) => Ends::WithLease(lease.0),
    };
    Found {
        key: key.to_bytes(),
        value: item.value.to_bytes(),
        flags: item.flags,
        version: item.modified.0,
        modified_ms: item.modified_ms,
        ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_ends_with_the_first_delimiter_behind_the_prefix() {
        for (prefix, key, expected) in [
            ("", "user:1", Some("user:")),
            ("user:", "user:1:name", Some("user:1:")),
            ("user:", "user:1", None),
            ("us", "user/1:2", Some("user/")),
            ("", "plain", None),
            ("", ":", Some(":")),
            ("other", "user:1", None),
        ] {
            let folder = folder_of(prefix.as_bytes(), key.as_bytes());
            assert_eq!(folder, expected.map(str::as_bytes), "{prefix} {key}");
        }
        assert_eq!(behind_folder(b"user:"), b"user;");
        assert_eq!(behind_folder(b"a/"), b"a0");
    }
}
