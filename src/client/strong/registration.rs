//! The id of a session, and the numbers of its requests.
//!
//! The group remembers the last [`CLIENT_ANSWERS_MAX`] answers of a client. So that a retry always finds its answer, the
//! numbers of the requests under way never span more than that.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::{
    limits::{CLIENT_ANSWERS_MAX, STRONG_UNDER_WAY_MAX},
    replication::strong::{ClientId, RequestId},
};

/// One registration with the group, from before it is made until the group has forgotten it.
pub(super) struct Registration {
    /// Set once by whoever registers first; the others wait.
    pub(super) client: OnceCell<ClientId>,
    places: Arc<Semaphore>,
    numbers: Mutex<Numbers>,
    /// A request is no longer under way.
    released: Notify,
}

struct Numbers {
    next: u64,
    under_way: BTreeSet<u64>,
}

impl Numbers {
    /// The next number; `None` while the oldest request under way is too far behind it.
    fn take(&mut self) -> Option<u64> {
        let number = self.next;
        let oldest = self.under_way.first().copied().unwrap_or(number);
        if number - oldest >= CLIENT_ANSWERS_MAX {
            return None;
        }
        self.next += 1;
        self.under_way.insert(number);
        Some(number)
    }
}

impl Registration {
    pub(super) fn new() -> Registration {
        Registration {
            client: OnceCell::new(),
            places: Arc::new(Semaphore::new(STRONG_UNDER_WAY_MAX)),
            numbers: Mutex::new(Numbers { next: 1, under_way: BTreeSet::new() }),
            released: Notify::new(),
        }
    }

    /// As [`Registration::place`], if there is one without waiting. Whoever waits already is served first.
    pub(super) fn free_place(self: Arc<Registration>, client: ClientId) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        let number = self.numbers.lock().take()?;
        Some(Place { id: RequestId { client, number }, registration: self, _permit: permit })
    }

    /// A number for one request of `client`, which is this registration's. Waits while too many are under way; those who wait
    /// are served in turn.
    pub(super) async fn place(self: Arc<Registration>, client: ClientId) -> Place {
        let permit = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // From here on no release is missed.
            released.as_mut().enable();
            let number = self.numbers.lock().take();
            match number {
                Some(number) => {
                    let id = RequestId { client, number };
                    return Place { registration: self.clone(), id, _permit: permit };
                }
                None => released.await,
            }
        }
    }
}

/// A request under way. Dropped when it is over.
pub(super) struct Place {
    pub(super) registration: Arc<Registration>,
    pub(super) id: RequestId,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registration.numbers.lock().under_way.remove(&self.id.number);
        self.registration.released.notify_waiters();
    }
}
