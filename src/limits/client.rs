//! The bounds of clients, their sessions and their load runs.

use std::time::Duration;

use super::*;

/// Nodes that a session remembers for each partition. Beyond it a session does not wait for writes of further nodes;
/// larger makes the message larger that moves a session (16 bytes an entry and partition).
pub const SESSION_ENTRIES_MAX: usize = 2048;

/// How long a node waits for what a session has seen before it says that it is behind. Below [`REQUEST_TIMEOUT`], so that
/// the answer says so; shorter costs another question for each session that waits longer.
pub const SESSION_WAIT_MAX: Duration = Duration::from_secs(20);

/// Sessions that wait at one node: each looks at its partitions whenever something arrives.
pub const SESSION_WAITERS_MAX: usize = 1024;

/// How long writes have to be out of everybody's reach before a session is told that they are lost. Shorter takes a
/// connection that is about to come back for a node that is gone; longer keeps reads waiting beyond their deadlines.
pub const SESSION_LOST_AFTER: Duration = Duration::from_secs(3);

/// How often a session that waits asks who has what it waits for.
pub const SESSION_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Operations a client has in flight on one connection; further calls wait for a place within their deadline.
pub const CLIENT_IN_FLIGHT_MAX: usize = 16 * 1024;

/// Bytes of operations after which a client closes a pipeline message.
pub const CLIENT_BATCH_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of the name of a client. It is written to the logs of nodes; longer ones make lines that nobody reads.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// Operations after which a client closes a pipeline message.
pub const CLIENT_BATCH_OPERATIONS_MAX: usize = 512;

/// Operations that wait in a client for a place on the connection; more are refused, so that a program that never
/// waits for answers learns it before its memory is full.
pub const CLIENT_QUEUE_OPERATIONS_MAX: usize = 256 * 1024;

/// Bytes of the operations that wait in a client. See [`CLIENT_QUEUE_OPERATIONS_MAX`].
pub const CLIENT_QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How often a client sends a call again after connections that were lost or nodes that were stopping: one that breaks
/// each connection it is sent on must come to an end, also without a deadline.
pub const CLIENT_SENDS_MAX: u32 = 16;

/// How long a client tries one target before the next: two dead targets leave time for a third within
/// [`CALL_TIMEOUT`], and a connection across the world has time for a lost packet.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause of a client after the first round through its targets, unless it is told otherwise; each doubles. A shorter one
/// asks a node that has just died for nothing, with a longer one a change of leaders is noticed late.
pub const CLIENT_PAUSE_FIRST: Duration = Duration::from_millis(40);

/// The longest pause of a client between two rounds through its targets, unless it is told otherwise. A node that is back is
/// found within about this.
pub const CLIENT_PAUSE_MAX: Duration = Duration::from_millis(400);

/// By how many thousandths a pause is longer or shorter at most, unless a client is told otherwise: without any, the clients of
/// a node that comes back come all at the same moment.
pub const CLIENT_JITTER_PERMILLE: u32 = 300;

/// Loops of a load run at the same time, and connections it opens. As many as a node accepts.
pub const LOAD_CONCURRENCY_MAX: usize = CONNECTIONS_MAX;

/// Different keys of a load run: about 2 GB of short values in one node.
pub const LOAD_KEYS_MAX: u64 = 10_000_000;

/// The deadline of a client's call when none is given.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon after the end of a call the next one has to begin to be made in a row with it, and how long the thread of the clients
/// stands aside after a call that its caller has driven. A longer time lets what nobody waits for lie, a shorter one
/// has a thread that thinks between its calls wake the other each time.
pub const CLIENT_STAND_ASIDE: Duration = Duration::from_millis(1);

/// Calls in a row by one thread after which it drives the tasks itself. Fewer let a program with several threads pass
/// them to and fro.
pub const CLIENT_STREAK_MIN: u32 = 8;

/// Nodes that answer within this of the nearest are as near: within one data centre the difference is noise. Larger sends calls
/// farther than they need to go, smaller crowds all clients on one node.
pub const CLIENT_NEAR: Duration = Duration::from_micros(500);

/// By how much a round trip has to be shorter, beyond being half as long, to be worth a move from one node to another that was
/// given. Smaller makes clients of a busy machine wander.
pub const CLIENT_MOVE_GAIN: Duration = Duration::from_millis(1);

/// The same for a move to a node that the cluster told of: whoever gave an address may have had a reason.
pub const CLIENT_MOVE_GAIN_LEARNED: Duration = Duration::from_millis(5);

/// For how long a client avoids a node that failed; each time in a row twice as long. Shorter asks dead nodes for nothing.
pub const CLIENT_AVOID_FIRST: Duration = Duration::from_secs(1);

/// The longest that a client avoids a node while it has others. A node that is back is not used again before about this.
pub const CLIENT_AVOID_MAX: Duration = Duration::from_secs(60);

/// In how many answers in a row a learned node may be missing. A node that has just started knows nobody yet; with more a node
/// that is gone is tried for longer.
pub const CLIENT_ABSENCES_MAX: u32 = 3;

/// How long a node may be silent while it owes answers, before the client asks whether it is there; then it has as long again.
/// Three of these and a second node have to fit into [`CALL_TIMEOUT`]. Shorter takes a busy node for a dead one.
pub const CLIENT_SILENCE: Duration = Duration::from_secs(1);

/// About when a client looks for a nearer node for the first time, after [`CLIENT_SILENCE`] from its first call: a program that
/// makes one call and ends never does.
pub const CLIENT_LOOK_FIRST: Duration = Duration::from_secs(1);

/// How often a client that makes calls looks for a nearer node, and asks who belongs to the cluster. Each time it costs a short
/// connection to one other node.
pub const CLIENT_LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Given nodes that a client measures when it looks for the first time.
pub const CLIENT_LOOKS_MAX: usize = 8;

/// Questions in a row whose shortest round trip is the distance of a node: one alone may have met a pause of the machine.
pub const CLIENT_DISTANCE_SAMPLES: usize = 3;

/// Reads for each of which one may be asked of a second node, too: a tenth more load at most. With more, clients of a cluster that
/// is slow because it has too much to do give it more to do.
pub const CLIENT_READS_PER_HEDGE: u32 = 10;

/// Second questions that a client may save up for a burst.
pub const CLIENT_HEDGES_SAVED_MAX: u32 = 10;
