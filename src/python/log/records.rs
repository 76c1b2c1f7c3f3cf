//! What of the reports goes to which logger of Python, and as what.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU8, Ordering},
};

use tracing::{
    field::{Field, Visit},
    level_filters::LevelFilter,
    Event, Level, Metadata, Subscriber,
};
use tracing_subscriber::layer::{Context, Filter, Layer};

use super::{
    cut,
    queue::{Queue, Record},
};
use crate::env::{Clock, Speaker, SystemClock};

/// Where an event comes from, and the last word of its logger. The first that fits counts.
const PARTS: [(&str, &str); 7] = [
    ("kvstore::replication::strong", "raft"),
    ("kvstore::replication", "replication"),
    ("kvstore::cluster", "cluster"),
    ("kvstore::storage", "storage"),
    ("kvstore::rpc", "rpc"),
    ("kvstore::node", "node"),
    ("kvstore::client", "client"),
];

/// What each part tells at least, as `logging` counts: higher numbers are worse.
static LEVELS: [AtomicU8; PARTS.len()] = [const { AtomicU8::new(u8::MAX) }; PARTS.len()];

/// The last words of the loggers.
pub(super) fn parts() -> Vec<&'static str> {
    PARTS.iter().map(|(_, part)| *part).collect()
}

/// From now on each part tells what is at least so bad. True when that is a change.
pub(super) fn set_levels(levels: &[u8]) -> bool {
    let changes = LEVELS.iter().zip(levels).map(|(old, new)| old.swap(*new, Ordering::Relaxed) != *new);
    changes.filter(|is_change| *is_change).count() > 0
}

/// As `logging` counts.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

fn part_of(target: &str) -> Option<usize> {
    PARTS.iter().position(|(prefix, _)| target.starts_with(prefix))
}

/// Lets through what the loggers want.
pub(super) struct Wanted;

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let part = part_of(metadata.target());
        part.is_some_and(|part| number(*metadata.level()) >= LEVELS[part].load(Ordering::Relaxed))
    }

    /// Nothing is made of what nobody wants.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        let loudest = LEVELS.iter().map(|level| level.load(Ordering::Relaxed)).min().unwrap_or(u8::MAX);
        let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let level = levels.into_iter().find(|level| number(*level) >= loudest);
        Some(level.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }
}

/// Puts events into the queue of this process.
pub(super) struct Records;

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(queue) = Queue::of_process() else { return };
        let metadata = event.metadata();
        let Some(part) = part_of(metadata.target()) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { mut message, others, node, peer, term } = fields;
        message.push_str(&others);
        let speaker = Speaker::of_thread().map(|name| name.to_string());
        // A node that tells of another names that one.
        let (node, other) = match speaker {
            Some(speaker) => {
                let other = node.filter(|node| *node != speaker);
                (Some(speaker), other)
            }
            None => (node, None),
        };
        queue.push(Record {
            level: number(*metadata.level()),
            part: PARTS[part].1,
            message: cut(&message).to_string(),
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            time_ms: SystemClock::new().wall_ms(),
            // Never itself.
            peer: peer.filter(|peer| node.as_ref() != Some(peer)).or(other),
            node,
            term,
        });
    }
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    /// ` name=value` for each field.
    others: String,
    node: Option<String>,
    peer: Option<String>,
    term: Option<u64>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "term" {
            self.term = Some(value);
        }
        self.record_debug(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

impl Fields {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let text = value.to_string();
        match field.name() {
            "message" => self.message = text,
            name => {
                // Writing into memory does not fail.
                let _ = write!(self.others, " {name}={text}");
                match name {
                    "node" => self.node = Some(text),
                    "peer" | "member" | "target" => self.peer = Some(text),
                    _ => {}
                }
            }
        }
    }
}
