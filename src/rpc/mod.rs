//! What goes over the wire (L4): the only folder that names tonic services.
//!
//! * [`Server`] is the one hardened server; it serves a [`Host`]: the client API, the stream between peers, what
//!   operators ask, and `grpc.health.v1`.
//! * [`Loading`] is what a node's port says before the node is there.
//! * A node with the setting `http` answers plain HTTP on the same port, too: `web`.
//! * [`Gate`] says who may ask what, [`Access`] how others are reached; [`ServerTls`] and [`ClientTls`] are the two ends of TLS.
//! * [`Access::connect`] opens a [`Channel`] to a node, [`RpcDialer`] a stream to a peer, [`GroupCourier`] carries messages of the strong group, [`open_pipeline`] a stream of
//!   operations, [`open_watch`] one of changes; [`cluster_view`] asks whom a client may turn to, [`UnaryClient`] makes single calls, [`node_status`], [`node_members`] and
//!   [`remove_member`] ask what operators ask, [`node_survey`] and [`survey`] tell how much room keys take, [`open_monitor`] listens to the calls of a node, [`open_snapshot`] fetches all that a node holds, [`all_conflicts`] gathers the lost writes of a cluster.
//! * [`StrongBackend`] is who answers what clients ask of strong keyspaces, [`StrongRpc`] asks it from afar. That and the messages of the
//!   group are questions over a stream: `conversation`.
//! * [`to_status`] and [`from_status`] carry an [`Error`](crate::Error) over a status and back.

mod access;
mod admin_client;
mod admin_service;
#[cfg(test)]
mod authority;
mod begun;
mod catch_up;
mod channel;
mod conflicts;
mod connection;
mod conversation;
mod courier;
mod dialer;
mod entrance;
mod gate;
mod group_service;
mod host;
mod kv_client;
mod kv_service;
mod loading;
mod monitor;
#[cfg(test)]
mod mute;
mod peer_service;
mod peer_stream;
mod pem;
mod phase;
mod pipeline;
mod server;
mod snapshot;
mod status;
mod strong;
mod survey;
mod tls;
mod watch;
mod web;

pub use access::{Access, Token, TokenSource};
pub use admin_client::{
    move_leader, node_holdings, node_members, node_status, node_survey, open_monitor, open_snapshot, remove_member,
    MonitorPages, SnapshotPieces,
};
pub use channel::Channel;
pub use conflicts::{all_conflicts, gather_conflicts, node_conflicts};
pub use courier::GroupCourier;
pub use dialer::RpcDialer;
pub use gate::Gate;
pub use host::{Accepting, Host, Moving, Refreshing, Removing, Sending, Unfit};
pub use kv_client::{cluster_view, open_pipeline, open_watch, PipelineAnswers, UnaryClient, WatchAnswers};
pub use loading::Loading;
pub use server::Server;
pub use status::{from_status, to_status};
pub use strong::{
    bytes_of_call, bytes_of_change, call_each, check_call, check_watch, Leader, RpcPages, StrongBackend, StrongPages,
    StrongRpc,
};
pub use survey::survey;
pub use tls::{ClientTls, ServerTls};

#[cfg(test)]
pub(crate) use mute::spawn_mute;
#[cfg(test)]
pub(crate) use strong::fake::{FakeGroup, Fault};

#[cfg(test)]
mod tests;
