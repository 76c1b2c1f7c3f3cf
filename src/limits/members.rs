//! The bounds of the member table and the failure detector.

use std::time::Duration;

use super::MEMBERS_MAX;

/// How often the failure detector probes a member. Longer, and a dead one is noticed later; shorter, and a thread that
/// was not scheduled for a moment is suspected.
pub const PROBE_PERIOD: Duration = Duration::from_millis(500);

/// How long a probe waits for its answer before others are asked to probe. Must leave them time within
/// [`PROBE_PERIOD`].
pub const PROBE_RTT: Duration = Duration::from_millis(250);

/// Members that are asked to probe one that did not answer. More cost messages, fewer mistake a lost message for a
/// lost member.
pub const INDIRECT_PROBES: usize = 3;

/// How long a suspected member may take to contradict. Longer, and the dead are noticed later (within 5 s is promised);
/// shorter, and a process that stands still for a second is declared dead.
pub const SUSPICION_TIMEOUT: Duration = Duration::from_secs(2);

/// How often each piece of news about a member is passed on with other messages. Fewer may miss a member when messages
/// are lost; more only cost bytes.
pub const GOSSIP_TRANSMISSIONS: u8 = 10;

/// How often news about members travels when no probe carries it.
pub const GOSSIP_PERIOD: Duration = Duration::from_millis(200);

/// How often a member is asked whom it knows, also one that was declared dead: heals what lost messages left apart.
pub const ANNOUNCE_PERIOD: Duration = Duration::from_secs(5);

/// How often a linked member is greeted that the failure detector does not know, or thinks dead: the time in which a
/// false alarm is taken back.
pub const GREETING_PERIOD: Duration = Duration::from_secs(1);

/// How long the failure detector remembers a dead member. Shorter, and late news about it makes it look alive once
/// more for a moment; longer costs its memory.
pub const DOWN_REMEMBERED: Duration = Duration::from_secs(600);

/// Members the failure detector keeps, the dead included; messages that arrive beyond it are dropped. Bounds what a
/// hostile peer can make it remember, together with [`super::GOSSIP_BYTES_MAX`].
pub const DETECTED_MEMBERS_MAX: usize = 2 * MEMBERS_MAX;

/// Timers of the failure detector that may be pending; later ones are dropped. It keeps a handful a member.
pub const DETECTOR_TIMERS_MAX: usize = 16 * DETECTED_MEMBERS_MAX;

/// A pause of this node beyond which its failure detector waits as much longer: it was this node that stood still, not
/// the members whose answers it has not read yet. Shorter ones happen on every busy machine.
pub const DETECTOR_PAUSE_MAX: Duration = Duration::from_millis(150);

/// A linked member from which something came within this time is up, whatever others say. Longer, and one that stands
/// still is noticed later; positions alone come within 1.25 s.
pub const HEARD_RECENTLY: Duration = Duration::from_millis(1500);

/// How long a member that left or was removed is still shown.
pub const GONE_SHOWN: Duration = Duration::from_secs(600);

/// How long a removed node's session stays open, so that it learns of its removal, or says itself that it leaves.
pub const REMOVED_SESSION_GRACE: Duration = Duration::from_secs(1);

/// How long a node that leaves waits for its peers to hang up, once it has told them.
pub const LEAVE_GRACE: Duration = Duration::from_millis(500);
