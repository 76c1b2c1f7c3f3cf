//! The bounds of what browsers, and machines that watch a node, may ask of it over plain HTTP. They are apart from those of gRPC: what
//! comes this way must not take the room of clients and peers.

use std::time::Duration;

/// HTTP/1.1 connections at the same time; further ones are told to come back. A browser opens six, a scraper one. Each takes one of
/// [`CONNECTIONS_MAX`](super::CONNECTIONS_MAX), too: more than a small part of those would be missed by clients.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Plain requests that are worked on at the same time, over HTTP/1.1 and HTTP/2 together; further ones are told to come back. A
/// larger one lets pages of keys take the time of the threads that serve clients.
pub const HTTP_REQUESTS_MAX: usize = 32;

/// How long a connection may take until the whole head of its next request has come, an idle one included. A shorter one has a
/// scraper connect anew each time, a longer one leaves the places to those who only hold them ("slowloris").
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an HTTP/1.1 connection may take nothing of what it asked for. A reader that is slower only holds its place.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of the head of an HTTP/1.1 request. A token has [`TOKEN_BYTES_MAX`](super::TOKEN_BYTES_MAX), and a key in a path three bytes
/// for each of its own ([`KEY_BYTES_MAX`](super::KEY_BYTES_MAX)).
pub const HTTP_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Header lines of an HTTP/1.1 request. A browser sends about twenty.
pub const HTTP_HEADERS_MAX: usize = 64;

/// How long the strong group may take to answer what is asked over plain HTTP. A longer one keeps the few places for requests.
pub const HTTP_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Keys on a page when nobody says how many; the most is [`PAGE_KEYS_MAX`](super::PAGE_KEYS_MAX).
pub const HTTP_KEYS: usize = 100;

/// Keys that are read at once while a page is folded: those behind the first of a folder were read in vain.
pub const HTTP_FOLD_KEYS: usize = 16;

/// Bytes of a value that are shown; the rest is cut. A browser that shows a mebibyte is slow, and most want to see the beginning.
pub const HTTP_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Conflicts that are told; there is no second page.
pub const HTTP_CONFLICTS_MAX: usize = 1000;

/// Live streams at the same time. Each has a place of its own for as long as it lasts, and a watch if it wants events.
pub const HTTP_LIVE_MAX: usize = 16;

/// Messages of a live stream that wait to be sent. More only make what a slow reader sees older.
pub const HTTP_LIVE_QUEUE: usize = 16;

/// How long a live stream waits for a reader that is behind; then it is cut. Shorter ones cut who only had a slow moment.
pub const HTTP_LIVE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a live stream tells how the node is.
pub const HTTP_LIVE_INTERVAL: Duration = Duration::from_secs(1);
