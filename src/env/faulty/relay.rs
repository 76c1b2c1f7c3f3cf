//! A connection on which everything goes through a task that keeps to the rules.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{lane::Lane, Verdict, View};
use crate::{env::Connection, types::Address};

/// Bytes between the node and the task, in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Bytes that arrive, or are lost, as one piece.
const PIECE_BYTES: usize = 16 * 1024;

/// The end for the node of a connection that was opened `to` an address, or accepted.
pub(super) fn relay(outside: Box<dyn Connection>, to: Option<Address>, view: View) -> Box<dyn Connection> {
    let (node, inside) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(async move {
        let (inside_read, inside_write) = tokio::io::split(inside);
        let (outside_read, outside_write) = tokio::io::split(outside);
        let out = carry(inside_read, outside_write, to.as_ref(), view.clone());
        let back = carry(outside_read, inside_write, to.as_ref(), view);
        // When one direction breaks, so does the other.
        if let Err(error) = tokio::try_join!(out, back) {
            tracing::trace!(%error, "a connection ended");
        }
    });
    Box::new(node)
}

/// Carries bytes in one direction until their end, and the end too. Nothing is read or written without a look at the rules:
/// what is said after they were changed is under the new ones.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    address: Option<&Address>,
    mut view: View,
) -> io::Result<()> {
    let (mut lane, mut piece) = (Lane::default(), vec![0; PIECE_BYTES]);
    loop {
        let slowness = match view.look(address) {
            Verdict::Goes(slowness) => slowness,
            Verdict::Breaks => return Err(io::ErrorKind::ConnectionReset.into()),
            Verdict::Waits => {
                view.changed().await;
                continue;
            }
        };
        let arrives = lane.next().map(|arrives| if slowness.is_none() { Instant::now() } else { arrives });
        let has_arrived = arrives.is_some_and(|arrives| arrives <= Instant::now());
        if has_arrived && lane.first().is_empty() {
            return to.shutdown().await;
        }
        tokio::select! {
            biased;
            () = view.changed() => {}
            written = to.write(lane.first()), if has_arrived => lane.take(nonzero(written?)?),
            () = tokio::time::sleep_until(arrives.unwrap_or_else(Instant::now)), if arrives.is_some() && !has_arrived => {}
            read = from.read(&mut piece), if lane.is_open() => lane.push(&piece[..read?], view.draw(slowness)),
        }
    }
}

fn nonzero(written: usize) -> io::Result<usize> {
    match written {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}
