//! From requests to answers: what arrives together shares an entry of the log, at the leader or on the way to it.
//!
//! A request that may have reached a log and whose answer is lost is sent again only if it has an id, by which the machine knows
//! it. One that was surely not taken in is sent again in any case.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        atomic::{AtomicU8, Ordering},
        Arc, Weak,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, Notify};

use super::{
    core::{stopped, Core, Leadership},
    message::{Message, Reply},
    network::unexpected,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        GROUP_BATCHES_MAX, GROUP_BATCH_BYTES_TARGET, GROUP_BATCH_REQUESTS_MAX, GROUP_HEARTBEAT,
        GROUP_REQUESTS_BYTES_MAX, GROUP_REQUESTS_WAITING_MAX,
    },
    replication::strong::{Answer, Entry, Request},
};

/// Where requests wait.
pub(super) struct Proposals(mpsc::Sender<Waiting>);

/// A request that has no answer yet.
pub(super) struct Waiting {
    request: Request,
    bytes: usize,
    stage: Arc<Stage>,
    /// An earlier try of it may have been taken in.
    is_doubtful: bool,
    done: oneshot::Sender<Result<Answer>>,
}

/// Whether a request has left this node, so that a caller which gives up knows what to say.
#[derive(Default)]
struct Stage(AtomicU8);

impl Stage {
    const HERE: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// It is about to be sent. False: nobody waits for it any more.
    fn send(&self) -> bool {
        self.0.compare_exchange(Stage::HERE, Stage::SENT, Ordering::AcqRel, Ordering::Acquire) != Err(Stage::GIVEN_UP)
    }

    /// It was not taken in after all.
    fn take_back(&self) {
        self.0.store(Stage::HERE, Ordering::Release);
    }

    /// Nobody waits for it any more. True: it was never sent, and will not be.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(Stage::HERE, Stage::GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Why a batch has no answers.
enum Failed {
    /// It was not taken in, and will not be.
    NotTaken,
    /// It may have been.
    Unknown(Error),
    /// It never will be: the requests themselves are at fault.
    Refused(Error),
}

impl Proposals {
    pub(super) fn new() -> (Proposals, mpsc::Receiver<Waiting>) {
        let (sender, inbox) = mpsc::channel(GROUP_REQUESTS_WAITING_MAX);
        (Proposals(sender), inbox)
    }
}

/// A request that was handed in, from the side of whoever waits for its answer.
pub(super) struct Pending {
    stage: Arc<Stage>,
    answer: oneshot::Receiver<Result<Answer>>,
}

impl Core {
    /// Has a request applied by a majority; what the machine answered.
    ///
    /// # Errors
    /// `NO_LEADER`: it was not sent in time, and will not be. `DEADLINE_EXCEEDED`, `CONNECTION_LOST`, `NOT_RUNNING` and others,
    /// when they may have been applied. `OVERLOADED`, `BATCH_TOO_LARGE`.
    pub(super) async fn propose(&self, request: Request, timeout: Duration) -> Result<Answer> {
        let mut pending = self.hand_in(request)?;
        let answer = tokio::time::timeout(timeout, &mut pending.answer).await.ok();
        self.outcome(&pending, answer, timeout)
    }

    /// As [`Core::propose`], for requests that were handed in, in order.
    pub(super) async fn outcomes(&self, pending: Vec<Pending>, timeout: Duration) -> Vec<Result<Answer>> {
        let mut outcomes = Vec::with_capacity(pending.len());
        let mut over = pin!(tokio::time::sleep(timeout));
        for mut pending in pending {
            let answer = tokio::select! {
                biased;
                answer = &mut pending.answer => Some(answer),
                () = &mut over => None,
            };
            outcomes.push(self.outcome(&pending, answer, timeout));
        }
        outcomes
    }

    /// Hands a request in, which goes its way whether anybody waits for its answer or not.
    ///
    /// # Errors
    /// `OVERLOADED`, `BATCH_TOO_LARGE`, `NOT_RUNNING`.
    pub(super) fn hand_in(&self, request: Request) -> Result<Pending> {
        let bytes = request.weight();
        check_weight(bytes)?;
        let (done, answer) = oneshot::channel();
        let stage = Arc::new(Stage::default());
        let waiting = Waiting { request, bytes, stage: stage.clone(), is_doubtful: false, done };
        self.proposals.0.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let text = format!("{GROUP_REQUESTS_WAITING_MAX} requests wait for the group already");
                Error::new(ErrorCode::Overloaded, text)
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        Ok(Pending { stage, answer })
    }

