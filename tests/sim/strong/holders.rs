//! Clients that take leases and locks: they keep them, lose them, and write under tokens that are not theirs any more.

use std::{rc::Rc, time::Duration};

use kvstore::{
    client::StrongClient,
    error::{ErrorCode, Result},
    replication::strong::{
        Answer, Call, Command, Guard, KeyspaceId, LeaseId, Lifetime, LockName, Place, Reply, Revision, Space,
    },
    types::{Key, Value},
};
use rand::{rngs::StdRng, seq::SliceRandom, Rng, SeedableRng};

use super::{
    truth::TAG,
    workload::{key, now, put, submit, transact, Shared, MAIN},
};
use crate::plan::mix;

pub struct Holder {
    name: String,
    number: i64,
    shared: Rc<Shared>,
    rng: StdRng,
    serial: i64,
}

/// A lease that was granted.
#[derive(Clone, Copy)]
struct Granted {
    lease: LeaseId,
    ttl: Duration,
}

impl Holder {
    pub fn new(name: String, number: i64, shared: Rc<Shared>) -> Holder {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.base.seed, 23, number as u64]));
        Holder { name, number, shared, rng, serial: 0 }
    }

    pub async fn run(mut self) -> turmoil::Result {
        let mut targets = self.shared.addresses();
        targets.shuffle(&mut self.rng);
        let (client, session) = self.shared.connect(targets, self.rng.random());
        while !self.shared.is_over() {
            if self.shared.judge.borrow().truth.lock().keyspaces_named(MAIN).is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let Some(granted) = self.grant(&session).await else { continue };
            match self.rng.random_range(0..10) {
                0..3 => self.hang_keys(&session, granted).await,
                3..8 => self.hold(&session, granted).await,
                _ => self.keep(&session, granted).await,
            }
        }
        client.close();
        self.shared.served.set(self.shared.served.get() + 1);
        Ok(())
    }

    fn value(&mut self) -> i64 {
        self.serial += 1;
        self.number * 1_000_000 + self.serial
    }

    fn tag(&mut self) -> String {
        self.serial += 1;
        format!("{TAG}{}.{}", self.name, self.serial)
    }

    fn timeout(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(500..4000))
    }

    async fn grant(&mut self, session: &StrongClient) -> Option<Granted> {
        let ttl = Duration::from_millis(self.rng.random_range(600..4000));
        let (sent, timeout) = (now(), self.timeout());
        let command = Command::Grant { ttl_ms: ttl.as_millis() as u64 };
        let outcome = session.call(submit("", command), Some(timeout)).await;
        self.shared.judge.borrow_mut().changed(now(), "grant", &outcome);
        match outcome {
            Ok(Reply::Done(Answer::Leased { lease, .. })) => {
                self.shared.judge.borrow_mut().promised(lease, sent + ttl);
                Some(Granted { lease, ttl })
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                None
            }
        }
    }

    /// Keeps a lease alive once; false when it has ended.
    async fn keep_alive(&mut self, session: &StrongClient, granted: Granted) -> bool {
        let sent = now();
        let command = Command::KeepAlive { lease: granted.lease };
        let timeout = self.timeout();
        let outcome = session.call(submit("", command), Some(timeout)).await;
        self.shared.judge.borrow_mut().changed(now(), &format!("keep {}", granted.lease), &outcome);
        match outcome {
            Ok(_) => {
                self.shared.judge.borrow_mut().promised(granted.lease, sent + granted.ttl);
                true
            }
            Err(error) => error.code() != ErrorCode::LeaseLost,
        }
    }

    async fn revoke(&mut self, session: &StrongClient, lease: LeaseId) {
        let timeout = self.timeout();
        let outcome = session.call(submit("", Command::Revoke { lease }), Some(timeout)).await;
        self.shared.judge.borrow_mut().changed(now(), &format!("revoke {lease}"), &outcome);
    }

    async fn write(
        &mut self,
        session: &StrongClient,
        guards: Vec<Guard>,
        name: &str,
        lifetime: Lifetime,
    ) -> Result<Reply> {
        let (tag, number, timeout) = (self.tag(), self.value(), self.timeout());
        let asked = self.shared.ask();
        let call = transact(MAIN, &tag, guards, vec![put(name, number, lifetime)]);
        let outcome = session.call(call, Some(timeout)).await;
        self.shared.judge.borrow_mut().wrote(now(), asked, &tag, &outcome);
        outcome
    }

    /// Keys that last as long as the lease, which is kept alive in time, in the last moment, or too late.
    async fn hang_keys(&mut self, session: &StrongClient, granted: Granted) {
        for _ in 0..self.rng.random_range(1..3) {
            let name = format!("l{}", self.rng.random_range(0..self.shared.plan.keys));
            drop(self.write(session, Vec::new(), &name, Lifetime::Lease(granted.lease)).await);
        }
        for _ in 0..self.rng.random_range(0..4) {
            let pause = granted.ttl.mul_f64([0.3, 0.9, 0.97, 1.0, 1.03][self.rng.random_range(0..5)]);
            tokio::time::sleep(pause).await;
            if self.shared.is_over() || !self.keep_alive(session, granted).await {
                return;
            }
        }
        if self.rng.random_bool(0.4) {
            self.revoke(session, granted.lease).await;
        }
    }

    fn lock(&mut self) -> Key {
        key(&format!("lock{}", self.rng.random_range(0..2)))
    }

    /// Takes a lock and writes under its token, at last perhaps when it is another's.
    async fn hold(&mut self, session: &StrongClient, granted: Granted) {
        let lock = self.lock();
        let Some(token) = self.acquire(session, granted, &lock).await else { return };
        let guard = Guard::Holds { lock: lock.clone(), token };
        for _ in 0..self.rng.random_range(1..4) {
            drop(self.write(session, vec![guard.clone()], "fenced", Lifetime::Forever).await);
            if self.rng.random_bool(0.3) {
                self.proclaim(session, &lock, token).await;
            }
            if self.rng.random_bool(0.5) && !self.keep_alive(session, granted).await {
                break;
            }
        }
        match self.rng.random_range(0..3) {
            0 => {
                let command = Command::Release { lock: name(&lock), lease: granted.lease };
                let timeout = self.timeout();
                let outcome = session.call(submit(MAIN, command), Some(timeout)).await;
                self.shared.judge.borrow_mut().changed(now(), "release", &outcome);
            }
            1 => self.revoke(session, granted.lease).await,
            // It notices nothing of its end.
            _ => tokio::time::sleep(granted.ttl + Duration::from_millis(self.rng.random_range(0..800))).await,
        }
        drop(self.write(session, vec![guard], "fenced", Lifetime::Forever).await);
    }

    async fn acquire(&mut self, session: &StrongClient, granted: Granted, lock: &Key) -> Option<Revision> {
        let tag = self.tag();
        let value = Value::new(tag.as_bytes()).expect("the tag is within its bounds");
        let wait = self.rng.random_bool(0.7);
        let command = Command::Acquire { lock: name(lock), lease: granted.lease, value, wait };
        let (asked, timeout) = (self.shared.ask(), self.timeout());
        let outcome = session.call(submit(MAIN, command), Some(timeout)).await;
        self.shared.judge.borrow_mut().wrote(now(), asked, &tag, &outcome);
        let token = match outcome {
            Ok(Reply::Done(Answer::Held { token })) => token,
            Ok(Reply::Done(Answer::Queued { .. })) => self.await_lock(session, granted, lock).await?,
            _ => return None,
        };
        let place = self.place(lock)?;
        self.shared.judge.borrow_mut().holds(now(), (place, granted.lease), token);
        Some(token)
    }

    async fn await_lock(&mut self, session: &StrongClient, granted: Granted, lock: &Key) -> Option<Revision> {
        for _ in 0..3 {
            let call = Call::AwaitLock {
                keyspace: MAIN.to_string(),
                lock: lock.clone(),
                lease: granted.lease,
                wait_ms: granted.ttl.as_millis() as u64 / 2,
            };
            let timeout = granted.ttl;
            match session.call(call, Some(timeout)).await {
                Ok(Reply::Lock(Some(token))) => {
                    self.shared.judge.borrow_mut().count("locks handed over");
                    return Some(token);
                }
                Err(error) if error.code() == ErrorCode::LockLost => return None,
                _ => {}
            }
            if self.shared.is_over() || !self.keep_alive(session, granted).await {
                return None;
            }
        }
        None
    }

    async fn proclaim(&mut self, session: &StrongClient, lock: &Key, token: Revision) {
        let tag = self.tag();
        let value = Value::new(tag.as_bytes()).expect("the tag is within its bounds");
        let command = Command::Proclaim { lock: name(lock), token, value };
        let (asked, timeout) = (self.shared.ask(), self.timeout());
        let outcome = session.call(submit(MAIN, command), Some(timeout)).await;
        self.shared.judge.borrow_mut().wrote(now(), asked, &tag, &outcome);
    }

    /// Lets the client keep the lease, and asks it what it believes.
    async fn keep(&mut self, session: &StrongClient, granted: Granted) {
        let kept = session.keep(granted.lease, granted.ttl);
        for _ in 0..self.rng.random_range(2..8) {
            tokio::time::sleep(granted.ttl.mul_f64(self.rng.random_range(0.1..0.7))).await;
            if !kept.is_alive() {
                self.shared.judge.borrow_mut().count("kept leases lost");
                return;
            }
            self.shared.judge.borrow_mut().believed(now(), granted.lease);
            if self.shared.is_over() {
                break;
            }
        }
        self.shared.judge.borrow_mut().count("leases kept");
        kept.stop();
    }

    fn place(&self, lock: &Key) -> Option<Place> {
        let judge = self.shared.judge.borrow();
        let keyspace = *judge.truth.lock().keyspaces_named(MAIN).last()?;
        Some(Place { keyspace, space: Space::Locks, key: lock.clone() })
    }
}

fn name(lock: &Key) -> LockName {
    LockName { keyspace: KeyspaceId::default(), name: lock.clone() }
}
