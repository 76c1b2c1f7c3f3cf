//! Watches: what is asked, and the pages of changes.
//!
//! What one transaction has changed can be too much for one message: all the keys of a lease that ends, or what was there
//! before each change. Then it takes several, and [`Assembly`] puts them together again.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;

use super::{
    bad, check_watch, key,
    reads::{decode_item, encode_item},
    required, v1, within,
};
use crate::{
    error::Result,
    limits::{STRONG_CHANGES_BYTES_TARGET, WATCH_BUFFER_BYTES_MAX},
    replication::strong::{Change, GroupWatch, Revision, Space, TransactionChanges, VersionState, WatchPage},
    wire::kv::{decode_range, encode_range},
};

pub(super) fn encode_watch(watch: &GroupWatch) -> v1::WatchChangesRequest {
    v1::WatchChangesRequest {
        keyspace: watch.keyspace.clone(),
        locks: watch.space == Space::Locks,
        range: Some(encode_range(&watch.range)),
        since: watch.since.map(|revision| revision.0),
        initial: watch.initial,
    }
}

/// # Errors
/// `INVALID_ARGUMENT`, `KEY_TOO_LONG` for a bound that no key reaches.
pub(super) fn decode_watch(request: v1::WatchChangesRequest) -> Result<GroupWatch> {
    let watch = GroupWatch {
        keyspace: request.keyspace,
        space: if request.locks { Space::Locks } else { Space::Data },
        range: decode_range(request.range)?,
        since: request.since.map(Revision),
        initial: request.initial,
    };
    check_watch(&watch)?;
    Ok(watch)
}

/// A page in as many messages as it takes, each of which fits.
pub(super) fn encode_page(page: WatchPage) -> VecDeque<v1::ChangesPage> {
    split_page(page, STRONG_CHANGES_BYTES_TARGET)
}

/// Messages that end with the change that brings them to `bytes_target`.
pub(super) fn split_page(page: WatchPage, bytes_target: usize) -> VecDeque<v1::ChangesPage> {
    let mut pages = Pages { done: VecDeque::new(), open: Vec::new(), bytes: 0, bytes_target, initial: page.initial };
    let mut told = match (page.initial, page.transactions.first()) {
        (false, Some(first)) => Revision(first.revision.0.saturating_sub(1)),
        (true, _) | (_, None) => page.until,
    };
    for TransactionChanges { revision, time_ms, changes } in page.transactions {
        let head = v1::TransactionChanges { revision: revision.0, time_ms, changes: Vec::new() };
        pages.open.push(head.clone());
        let last = changes.len().saturating_sub(1);
        for (place, change) in changes.into_iter().enumerate() {
            pages.push(encode_change(change, page.elapsed_ms));
            if pages.is_full() && place < last {
                pages.close(told, true);
                pages.open.push(head.clone());
            }
        }
        if !page.initial {
            told = revision;
        }
        if pages.is_full() {
            pages.close(told, false);
        }
    }
    if !pages.open.is_empty() || pages.done.is_empty() || told != page.until {
        pages.close(page.until, false);
    }
    pages.done
}

/// Messages that are made of a page.
struct Pages {
    done: VecDeque<v1::ChangesPage>,
    /// The transactions of the next one; the last is being filled.
    open: Vec<v1::TransactionChanges>,
    bytes: usize,
    bytes_target: usize,
    initial: bool,
}

impl Pages {
    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_target
    }

    fn push(&mut self, change: v1::KeyChange) {
        self.bytes += change.encoded_len();
        self.open.last_mut().expect("a transaction was begun").changes.push(change);
    }

    fn close(&mut self, until: Revision, unfinished: bool) {
        let transactions = std::mem::take(&mut self.open);
        self.bytes = 0;
        self.done.push_back(v1::ChangesPage { transactions, until: until.0, initial: self.initial, unfinished });
    }
}

