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
