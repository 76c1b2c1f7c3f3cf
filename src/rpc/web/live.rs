//! `/api/v1/live`: a stream of events (Server-Sent Events, WHATWG HTML, 9.2) that goes on until either side ends it. Once a second it
//! tells how the node is, and at once what happens to the keys under a prefix, if one is wanted. Values are not in it.
//!
//! What is to be sent waits in a short queue. A reader that leaves it full for long is cut: nothing is dropped in silence.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::future::{pending, Either};
use http::{header::CONTENT_TYPE, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{json, Value};
use tokio::{
    sync::{mpsc, OwnedSemaphorePermit},
    time::{interval, MissedTickBehavior},
};
use tokio_stream::{wrappers::ReceiverStream, StreamExt};
use tonic::body::Body;

use super::{
    data::Keyspace,
    json,
    query::Query,
    reply::{sentence_with, Reply},
    Web,
};
use crate::{
    error::Result,
    limits::{HTTP_CALL_TIMEOUT, HTTP_LIVE_INTERVAL, HTTP_LIVE_MAX, HTTP_LIVE_PATIENCE, HTTP_LIVE_QUEUE},
    replication::{
        eventual::Watcher,
        strong::{self, GroupWatch, VersionState},
    },
    rpc::{
        host::Host,
        phase::{Phase, PhaseWatch},
        strong::StrongPages,
    },
    types::{KeyRange, WatchFilter, WatchRequest, WatchStart},
};

/// Where events come from.
enum Source {
    /// None are wanted.
    Nowhere,
    Eventual(Box<Watcher>),
    Strong(Box<dyn StrongPages>),
}

/// A stream at work. Has its place until it ends.
struct Live {
    host: Arc<dyn Host>,
    source: Source,
    queue: mpsc::Sender<Bytes>,
    phase: PhaseWatch,
    _place: OwnedSemaphorePermit,
}

/// Begins a stream.
///
/// # Errors
/// Those of the keyspace, and of watching it.
pub(super) async fn begin(web: &Web, host: &Arc<dyn Host>, query: &Query) -> Result<Reply> {
    let Ok(place) = web.streams.clone().try_acquire_owned() else {
        let text = format!("{HTTP_LIVE_MAX} live streams are open; try again");
        return Ok(sentence_with(StatusCode::SERVICE_UNAVAILABLE, &text, (http::header::RETRY_AFTER, "10")));
    };
    let source = match query.bytes("prefix") {
        None => Source::Nowhere,
        Some(prefix) => watch(Keyspace::find(host, query.text("keyspace")?).await?, prefix).await?,
    };
    let (queue, waiting) = mpsc::channel(HTTP_LIVE_QUEUE);
    let live = Live { host: host.clone(), source, queue, phase: web.phase.clone(), _place: place };
    tokio::spawn(live.run());
    let frames = ReceiverStream::new(waiting).map(|message| Ok::<_, Infallible>(Frame::data(message)));
    let mut reply = Response::new(Body::new(StreamBody::new(frames)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(reply)
}

async fn watch(keyspace: Keyspace, prefix: &[u8]) -> Result<Source> {
    match keyspace {
        Keyspace::Eventual(host, space) => {
            let request = WatchRequest { filter: WatchFilter::Prefix(prefix.to_vec()), start: WatchStart::Now };
            Ok(Source::Eventual(Box::new(Watcher::new_in(host.keyspace().clone(), space, request)?)))
        }
        Keyspace::Strong(backend, keyspace) => {
            let (space, range) = (strong::Space::Data, KeyRange::prefix(prefix));
            let watch = GroupWatch { keyspace, space, range, since: None, initial: false };
            Ok(Source::Strong(backend.watch(watch, HTTP_CALL_TIMEOUT).await?))
        }
    }
}

impl Source {
    /// What happened next. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Vec<Value>> {
        match self {
            Source::Nowhere => pending().await,
            Source::Eventual(watcher) => {
                let page = watcher.next().await?;
                Ok(page.events.iter().map(|event| json::change(&event.change)).collect())
            }
            Source::Strong(pages) => {
                let page = pages.next().await?;
                let changes = page.transactions.iter().flat_map(|transaction| {
                    let revision = transaction.revision.0;
                    transaction.changes.iter().map(move |change| match &change.state {
                        VersionState::Live(item) => {
                            json::event("put", &change.key, revision, Some((item.value.len(), item.flags)))
                        }
                        VersionState::Deleted => json::event("delete", &change.key, revision, None),
                        VersionState::Expired => json::event("expire", &change.key, revision, None),
                    })
                });
                Ok(changes.collect())
            }
        }
    }
}

impl Live {
    /// Sends until the reader is gone or too slow, the node is stopped, or the watch fails, which is told.
    async fn run(self) {
        let Live { host, mut source, queue, phase, _place } = self;
        let mut ticks = interval(HTTP_LIVE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leaving = phase.reached(Phase::Leaving);
        tokio::pin!(leaving);
        loop {
            let happened = tokio::select! {
                () = &mut leaving => return,
                () = queue.closed() => return,
                _ = ticks.tick() => Either::Left(()),
                events = source.next() => Either::Right(events),
            };
            let message = match happened {
                Either::Left(()) => message("status", &json::status(&host.status(false))),
                Either::Right(Ok(events)) if events.is_empty() => continue,
                Either::Right(Ok(events)) => message("changes", &json!(events)),
                Either::Right(Err(error)) => {
                    // The last one: whoever is gone or slow does not hear it.
                    drop(queue.try_send(message("error", &json::error(&error))));
                    return;
                }
            };
            match queue.send_timeout(message, HTTP_LIVE_PATIENCE).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, "a live stream was cut");
                    return;
                }
            }
        }
    }
}

/// One event of the stream. JSON has no line breaks of its own, so it is one line.
fn message(name: &str, told: &Value) -> Bytes {
    format!("event: {name}\ndata: {told}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_ends_a_message_or_begins_another() {
        let hostile = json::event("put", b"a\n\nevent: error\r\ndata: x\r\x00\xe2\x80\xa8", 1, Some((3, 0)));
        let sent = message("changes", &json!([hostile]));
        let text = std::str::from_utf8(&sent).unwrap();
        assert_eq!(text.matches('\n').count(), 3, "{text}");
        assert!(text.ends_with("\n\n") && !text.contains('\r'), "{text}");
    }
}