    /// What a caller is told that got this answer, or none in time.
    fn outcome(
        &self,
        pending: &Pending,
        answer: Option<Result<Result<Answer>, oneshot::error::RecvError>>,
        timeout: Duration,
    ) -> Result<Answer> {
        match answer {
            Some(Ok(answer)) => answer,
            Some(Err(_)) if pending.stage.give_up() => Err(stopped()),
            Some(Err(_)) => Err(stopped().maybe_applied()),
            None if pending.stage.give_up() => Err(self.no_leader()),
            None => Err(Error::deadline("the strong group", timeout).maybe_applied()),
        }
    }

    /// Appends requests as one entry, if this member leads a group that is formed.
    async fn append(&self, requests: Vec<Request>) -> Result<Vec<Answer>, Failed> {
        if !self.is_formed() {
            return Err(Failed::NotTaken);
        }
        self.append_entry(requests).await
    }

    /// Appends the first entry of a group. Whether it was applied.
    pub(super) async fn append_decision(&self, requests: Vec<Request>) -> bool {
        self.append_entry(requests).await.is_ok()
    }

    async fn append_entry(&self, requests: Vec<Request>) -> Result<Vec<Answer>, Failed> {
        let before = self.leadership();
        if !before.is_mine || self.silence.is_paused() {
            return Err(Failed::NotTaken);
        }
        let entry = Entry { time_ms: self.leader_time_ms(before.term), requests };
        let answer = self.raft.client_write_ff(Arc::new(entry)).await.map_err(|_| Failed::NotTaken)?;
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(response)) => Ok(response.data),
                // Said also of what was appended and is gone from this member's log since.
                Ok(Err(error)) => Err(Failed::Unknown(lost_leadership(&error.to_string()))),
                Err(_) => Err(Failed::Unknown(stopped())),
            },
            () = self.leadership_other_than(&before) => {
                Err(Failed::Unknown(lost_leadership("another leads")))
            }
        }
    }

    /// Appends an entry without requests. Whether it was applied.
    pub(super) async fn append_nothing(&self) -> bool {
        self.append(Vec::new()).await.is_ok()
    }

    /// As [`Core::append`], for what the leader itself proposes and will propose again if need be.
    pub(super) async fn append_own(&self, requests: Vec<Request>) {
        if let Err(Failed::Unknown(error) | Failed::Refused(error)) = self.append(requests).await {
            tracing::debug!(%error, "what a leader proposed may not be applied");
        }
    }

    /// As [`Core::append`], for requests of another member.
    ///
    /// # Errors
    /// Those of requests that may have been applied; `BATCH_TOO_LARGE`.
    pub(super) async fn append_for_others(&self, requests: Vec<Request>) -> Result<Reply> {
        check_weight(requests.iter().map(Request::weight).sum())?;
        match self.append(requests).await {
            Ok(answers) => Ok(Reply::Answers(answers)),
            Err(Failed::NotTaken) => Ok(Reply::NotLeader(self.leadership().leader)),
            Err(Failed::Unknown(error)) => Err(error.maybe_applied()),
            Err(Failed::Refused(error)) => Err(error),
        }
    }

    async fn forward(&self, requests: Vec<Request>, to: &Leadership) -> Result<Vec<Answer>, Failed> {
        let Some(leader) = &to.leader else { return Err(Failed::NotTaken) };
        let message = Message::Propose { requests };
        let asking = self.network.ask((leader.member, &leader.address), &message, FORWARD_TIMEOUT);
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.leadership_other_than(to) => Err(lost_leadership("another leads")),
        };
        match answer {
            Ok(Reply::Answers(answers)) => Ok(answers),
            Ok(Reply::NotLeader(_)) => Err(Failed::NotTaken),
            Ok(other) => Err(Failed::Unknown(unexpected(&other))),
            Err(error) if error.code() == ErrorCode::Unreachable && !error.is_maybe_applied() => Err(Failed::NotTaken),
            Err(error) if error.code() == ErrorCode::BatchTooLarge => Err(Failed::Refused(error)),
            Err(error) => Err(Failed::Unknown(error)),
        }
    }

    /// Sends a batch until each request has an answer or nobody waits for it any more.
    async fn settle(&self, mut batch: Vec<Waiting>) {
        loop {
            batch.retain(|waiting| waiting.stage.send() && !waiting.done.is_closed());
            if batch.is_empty() {
                return;
            }
            let leadership = self.leadership();
            let requests = batch.iter().map(|waiting| waiting.request.clone()).collect();
            let outcome = match leadership.is_mine {
                true => self.append(requests).await,
                false => self.forward(requests, &leadership).await,
            };
            match outcome {
                Ok(answers) => return answer(batch, answers),
                Err(Failed::NotTaken) => {
                    batch.iter().filter(|waiting| !waiting.is_doubtful).for_each(|waiting| waiting.stage.take_back());
                }
                Err(Failed::Unknown(error)) => batch = fail_those_without_id(batch, &error),
                Err(Failed::Refused(error)) => {
                    return batch.into_iter().for_each(|waiting| waiting.answer(Err(error.clone())));
                }
            }
            // Until the next leader is known, or this one is in a better mood.
            let patience = self.leadership_other_than(&leadership);
            let _over = tokio::time::timeout(GROUP_HEARTBEAT, patience).await;
        }
    }
}

