//! Strong keyspaces on the wire: what a client may ask of a group, as messages and out of them, and who serves and who
//! makes the calls.
//!
//! * [`StrongBackend`] is whatever answers a [`Call`] in one try: a group, a node far away, a fake.
//! * `StrongService` serves a backend, [`StrongRpc`] calls one over a [`Channel`](super::Channel).
//! * The conversions go both ways; decoding checks every bound and names the bad field. An answer is decoded beside its
//!   call, because it does not repeat what was asked. What a message does not carry reads as nothing: a lease has
//!   generation 0, a keyspace that was made has id 0, and the deadlines of items count from the moment of the answer.
//! * [`check_call`] and [`check_watch`] check what did not come over the wire.

mod answers;
mod batch;
mod changes;
mod check;
mod client;
mod leader;
mod questions;
mod reads;
mod service;
mod submissions;
mod transactions;
mod watch;

use std::time::Duration;

pub use changes::bytes_of_change;
pub use check::{bytes_of_call, check_call, check_watch};
pub use client::StrongRpc;
pub use leader::Leader;
pub(super) use service::StrongService;
pub use watch::RpcPages;

use futures_util::future::join_all;

use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    replication::strong::{Call, Group, GroupWatch, GroupWatcher, Reply, WatchPage},
    types::{Key, NodeId, Value},
    wire::{v1, ConvertError},
};

/// Answers the calls of clients.
pub trait StrongBackend: Send + Sync + 'static {
    /// One try, which takes about as long as it is given at most. An error says whether a change may have happened all the
    /// same.
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>>;

    /// One try of each of several calls that came together; the outcomes in order. Without a way of its own to do that a backend
    /// has [`call_each`].
    fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> BoxFuture<'_, Vec<Result<Reply>>>;

    /// The node that leads, if that is known here.
    fn leader(&self) -> Option<NodeId>;

    /// Begins to watch, within about the time that it is given. The first page comes at once and says where the watch
    /// begins.
    fn watch(&self, watch: GroupWatch, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>>;
}

/// Makes calls at the same time, as if each had come alone.
pub fn call_each(
    backend: &dyn StrongBackend,
    calls: Vec<Call>,
    timeout: Duration,
) -> BoxFuture<'_, Vec<Result<Reply>>> {
    Box::pin(join_all(calls.into_iter().map(move |call| backend.call(call, timeout))))
}

/// What a watch tells, page by page.
pub trait StrongPages: Send {
    /// The next page. A watch that has failed is not asked again.
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>>;
}

impl StrongBackend for Group {
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(Group::call(self, call, timeout))
    }

    fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> BoxFuture<'_, Vec<Result<Reply>>> {
        Box::pin(Group::call_many(self, calls, timeout))
    }

    fn leader(&self) -> Option<NodeId> {
        Group::leader(self)
    }

    fn watch(&self, watch: GroupWatch, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>> {
        Box::pin(async move {
            let watcher = Group::watch(self, watch, timeout).await?;
            Ok(Box::new(watcher) as Box<dyn StrongPages>)
        })
    }
}

impl StrongPages for GroupWatcher {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>> {
        Box::pin(GroupWatcher::next(self))
    }
}

/// A message that breaks a rule of the protocol.
fn bad(field: &'static str, why: impl Into<String>) -> Error {
    ConvertError { field, why: why.into() }.into()
}

/// A field that must be there, and of a kind that this version knows.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| bad(field, "is absent or of a kind this version does not know"))
}

/// An answer that does not answer what was asked.
fn other_answer<T>() -> Result<T> {
    Err(bad("answer", "is not the answer to what was asked"))
}

/// A bug of whoever answers a call: the reply is to another one.
fn other_reply<T>(reply: &Reply) -> Result<T> {
    Err(Error::new(ErrorCode::Internal, format!("a call was answered by something else: {reply:?}")))
}

/// Says in which field an error is.
fn within(field: impl std::fmt::Display) -> impl Fn(Error) -> Error {
    move |error| Error::new(error.code(), format!("{field}.{}", error.message()))
}

fn key(field: &'static str, bytes: &[u8]) -> Result<Key> {
    Key::new(bytes).map_err(within(field))
}

fn value(field: &'static str, bytes: &[u8]) -> Result<Value> {
    Value::new(bytes).map_err(within(field))
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
