//! A connection whose first bytes were read already: whoever reads it next begins with those.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Begun<T> {
    first: Bytes,
    inner: T,
}

impl<T> Begun<T> {
    pub(super) fn new(first: &[u8], inner: T) -> Begun<T> {
        Begun { first: Bytes::copy_from_slice(first), inner }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.first.len().min(buf.remaining());
        if length > 0 {
            buf.put_slice(&self.first[..length]);
            self.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_was_read_already_comes_first_whatever_the_reader_takes_at_once() {
        for size in [1, 2, 3, 64] {
            let mut begun = Begun::new(b"abc", &b"defg"[..]);
            let (mut all, mut piece) = (Vec::new(), vec![0; size]);
            loop {
                match begun.read(&mut piece).await.unwrap() {
                    0 => break,
                    length => all.extend_from_slice(&piece[..length]),
                }
            }
            assert_eq!(all, b"abcdefg", "{size} at once");
        }
    }
}