/// Refuses what would not fit into an entry: the log takes no longer one, and a consensus whose log refuses something has ended.
fn check_weight(bytes: usize) -> Result<()> {
    if bytes <= GROUP_REQUESTS_BYTES_MAX {
        return Ok(());
    }
    let text = format!("requests of {bytes} bytes, the limit of an entry of the group is {GROUP_REQUESTS_BYTES_MAX}");
    Err(Error::new(ErrorCode::BatchTooLarge, text))
}

/// Longer than anybody waits; a leader that is gone is noticed by its silence.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

fn lost_leadership(why: &str) -> Error {
    Error::new(ErrorCode::NoLeader, format!("the leader changed while the request was under way: {why}"))
}

impl Waiting {
    fn answer(self, answer: Result<Answer>) {
        // A caller that has given up wants no answer.
        drop(self.done.send(answer));
    }
}

fn answer(batch: Vec<Waiting>, answers: Vec<Answer>) {
    let (count, expected) = (answers.len(), batch.len());
    let mut answers = answers.into_iter();
    for waiting in batch {
        let missing = || {
            let text = format!("the group gave {count} answers to {expected} requests");
            Error::new(ErrorCode::Internal, text).maybe_applied()
        };
        let answer = answers.next().ok_or_else(missing);
        waiting.answer(answer);
    }
}

/// Gives those back that may be sent again.
fn fail_those_without_id(batch: Vec<Waiting>, error: &Error) -> Vec<Waiting> {
    let (mut again, failed): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.request.is_repeatable());
    failed.into_iter().for_each(|waiting| waiting.answer(Err(error.clone().maybe_applied())));
    again.iter_mut().for_each(|waiting| waiting.is_doubtful = true);
    again
}

/// What is under way: batches, and the requests in them.
#[derive(Default)]
struct Flow {
    under_way: Mutex<(usize, usize)>,
    /// A batch is settled.
    settled: Notify,
}

/// A batch that is under way, until this is dropped.
struct Place(Arc<Flow>, usize);

impl Flow {
    /// Whether so many requests are to go now: nothing is under way, or as much waits as is. Small batches cost a sync and a round
    /// each; what waits goes with what is asked when the answers come.
    fn is_due(&self, waiting: usize) -> bool {
        let (batches, requests) = *self.under_way.lock();
        batches == 0 || batches < GROUP_BATCHES_MAX && waiting >= requests
    }

    fn take(self: &Arc<Flow>, requests: usize) -> Place {
        let mut under_way = self.under_way.lock();
        *under_way = (under_way.0 + 1, under_way.1 + requests);
        Place(self.clone(), requests)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock();
        *under_way = (under_way.0 - 1, under_way.1 - self.1);
        drop(under_way);
        self.0.settled.notify_one();
    }
}

/// Forms batches for as long as the member runs.
pub(super) async fn run(core: Weak<Core>, mut inbox: mpsc::Receiver<Waiting>) {
    let (flow, mut left) = (Arc::new(Flow::default()), VecDeque::new());
    loop {
        if left.is_empty() {
            let Some(first) = inbox.recv().await else { return };
            left.push_back(first);
        }
        // Callers that were answered together ask again together: whoever is about to goes with the first of them.
        tokio::task::yield_now().await;
        while left.len() < GROUP_BATCH_REQUESTS_MAX {
            let Ok(next) = inbox.try_recv() else { break };
            left.push_back(next);
        }
        if !flow.is_due(left.len()) {
            tokio::select! {
                () = flow.settled.notified() => {}
                next = inbox.recv(), if left.len() < GROUP_BATCH_REQUESTS_MAX => match next {
                    Some(next) => left.push_back(next),
                    None => return,
                },
            }
            continue;
        }
        let batch = gather(&mut left);
        let Some(core) = core.upgrade() else { return };
        let place = flow.take(batch.len());
        tokio::spawn(send(core, batch, place));
    }
}

async fn send(core: Arc<Core>, batch: Vec<Waiting>, _place: Place) {
    let mut stopping = core.stopping.subscribe();
    tokio::select! {
        () = core.settle(batch) => {}
        // Those who wait see that their sender is gone.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

/// As many as fit into an entry, but one at least.
fn gather(left: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut bytes = 0;
    let fits = |waiting: &&Waiting| {
        let is_first = bytes == 0;
        bytes += waiting.bytes;
        is_first || bytes <= GROUP_BATCH_BYTES_TARGET
    };
    let count = left.iter().take(GROUP_BATCH_REQUESTS_MAX).take_while(fits).count();
    left.drain(..count).collect()
}