fn encode_change(change: Change, elapsed_ms: u64) -> v1::KeyChange {
    use v1::key_change::Type;
    let without_key = |item| v1::StrongItem { key: Bytes::new(), ..item };
    let (kind, item) = match &change.state {
        VersionState::Live(item) => (Type::Put, Some(without_key(encode_item(&change.key, item, elapsed_ms, true)))),
        VersionState::Deleted => (Type::Delete, None),
        VersionState::Expired => (Type::Expire, None),
    };
    let previous = change.previous.map(|item| without_key(encode_item(&change.key, &item, elapsed_ms, true)));
    v1::KeyChange { r#type: kind.into(), key: change.key.to_bytes(), item, previous }
}

/// Puts transactions together that took several messages.
#[derive(Default)]
pub(super) struct Assembly {
    /// The beginning of a transaction.
    pending: Option<TransactionChanges>,
    /// Of what is pending.
    bytes: usize,
}

impl Assembly {
    /// The whole transactions of a message, together with what came before; `None`: there are none yet.
    ///
    /// What was there before a change is left out where a transaction has more of it than a watch may buffer.
    ///
    /// # Errors
    /// `MALFORMED_MESSAGE`, and those of keys and values.
    pub(super) fn take(&mut self, page: v1::ChangesPage) -> Result<Option<WatchPage>> {
        let (until, unfinished, initial) = (Revision(page.until), page.unfinished, page.initial);
        let decode = |(place, transaction)| {
            decode_transaction(transaction).map_err(within(format_args!("transactions[{place}]")))
        };
        let decoded = page.transactions.into_iter().enumerate().map(decode);
        let mut transactions = decoded.collect::<Result<Vec<TransactionChanges>>>()?;
        if let Some(pending) = self.pending.take() {
            self.resume(pending, &mut transactions)?;
        }
        if unfinished {
            let pending = transactions.pop().ok_or_else(|| bad("unfinished", "there is no transaction"))?;
            self.bytes = pending.changes.iter().map(bytes_of_change).sum();
            self.pending = Some(pending);
            if transactions.is_empty() {
                return Ok(None);
            }
        }
        if transactions.last().is_some_and(|last| last.revision > until && !initial) {
            return Err(bad("until", format!("{until} is before what is told")));
        }
        Ok(Some(WatchPage { transactions, until, initial, elapsed_ms: 0 }))
    }

    /// Joins what is pending with the first transaction of the next message.
    fn resume(&mut self, mut pending: TransactionChanges, transactions: &mut [TransactionChanges]) -> Result<()> {
        let rest = transactions.first_mut().filter(|rest| rest.revision == pending.revision);
        let rest = rest.ok_or_else(|| bad("transactions", "the rest of the last one is missing"))?;
        for mut change in rest.changes.drain(..) {
            self.bytes += bytes_of_change(&change);
            if self.bytes > WATCH_BUFFER_BYTES_MAX {
                change.previous = None;
            }
            pending.changes.push(change);
        }
        *rest = pending;
        Ok(())
    }
}

/// Keys and values of a change.
pub fn bytes_of_change(change: &Change) -> usize {
    let now = change.state.live().map_or(0, |item| item.value.len());
    change.key.len() + now + change.previous.as_ref().map_or(0, |item| item.value.len())
}

fn decode_transaction(transaction: v1::TransactionChanges) -> Result<TransactionChanges> {
    let decode = |(place, change)| decode_change(change).map_err(within(format_args!("changes[{place}]")));
    let changes = transaction.changes.into_iter().enumerate().map(decode).collect::<Result<_>>()?;
    Ok(TransactionChanges { revision: Revision(transaction.revision), time_ms: transaction.time_ms, changes })
}

fn decode_change(change: v1::KeyChange) -> Result<Change> {
    use v1::key_change::Type;
    let name = key("change", &change.key)?;
    let with_key = |item| v1::StrongItem { key: change.key.clone(), ..item };
    let kind = Type::try_from(change.r#type).ok().filter(|kind| *kind != Type::Unspecified);
    let state = match (required("type", kind)?, change.item) {
        (Type::Put, Some(item)) => VersionState::Live(decode_item(with_key(item))?.1),
        (Type::Delete, None) => VersionState::Deleted,
        (Type::Expire, None) => VersionState::Expired,
        _ => return Err(bad("item", "is there if and only if the type is put")),
    };
    let previous = change.previous.map(|item| decode_item(with_key(item))).transpose()?;
    Ok(Change { key: name, state, previous: previous.map(|(_, item)| item) })
}
