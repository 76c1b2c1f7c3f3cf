//! The last answers of each client, so that a retry is answered and not applied again (Ongaro, "Consensus: Bridging Theory
//! and Practice", 2014, section 6.3).
//!
//! A client registers with the group first and gets an id that nobody had before. Its answers are kept, the last
//! [`client_answers`](Bounds::client_answers) of them; a request below those, or of a client that is forgotten, is refused,
//! because nothing tells whether it was applied. So forgetting never makes a request happen twice.

use imbl::OrdMap;

use super::{
    answer::{Answer, Refusal},
    bounds::Bounds,
    ids::{ClientId, RequestId},
};
use crate::faults;

/// What a client costs without its answers.
const CLIENT_BYTES: u64 = 128;

/// Whose turn it is to be forgotten is known to a part of this of all clients: a busy one need not be moved with each request.
const RECENCY_STEPS: u64 = 16;

/// What is kept for a client. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// By request number.
    pub(super) answers: OrdMap<u64, Answer>,
    /// No answer up to this request is kept any more.
    pub(super) floor: u64,
    /// When it last asked, or some requests before that, in the count of all requests ([`RECENCY_STEPS`]).
    pub(super) active: u64,
    bytes: u64,
}

/// All clients. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clients {
    /// The last id that was given.
    pub(super) last_id: u64,
    /// Counts registrations and requests of clients.
    pub(super) requests: u64,
    sessions: OrdMap<ClientId, Session>,
    /// Which client asked when: of the first ones, one was silent for longest.
    recency: OrdMap<u64, ClientId>,
    bytes: u64,
}

/// What is known of a request.
pub(super) enum Known {
    /// It has to be applied.
    New,
    /// It was applied.
    Answered(Answer),
    /// Nobody knows.
    Refused(Refusal),
}

impl Clients {
    pub(super) fn register(&mut self, bounds: &Bounds) -> ClientId {
        self.last_id += 1;
        let id = ClientId(self.last_id);
        self.requests += 1;
        self.restore(id, Session { active: self.requests, bytes: CLIENT_BYTES, ..Session::default() });
        self.forget(id, bounds);
        id
    }

    pub(super) fn recall(&self, id: RequestId) -> Known {
        let Some(session) = self.sessions.get(&id.client) else {
            return Known::Refused(Refusal::UnknownClient { client: id.client });
        };
        if faults::is_mutant("strong_retry_not_deduplicated") {
            return Known::New;
        }
        match session.answers.get(&id.number) {
            Some(answer) => Known::Answered(answer.clone()),
            None if id.number <= session.floor => Known::Refused(Refusal::AnswerForgotten { floor: session.floor }),
            None => Known::New,
        }
    }

    /// Keeps the answer to a request of a client that is known.
    pub(super) fn keep(&mut self, id: RequestId, answer: &Answer, bounds: &Bounds) {
        let Some(session) = self.sessions.get_mut(&id.client) else { return };
        self.requests += 1;
        let before = session.bytes;
        session.push(id.number, answer.clone());
        while session.answers.len() as u64 > bounds.client_answers {
            session.pop();
        }
        self.bytes = self.bytes - before + session.bytes;
        if self.requests - session.active > bounds.clients / RECENCY_STEPS {
            self.recency.remove(&std::mem::replace(&mut session.active, self.requests));
            self.recency.insert(self.requests, id.client);
        }
        self.forget(id.client, bounds);
    }

    /// Forgets the clients that were silent for longest, but never the one that asks.
    fn forget(&mut self, asking: ClientId, bounds: &Bounds) {
        let is_over =
            |clients: &Clients| clients.sessions.len() as u64 > bounds.clients || clients.bytes > bounds.answers_bytes;
        while is_over(self) {
            let mut oldest = self.recency.iter().map(|(_, client)| *client).filter(|client| *client != asking);
            match oldest.next() {
                Some(client) => drop(self.take(client)),
                None => break,
            }
        }
    }

    fn take(&mut self, client: ClientId) -> Option<Session> {
        let session = self.sessions.remove(&client)?;
        self.recency.remove(&session.active);
        self.bytes -= session.bytes;
        Some(session)
    }

    fn restore(&mut self, client: ClientId, session: Session) {
        self.bytes += session.bytes;
        self.recency.insert(session.active, client);
        self.sessions.insert(client, session);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, &Session)> {
        self.sessions.iter().map(|(client, session)| (*client, session))
    }

    /// A client from a snapshot, its answers yet to come. `false`: another one asked at the same moment.
    pub(super) fn restore_client(&mut self, client: ClientId, floor: u64, active: u64) -> bool {
        if self.recency.contains_key(&active) {
            return false;
        }
        self.restore(client, Session { floor, active, bytes: CLIENT_BYTES, ..Session::default() });
        true
    }

    /// An answer from a snapshot. `false`: there is no such client, or it has forgotten that answer.
    pub(super) fn restore_answer(&mut self, client: ClientId, number: u64, answer: Answer) -> bool {
        match self.take(client) {
            Some(mut session) => {
                let is_kept = number > session.floor;
                session.push(number, answer);
                self.restore(client, session);
                is_kept
            }
            None => false,
        }
    }
}

impl Session {
    fn push(&mut self, number: u64, answer: Answer) {
        self.bytes += answer.weight();
        self.answers.insert(number, answer);
    }

    fn pop(&mut self) {
        let Some(number) = self.answers.get_min().map(|(number, _)| *number) else { return };
        let Some(answer) = self.answers.remove(&number) else { return };
        self.bytes -= answer.weight();
        self.floor = self.floor.max(number);
    }
}
