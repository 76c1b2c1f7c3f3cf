//! Looks after the node that calls go to: whether it still answers, and whether another one is clearly nearer.
//!
//! A node that is stuck, or whose machine is cut off, says nothing, and the connection with it stands. While answers are owed and
//! none comes for a time, the node is asked on the side whether it is there, which takes no more than a working process. One
//! that says nothing to that either is left, but only if another node does answer: else it may well be us. What was sent there
//! is then lost as with any connection: reads are asked again, writes may have been applied.
//!
//! Once in a while the distance to another node is measured beside that to home, as the shortest of a few round trips, which
//! the load of a machine does not change much. A client moves only when the other one is clearly nearer, twice in a row, and
//! when everything on the way was answered; so no call notices, and calls stay in their order.
//!
//! A client that makes no calls does none of this, and sends nothing for it.

use std::{pin::pin, time::Duration};

use super::{
    calls::Progress,
    endpoints::draw,
    shared::{silent, Shared},
};
use crate::{
    error::Result,
    limits::{
        CLIENT_CONNECT_TIMEOUT, CLIENT_DISTANCE_SAMPLES, CLIENT_LOOK_FIRST, CLIENT_LOOK_INTERVAL, CLIENT_SILENCE,
    },
    rpc::{cluster_view, Channel},
    types::Address,
};

/// Other nodes that are asked whether they are there, before a silent one is left.
const WITNESSES_MAX: usize = 3;

/// Keeps the lookout until it is dropped.
pub(super) async fn keep_lookout(shared: &Shared) {
    let look = tokio::sync::Notify::new();
    let silence = async {
        let mut next_look = None;
        loop {
            shared.busy.notified().await;
            watch_for_silence(shared, &look, &mut next_look).await;
        }
    };
    let looking = async {
        loop {
            look.notified().await;
            look_around(shared).await;
        }
    };
    tokio::join!(silence, looking);
}

/// Looks whether answers come, until no calls come. Says when it is time to look around.
async fn watch_for_silence(shared: &Shared, look: &tokio::sync::Notify, next_look: &mut Option<Duration>) {
    let mut before = shared.progress();
    loop {
        tokio::time::sleep(CLIENT_SILENCE).await;
        if before.is_stuck(&shared.progress()) {
            handle_silence(shared, &before).await;
        }
        let now = shared.now();
        let due = *next_look.get_or_insert_with(|| now.saturating_add(jittered(shared, CLIENT_LOOK_FIRST)));
        if due <= now {
            *next_look = Some(now.saturating_add(jittered(shared, CLIENT_LOOK_INTERVAL)));
            look.notify_one();
        }
        if shared.is_idle_since(&before) {
            return;
        }
        before = shared.progress();
    }
}

/// Between half as long and half as long again, so that many clients do not look at once.
fn jittered(shared: &Shared, middle: Duration) -> Duration {
    middle / 2 + middle * (draw(&shared.env) % 1024) as u32 / 1024
}

/// Leaves a node that owes answers, if it says nothing at all and another one is there.
async fn handle_silence(shared: &Shared, silent: &Progress) {
    let Some((target, channel)) = shared.contact() else { return };
    // Any answer will do, also one that says that it does not understand.
    let mut asking = pin!(cluster_view(channel));
    if tokio::time::timeout(CLIENT_SILENCE, &mut asking).await.is_ok() {
        return;
    }
    // It may still answer before the others do, of whom more is asked: on a machine that is too busy all are slow.
    let is_left = tokio::select! {
        biased;
        _answer = asking => false,
        is_seen = is_another_there(shared, &target) => is_seen,
    };
    if is_left {
        tracing::debug!(%target, "a node is silent and is left");
        shared.abandon(silent, "it does not answer");
    }
}

/// Whether another node answers.
async fn is_another_there(shared: &Shared, silent: &Address) -> bool {
    let mut tried = [silent.clone()].into();
    for _ in 0..WITNESSES_MAX.min(shared.count_nodes().saturating_sub(1)) {
        let other = shared.directory.lock().pick(shared.now(), draw(&shared.env), &tried);
        if tried.insert(other.clone()) && measure(shared, &other).await.is_some() {
            return true;
        }
    }
    false
}

/// Measures another node or some beside home, and moves there if it is clearly nearer, or if home does not serve any more.
async fn look_around(shared: &Shared) {
    let (home, others) = {
        let directory = shared.directory.lock();
        (directory.home().cloned(), directory.to_measure(shared.now(), draw(&shared.env)))
    };
    // When nobody is home, because it failed a question, calls go on where they go as long as they are answered.
    let Some(home) = home.or_else(|| shared.contact().map(|(address, _)| address)) else { return };
    let to_home = measure(shared, &home).await;
    if to_home.is_some() {
        shared.directory.lock().settle_if_homeless(&home);
    }
    let mut nearest: Option<(Address, Duration)> = None;
    for other in others {
        let Some(distance) = measure(shared, &other).await else { continue };
        if nearest.as_ref().is_none_or(|(_, least)| distance < *least) {
            nearest = Some((other, distance));
        }
    }
    let Some((other, distance)) = nearest else { return };
    let Some(to_home) = to_home else {
        shared.begin_move(&other);
        return;
    };
    let is_nearer = |distance, to_home| shared.directory.lock().is_clearly_nearer(&other, distance, to_home);
    if !is_nearer(distance, to_home) {
        return;
    }
    let (Some(to_home), Some(distance)) = (measure(shared, &home).await, measure(shared, &other).await) else { return };
    let is_home = shared.directory.lock().home() == Some(&home);
    if is_home && is_nearer(distance, to_home) && shared.begin_move(&other) {
        tracing::debug!(from = %home, to = %other, ?to_home, ?distance, "a client moves to a nearer node");
    }
}

/// The round trip to a node, over its connection if there is one; `None`: it does not answer, or may not be asked.
async fn measure(shared: &Shared, target: &Address) -> Option<Duration> {
    let channel = match shared.contact().filter(|(address, _)| address == target) {
        Some((_, channel)) => Ok(channel),
        None => shared.reach(target).await,
    };
    let measured = match channel {
        Ok(channel) => {
            let sampling = sample(shared, channel, target);
            let outcome = tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, sampling).await;
            outcome.unwrap_or_else(|_| Err(silent(target)))
        }
        Err(error) => Err(error),
    };
    match measured {
        Ok(distance) => {
            shared.directory.lock().measured(target, distance);
            Some(distance)
        }
        Err(error) => {
            tracing::debug!(%target, %error, "a node could not be measured");
            shared.note_failure(target, error.message());
            None
        }
    }
}

async fn sample(shared: &Shared, channel: Channel, target: &Address) -> Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..CLIENT_DISTANCE_SAMPLES {
        let begin = shared.now();
        shared.hear(&channel, target).await?;
        least = least.min(shared.now().saturating_sub(begin));
    }
    Ok(least)
}
