//! `SET` in Redis' protocol (RESP). Writers that share a connection send one after another without waiting, as a
//! multiplexing client does.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{tcp::OwnedReadHalf, tcp::OwnedWriteHalf, TcpStream},
    sync::{oneshot, Notify},
};

use super::{key, Failure, VALUE};

const OK: &[u8] = b"+OK\r\n";

/// Puts that are sent before their answers are read, when a server is filled.
const FILLED_AT_ONCE: u64 = 1000;

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// Guards what is to be sent, and who waits for the answers, in order.
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl Redis {
    /// Connects. The connection ends with the runtime.
    pub(super) async fn connect(address: &str) -> Result<Redis, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new() });
        tokio::spawn(send(shared.clone(), writer));
        tokio::spawn(receive(shared.clone(), reader));
        Ok(Redis { shared })
    }

    /// Puts a value.
    pub(super) async fn put(&self, key: &str) -> Result<(), Failure> {
        let (sender, answered) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            push_set(&mut queue.bytes, key);
            queue.waiting.push_back(sender);
        }
        self.shared.wake.notify_one();
        answered.await.map_err(|_| "the connection to Redis ended, or it refused a put".into())
    }
}

fn push_set(bytes: &mut Vec<u8>, key: &str) {
    bytes.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(format!("\r\n${}\r\n", VALUE.len()).as_bytes());
    bytes.extend_from_slice(&VALUE);
    bytes.extend_from_slice(b"\r\n");
}

async fn send(shared: Arc<Shared>, mut writer: OwnedWriteHalf) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        shared.wake.notified().await;
        std::mem::swap(&mut bytes, &mut shared.queue.lock().bytes);
        writer.write_all(&bytes).await?;
        bytes.clear();
    }
}

/// Ends at the first answer that is not `OK`; then nobody gets one any more.
async fn receive(shared: Arc<Shared>, reader: OwnedReadHalf) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut answer = [0; OK.len()];
    while reader.read_exact(&mut answer).await.is_ok() && answer == OK {
        let sender = shared.queue.lock().waiting.pop_front();
        if sender.is_none_or(|sender| sender.send(()).is_err()) {
            // Nobody waits for it: the run is over.
            break;
        }
    }
    shared.queue.lock().waiting.clear();
    Ok(())
}

/// Puts so many keys, many at a time.
pub(super) async fn fill(address: &str, keys: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    for first in (1..=keys).step_by(FILLED_AT_ONCE as usize) {
        let last = keys.min(first + FILLED_AT_ONCE - 1);
        let mut bytes = Vec::new();
        (first..=last).for_each(|number| push_set(&mut bytes, &key(number)));
        stream.write_all(&bytes).await?;
        let mut answers = vec![0; OK.len() * (last - first + 1) as usize];
        stream.read_exact(&mut answers).await?;
        if answers.chunks(OK.len()).any(|answer| answer != OK) {
            return Err("Redis refused a put".into());
        }
    }
    Ok(())
}
