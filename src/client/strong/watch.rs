//! A watch of a strong keyspace that survives its nodes: whole transactions in the order of the log, each once.
//!
//! Every page says up to which revision everything is told, so the next node goes on from there. What is there at the
//! beginning is read page by page at one revision, which any node can do, and not taken from the stream of one node: a
//! node that fails in the middle of it would leave open what was told.

use std::sync::Arc;

use super::{
    attempt::{Deadline, Progress},
    session::Session,
    StrongClient,
};
use crate::{
    client::{
        closed,
        watch::{check_buffer, Page, Queue},
        Watch,
    },
    error::{Error, ErrorCode, ErrorKind, Result},
    limits::{CALL_TIMEOUT, PAGE_BYTES_TARGET, PAGE_KEYS_MAX},
    replication::strong::{
        Call, Change, Freshness, GroupWatch, Item, Read, ReadAnswer, ReadCall, ReadKind, Reply, TransactionChanges,
        VersionState, WatchPage,
    },
    rpc::{bytes_of_change, check_watch},
    types::{Key, PageRequest},
};

impl Page for WatchPage {
    fn events(&self) -> usize {
        let changes: usize = self.transactions.iter().map(|transaction| transaction.changes.len()).sum();
        // One that only says how far the changes are takes place, too.
        changes.max(1)
    }

    fn bytes(&self) -> usize {
        self.transactions.iter().flat_map(|transaction| &transaction.changes).map(bytes_of_change).sum()
    }
}

impl StrongClient {
    /// Watches a keyspace, over lost connections, nodes and leaders, until it is cancelled or dropped, or the client is closed. At
    /// most `buffer` changes and one page more wait to be taken. Never blocks.
    ///
    /// With `initial`, what is there comes first, as pages that are `initial`; `since` does not count then. The first page that is
    /// not says where the watch itself begins. To go on with another watch after this one, give the last `until` as `since`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the buffer is none or over [`WATCH_BUFFER_EVENTS_MAX`](crate::limits::WATCH_BUFFER_EVENTS_MAX), and
    /// those of [`check_watch`]; `CLIENT_CLOSED`.
    pub fn watch(&self, watch: GroupWatch, buffer: usize) -> Result<Watch<WatchPage>> {
        check_watch(&watch)?;
        check_buffer(buffer)?;
        let session = self.session.clone();
        if session.is_closed() {
            return Err(closed());
        }
        let runtime = session.runtime().clone();
        Ok(Watch::spawn(buffer, &runtime, closed(), |queue: Arc<Queue<WatchPage>>| async move {
            tokio::select! {
                biased;
                () = session.closed() => closed(),
                error = follow(&session, &queue, watch) => error,
            }
        }))
    }
}

/// Tells everything; returns why it cannot go on.
async fn follow(session: &Session, queue: &Queue<WatchPage>, mut watch: GroupWatch) -> Error {
    if watch.initial {
        if let Err(error) = tell_initial(session, queue, &mut watch).await {
            return error;
        }
    }
    let mut failures = 0;
    loop {
        let (has_told, error) = follow_once(session, queue, &mut watch).await;
        if is_final(&error) {
            return error;
        }
        failures = if has_told { 1 } else { failures + 1 };
        tracing::debug!(%error, failures, "a watch of a strong keyspace begins anew");
        tokio::time::sleep(session.pause(failures)).await;
    }
}

/// Whether every node would say the same.
fn is_final(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidArgument
        | ErrorKind::Unsupported
        | ErrorKind::Conflict
        | ErrorKind::Denied
        | ErrorKind::Closed => true,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Corrupt | ErrorKind::Internal => false,
    }
}

/// Follows one node; returns whether it told anything, and why it ended.
async fn follow_once(session: &Session, queue: &Queue<WatchPage>, watch: &mut GroupWatch) -> (bool, Error) {
    let mut pages = match session.open_watch(watch.clone(), CALL_TIMEOUT).await {
        Ok(pages) => pages,
        Err(error) => return (false, error),
    };
    let mut has_told = false;
    loop {
        match pages.next().await {
            Ok(page) => {
                has_told = true;
                watch.since = Some(page.until);
                session.saw_revision(page.until);
                queue.push(page).await;
            }
            Err(error) => return (has_told, error),
        }
    }
}

/// Tells what is there, as of one revision, after which the watch goes on.
///
/// # Errors
/// `COMPACTED` when that takes longer than the revision is remembered; `UNKNOWN_KEYSPACE` and others that no further try changes.
async fn tell_initial(session: &Session, queue: &Queue<WatchPage>, watch: &mut GroupWatch) -> Result<()> {
    (watch.since, watch.initial) = (None, false);
    let mut range = watch.range.clone();
    loop {
        let page = PageRequest {
            range: range.clone(),
            reverse: false,
            keys_max: PAGE_KEYS_MAX,
            bytes_target: PAGE_BYTES_TARGET,
        };
        let read = Read { space: watch.space, kind: ReadKind::Page { page, keys_only: false } };
        let freshness = watch.since.map_or(Freshness::Linearizable, Freshness::Session);
        let call = ReadCall { keyspace: watch.keyspace.clone(), freshness, at: watch.since, reads: vec![read] };
        let progress = Progress::of(&Call::Read(call.clone()));
        let Reply::Read(reply) = session.read(call, Deadline::after(None), &progress).await? else {
            return Err(Error::new(ErrorCode::Internal, "a read was answered by something else"));
        };
        let (until, elapsed_ms) = (reply.revision, reply.elapsed_ms);
        let Some(ReadAnswer::Page { page, .. }) = reply.answers.into_iter().next() else {
            return Err(Error::new(ErrorCode::Internal, "a page was answered by something else"));
        };
        watch.since = Some(until);
        // The first key after a key is the key with a zero byte.
        range.start = page.items.last().map(|(key, _)| [key, &[0][..]].concat());
        let transactions = page.items.into_iter().map(told_initially).collect();
        queue.push(WatchPage { transactions, until, initial: true, elapsed_ms }).await;
        if !page.more {
            return Ok(());
        }
    }
}

fn told_initially((key, item): (Key, Arc<Item>)) -> TransactionChanges {
    let (revision, time_ms) = (item.modified, item.modified_ms);
    let change = Change { key, state: VersionState::Live(item), previous: None };
    TransactionChanges { revision, time_ms, changes: vec![change] }
}
