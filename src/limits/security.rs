//! The bounds of what nodes and clients know each other by.

use std::time::Duration;

/// How long a connection may take until both sides know each other by TLS; its place is for somebody else afterwards. Shorter
/// parts nodes that are far away and busy, longer leaves more places to who only holds them.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the token of a cluster. It is in the headers of each request, which have [`HEADER_LIST_BYTES_MAX`](super::HEADER_LIST_BYTES_MAX).
pub const TOKEN_BYTES_MAX: usize = 1024;

/// Bytes of a PEM file. The authorities of a whole system are 250 kB.
pub const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;
