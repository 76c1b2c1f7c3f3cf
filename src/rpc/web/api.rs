//! `/api/v1`: what the dashboard shows, for programs, too. Read-only JSON; an error says `kind`, `code` and `message` as everywhere.
//! What is told is what this node has, without a question to any other: only which keyspaces there are is asked of the group.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{json, Value};

use super::{
    data::Keyspace,
    json::{self, integer, SCHEMA},
    live,
    query::Query,
    reply::{whole, Reply},
    Web,
};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits::{HTTP_CALL_TIMEOUT, HTTP_CONFLICTS_MAX, HTTP_KEYS, KEY_BYTES_MAX, PAGE_KEYS_MAX},
    replication::strong::{Call, Reply as GroupReply},
    rpc::host::Host,
    types::{ConflictQuery, Consistency, Key, LostWrite, DEFAULT_KEYSPACE},
};

const JSON: &str = "application/json";

/// What there is below `/api/v1/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Status,
    Members,
    Keyspaces,
    Keys,
    Key,
    Conflicts,
    Live,
}

impl Subject {
    /// That of the rest of a path.
    pub(super) fn named(name: &str) -> Option<Subject> {
        match name {
            "status" => Some(Subject::Status),
            "members" => Some(Subject::Members),
            "keyspaces" => Some(Subject::Keyspaces),
            "keys" => Some(Subject::Keys),
            "key" => Some(Subject::Key),
            "conflicts" => Some(Subject::Conflicts),
            "live" => Some(Subject::Live),
            _ => None,
        }
    }

    /// What may be asked of it.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Subject::Status | Subject::Members | Subject::Keyspaces => &[],
            Subject::Keys => &["keyspace", "prefix", "after", "limit", "fold"],
            Subject::Key => &["keyspace", "key"],
            Subject::Conflicts => &["keyspace", "prefix", "limit"],
            Subject::Live => &["keyspace", "prefix"],
        }
    }
}

impl Web {
    /// What is to be told of a subject.
    pub(super) async fn tell(&self, subject: Subject, query: &str) -> Reply {
        match self.look(subject, query).await {
            Ok(reply) => reply,
            Err(error) => failed(&error),
        }
    }

    async fn look(&self, subject: Subject, query: &str) -> Result<Reply> {
        let query = Query::parse(query, subject.parameters())?;
        let loading = || Error::new(ErrorCode::NotRunning, "the node is reading its data; try again, or another node");
        let host = self.host.as_ref().ok_or_else(loading)?;
        self.phase.check_serving()?;
        let told = match subject {
            Subject::Status => with_schema(json::status(&host.status(false))),
            Subject::Members => {
                let members: Vec<Value> = host.members().iter().map(json::member).collect();
                json!({ "schema": SCHEMA, "members": members })
            }
            Subject::Keyspaces => keyspaces(host).await,
            Subject::Keys => keys(host, &query).await?,
            Subject::Key => key(host, &query).await?,
            Subject::Conflicts => conflicts(host, &query).await?,
            Subject::Live => return live::begin(self, host, &query).await,
        };
        Ok(whole(StatusCode::OK, JSON, told.to_string()))
    }
}

