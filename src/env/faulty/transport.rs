//! A network with faults, as one node sees it.

use std::{io, sync::Arc};

use super::{relay::relay, Verdict, View};
use crate::{
    env::{BoxFuture, Connection, Listener, Transport},
    types::Address,
};

pub(super) struct FaultyTransport {
    inner: Arc<dyn Transport>,
    view: View,
}

impl FaultyTransport {
    pub(super) fn new(inner: Arc<dyn Transport>, view: View) -> FaultyTransport {
        FaultyTransport { inner, view }
    }
}

impl Transport for FaultyTransport {
    fn listen<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let inner = self.inner.listen(host, port).await?;
            Ok(Box::new(FaultyListener { inner, view: self.view.clone() }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let mut view = self.view.clone();
            view.resumed().await;
            if let Verdict::Breaks = view.look(Some(to)) {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            let connection = self.inner.connect(to).await?;
            Ok(relay(connection, Some(to.clone()), view))
        })
    }
}

struct FaultyListener {
    inner: Box<dyn Listener>,
    view: View,
}

impl Listener for FaultyListener {
    /// Connections wait where they would for a process that stands still: in the kernel.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>> {
        Box::pin(async move {
            self.view.resumed().await;
            let (connection, from) = self.inner.accept().await?;
            // It may have come in after a pause began.
            self.view.resumed().await;
            Ok((relay(connection, None, self.view.clone()), from))
        })
    }

    fn port(&self) -> u16 {
        self.inner.port()
    }
}