fn failed(error: &Error) -> Reply {
    let status = match (error.code(), error.kind()) {
        (ErrorCode::UnknownKeyspace, _) => StatusCode::NOT_FOUND,
        (_, ErrorKind::InvalidArgument | ErrorKind::Unsupported) => StatusCode::BAD_REQUEST,
        (_, ErrorKind::Unavailable | ErrorKind::Closed) => StatusCode::SERVICE_UNAVAILABLE,
        (_, ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        (_, ErrorKind::Denied) => StatusCode::FORBIDDEN,
        (_, ErrorKind::Conflict) => StatusCode::CONFLICT,
        (_, ErrorKind::Corrupt | ErrorKind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    whole(status, JSON, json::error(error).to_string())
}

fn with_schema(mut told: Value) -> Value {
    told["schema"] = json!(SCHEMA);
    told
}

/// The eventual ones that this node holds, and all that the group knows; where that cannot be asked, why.
async fn keyspaces(host: &Arc<dyn Host>) -> Value {
    let holding = |name: &str, consistency: Consistency, keys: u64, bytes: u64| {
        let (keys, bytes) = (integer(keys), integer(bytes));
        json!({ "name": name, "consistency": consistency.as_str(), "keys": keys, "bytes": bytes })
    };
    let held = host.keyspace().holdings();
    let mut found: Vec<Value> =
        held.iter().map(|held| holding(&held.keyspace, Consistency::Eventual, held.keys, held.bytes)).collect();
    let mut problem = None;
    if let Some(backend) = host.strong() {
        match backend.call(Call::Keyspaces, HTTP_CALL_TIMEOUT).await {
            Ok(GroupReply::Keyspaces(all)) => {
                let strong = all.iter().filter(|facts| facts.consistency == Consistency::Strong);
                found.extend(strong.map(|facts| holding(&facts.name, Consistency::Strong, facts.keys, facts.bytes)));
            }
            Ok(other) => problem = Some(format!("the group answered something else: {other:?}")),
            Err(error) => problem = Some(error.to_string()),
        }
    }
    json!({ "schema": SCHEMA, "keyspaces": found, "strong_problem": problem })
}

async fn keys(host: &Arc<dyn Host>, query: &Query) -> Result<Value> {
    let (prefix, after) = (query.bytes("prefix").unwrap_or_default(), query.bytes("after"));
    for (name, bytes) in [("prefix", prefix), ("after", after.unwrap_or_default())] {
        if bytes.len() > KEY_BYTES_MAX {
            let text = format!("{name}: {} bytes, a key has at most {KEY_BYTES_MAX}", bytes.len());
            return Err(Error::new(ErrorCode::KeyTooLong, text));
        }
    }
    let limit = query.count("limit", HTTP_KEYS, PAGE_KEYS_MAX)?;
    let is_folded = query.flag("fold")?;
    let keyspace = Keyspace::find(host, query.text("keyspace")?).await?;
    let listing = match is_folded {
        true => keyspace.fold(prefix, after, limit).await?,
        false => keyspace.list(prefix, after, limit).await?,
    };
    Ok(json::listing(&listing))
}

async fn key(host: &Arc<dyn Host>, query: &Query) -> Result<Value> {
    let key = Key::new(query.bytes("key").unwrap_or_default())?;
    let keyspace = Keyspace::find(host, query.text("keyspace")?).await?;
    let found = keyspace.get(key).await?;
    Ok(found.map_or_else(|| json!({ "schema": SCHEMA, "missing": true }), |found| json::entry(&found)))
}

/// Those that this node has noticed; other nodes have theirs.
async fn conflicts(host: &Arc<dyn Host>, query: &Query) -> Result<Value> {
    let name = match query.text("keyspace")? {
        "" => DEFAULT_KEYSPACE,
        name => name,
    };
    let limit = query.count("limit", HTTP_KEYS, HTTP_CONFLICTS_MAX)?;
    let Keyspace::Eventual(_, space) = Keyspace::find(host, name).await? else {
        let text = format!("keyspace {name:?}: it is strong, so no write is lost there");
        return Err(Error::new(ErrorCode::KeyspaceIsStrong, text));
    };
    let prefix = query.bytes("prefix").unwrap_or_default().to_vec();
    let wanted = ConflictQuery { keyspace: name.to_string(), prefix, since_ms: 0, limit: Some(limit) };
    let found = host.keyspace().conflicts(space, &wanted);
    let told: Vec<Value> = found.iter().map(|conflict| json::conflict(&LostWrite::new(space, conflict))).collect();
    Ok(json!({ "schema": SCHEMA, "conflicts": told }))
}
