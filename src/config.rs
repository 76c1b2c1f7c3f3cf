//! Settings of a node: data, checked once, before anything is opened.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::{Error, ErrorCode, Result},
    limits,
    types::{is_loopback, Address, Consistency, Secret, TlsFiles},
};

/// What a node is started with. Settings are data; what it works with (clock, network) is passed to the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The interface to listen on.
    pub host: String,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// The address by which others reach this node; `None`: `host` and the port that was bound.
    pub advertise: Option<Address>,
    /// Members to begin with; one that is reachable is enough to find all. The node's own address may be among them.
    pub peers: Vec<Address>,
    /// Nodes of a cluster with another name are refused.
    pub cluster: String,
    /// Worker threads; 0: one for every two cores, because the others belong to the program that the node lives in.
    pub threads: usize,
    /// By what this node and its peers and clients know each other, and keep what they say from others; `None`: by nothing. A
    /// node needs all three files.
    pub tls: Option<TlsFiles>,
    /// What clients and peers have to present, and this node to its peers; `None`: nothing.
    pub token: Option<Secret>,
    /// Listen on an interface that others can reach, and send the token to peers that are elsewhere, although `tls` or
    /// `token` is missing.
    pub insecure: bool,
    /// Answer browsers and machines that watch on the same port, too: plain HTTP beside gRPC.
    pub http: bool,
    /// How far ahead of this node's clock the stamp of a peer's write may be; it is refused beyond.
    pub max_drift: Duration,
    /// Where the node keeps its data and its identity; `None`: in memory only, with a new identity at each start.
    pub data_dir: Option<PathBuf>,
    /// What a write waits for. Without a `data_dir` there is only one answer, and the setting is ignored.
    pub durability: Durability,
    /// Bytes that the data may take in memory; writes beyond are refused. `None`: what the machine has.
    pub max_memory: Option<u64>,
    /// What the keyspace `default` is to be: read when a cluster is formed, by the node that forms it.
    pub default_consistency: Consistency,
    /// How much of the history of strong keyspaces is kept while this node leads.
    pub history: HistoryBounds,
    /// How the files in the directory are cut. No user has a reason to change it; simulations make it small.
    pub disk: DiskBounds,
    /// How much of its log a member of the strong group keeps. No user has a reason to change it; simulations make it small.
    pub group: GroupBounds,
}

/// How much of its history the strong group keeps, for watches that resume and for reads of the past. What is over any of the bounds is
/// forgotten, the oldest first. The settings of whoever leads count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Changes of keys; [`limits::HISTORY_CHANGES`] says how many a node may be told to keep.
    pub changes: u64,
    /// Bytes of their keys and values, and some 400 more for each; as [`limits::HISTORY_BYTES`] says.
    pub bytes: u64,
    /// Milliseconds under leaders; as [`limits::HISTORY_AGE_MS`] says.
    pub age_ms: u64,
}

impl Default for HistoryBounds {
    fn default() -> HistoryBounds {
        HistoryBounds {
            changes: limits::HISTORY_CHANGES_DEFAULT,
            bytes: limits::HISTORY_BYTES_DEFAULT,
            age_ms: limits::HISTORY_AGE_MS_DEFAULT,
        }
    }
}

impl HistoryBounds {
    fn check(&self) -> Result<()> {
        let settings = [
            ("history_changes", self.changes, limits::HISTORY_CHANGES, ""),
            ("history_bytes", self.bytes, limits::HISTORY_BYTES, " bytes"),
            ("history_age", self.age_ms, limits::HISTORY_AGE_MS, " ms"),
        ];
        for (name, value, range, unit) in settings {
            if !range.contains(&value) {
                let why = format!("must be {} to {}{unit}", range.start(), range.end());
                return Err(bad(name, &format!("{value}{unit}"), &why));
            }
        }
        Ok(())
    }
}

/// How much of its log a member of the strong group keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBounds {
    /// Entries after which a snapshot is taken: [`limits::GROUP_SNAPSHOT_ENTRIES`].
    pub snapshot_entries: u64,
    /// Entries before the snapshot that stay: [`limits::GROUP_ENTRIES_KEPT`].
    pub entries_kept: u64,
}

impl Default for GroupBounds {
    fn default() -> GroupBounds {
        GroupBounds { snapshot_entries: limits::GROUP_SNAPSHOT_ENTRIES, entries_kept: limits::GROUP_ENTRIES_KEPT }
    }
}

/// How a node cuts what it keeps on disk into files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskBounds {
    /// Bytes of a segment of the log: [`limits::LOG_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Bytes of zeros that are written ahead of the log: [`limits::LOG_PREALLOCATE_BYTES`].
    pub preallocate_bytes: u64,
    /// Bytes of the log after which a snapshot is written: [`limits::CHECKPOINT_LOG_BYTES`].
    pub checkpoint_bytes: u64,
}

impl Default for DiskBounds {
    fn default() -> DiskBounds {
        DiskBounds {
            segment_bytes: limits::LOG_SEGMENT_BYTES,
            preallocate_bytes: limits::LOG_PREALLOCATE_BYTES,
            checkpoint_bytes: limits::CHECKPOINT_LOG_BYTES,
        }
    }
}

/// What a write waits for before it is acknowledged, in a node with a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Until it is on disk: it survives the loss of power.
    #[default]
    Sync,
    /// For nothing. The disk has it [`limits::SYNC_INTERVAL`] later: so much is lost with the power.
    Interval,
    /// For nothing. The disk gets it when the system likes, and for certain with a snapshot and at the end.
    Memory,
}

impl Durability {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Interval => "interval",
            Durability::Memory => "memory",
        }
    }
}

impl std::str::FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Durability> {
        let all = [Durability::Sync, Durability::Interval, Durability::Memory];
        let found = all.into_iter().find(|durability| durability.as_str() == text);
        found.ok_or_else(|| bad("durability", text, "is none of \"sync\", \"interval\" and \"memory\""))
    }
}

/// The setting `default_consistency`, by its name.
///
/// # Errors
/// `BAD_SETTING`.
pub fn parse_default_consistency(text: &str) -> Result<Consistency> {
    let why = "is neither \"eventual\" nor \"strong\"";
    Consistency::from_name(text).ok_or_else(|| bad("default_consistency", text, why))
}

/// Worker threads a node may have.
const THREADS_MAX: usize = 256;

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            host: "127.0.0.1".to_string(),
            port: 0,
            advertise: None,
            peers: Vec::new(),
            cluster: "default".to_string(),
            threads: 0,
            tls: None,
            token: None,
            insecure: false,
            http: false,
            max_drift: limits::CLOCK_DRIFT_MAX,
            data_dir: None,
            durability: Durability::Sync,
            max_memory: None,
            default_consistency: Consistency::Eventual,
            history: HistoryBounds::default(),
            disk: DiskBounds::default(),
            group: GroupBounds::default(),
        }
    }
}

impl NodeConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// `BAD_SETTING` or `BAD_ADDRESS`; the text names the setting.
    pub fn check(&self) -> Result<()> {
        Address::new(&self.host, self.port.max(1))
            .map_err(|_| bad("host", &self.host, "is no host name or IP address"))?;
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let length = self.cluster.len();
        if length == 0 || length > limits::CLUSTER_NAME_BYTES_MAX || !self.cluster.chars().all(is_name_char) {
            return Err(bad("cluster", &self.cluster, "must be 1 to 64 letters, digits, '.', '-' or '_'"));
        }
        if self.threads > THREADS_MAX {
            return Err(bad("threads", &self.threads.to_string(), "must be 0 to 256"));
        }
        if !(limits::CLOCK_DRIFT_LEAST..=limits::CLOCK_DRIFT_MOST).contains(&self.max_drift) {
            return Err(bad("max_drift", &format!("{} s", self.max_drift.as_secs_f64()), "must be 0.1 s to 3600 s"));
        }
        if self.data_dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            return Err(bad("data_dir", "", "names no directory"));
        }
        if let Some(bytes) = self.max_memory.filter(|bytes| *bytes < limits::MEMORY_LEAST) {
            let least = format!("is less than {} bytes", limits::MEMORY_LEAST);
            return Err(bad("max_memory", &bytes.to_string(), &least));
        }
        self.history.check()?;
        if self.peers.len() > limits::MEMBERS_MAX {
            return Err(bad(
                "peers",
                &self.peers.len().to_string(),
                "members are too many; one reachable one is enough",
            ));
        }
        if let Some(TlsFiles { ca, cert, key, .. }) = &self.tls {
            for (name, file) in [("ca", ca), ("cert", cert), ("key", key)] {
                if file.is_none() {
                    let text = format!("tls: {name} is missing: a node needs ca, cert and key");
                    return Err(Error::new(ErrorCode::BadSetting, text));
                }
            }
        }
        if !self.insecure && self.is_exposed() {
            let why = "can be reached by others, so it needs tls and token; \
                       or a loopback address, or insecure=True inside a trusted network";
            return Err(bad("host", &self.host, why));
        }
        Ok(())
    }

    /// Whether others can reach the node who need not say who they are, or whose words can be read on their way.
    pub fn is_exposed(&self) -> bool {
        !is_loopback(&self.host) && (self.tls.is_none() || self.token.is_none())
    }
}

fn bad(setting: &str, value: &str, why: &str) -> Error {
    Error::new(ErrorCode::BadSetting, format!("{setting}: {value:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(NodeConfig::default().check(), Ok(()));
    }

    #[test]
    fn each_bad_setting_is_named() {
        let base = NodeConfig::default;
        let cases = [
            ("host", NodeConfig { host: "no host".into(), ..base() }),
            ("host", NodeConfig { host: "0.0.0.0".into(), ..base() }),
            ("cluster", NodeConfig { cluster: String::new(), ..base() }),
            ("cluster", NodeConfig { cluster: "a b".into(), ..base() }),
            ("threads", NodeConfig { threads: 257, ..base() }),
            ("max_drift", NodeConfig { max_drift: Duration::from_millis(99), ..base() }),
            ("max_drift", NodeConfig { max_drift: Duration::from_secs(3601), ..base() }),
            ("peers", NodeConfig { peers: vec![Address::new("h", 1).unwrap(); limits::MEMBERS_MAX + 1], ..base() }),
        ];
        for (setting, config) in cases {
            let error = config.check().unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadSetting);
            assert!(error.message().starts_with(setting), "{error}");
        }
    }

    #[test]
    fn a_consistency_has_one_of_two_names() {
        assert_eq!(parse_default_consistency("eventual"), Ok(Consistency::Eventual));
        assert_eq!(parse_default_consistency("strong"), Ok(Consistency::Strong));
        let refused = parse_default_consistency("Strong").unwrap_err();
        assert_eq!(refused.code(), ErrorCode::BadSetting);
        assert!(refused.message().starts_with("default_consistency"), "{refused}");
    }

    #[test]
    fn a_reachable_host_needs_tls_and_token_or_the_word_insecure() {
        let file = || Some("pem".into());
        let tls = || Some(TlsFiles { ca: file(), cert: file(), key: file(), server_name: None });
        let token = || Some("sesame".parse().unwrap());
        let base = || NodeConfig { host: "0.0.0.0".into(), ..NodeConfig::default() };
        for config in [base(), NodeConfig { tls: tls(), ..base() }, NodeConfig { token: token(), ..base() }] {
            let refused = config.check().unwrap_err();
            assert!(refused.message().starts_with("host") && refused.message().contains("tls and token"), "{refused}");
            assert_eq!(NodeConfig { insecure: true, ..config }.check(), Ok(()));
        }
        assert_eq!(NodeConfig { tls: tls(), token: token(), ..base() }.check(), Ok(()));
    }

    #[test]
    fn a_node_needs_all_three_files() {
        let file = || Some("pem".into());
        let whole = TlsFiles { ca: file(), cert: file(), key: file(), server_name: None };
        let cases = [
            ("tls: ca", TlsFiles { ca: None, ..whole.clone() }),
            ("tls: cert", TlsFiles { cert: None, ..whole.clone() }),
            ("tls: key", TlsFiles { key: None, ..whole }),
        ];
        for (setting, tls) in cases {
            let refused = NodeConfig { tls: Some(tls), ..NodeConfig::default() }.check().unwrap_err();
            assert_eq!(refused.code(), ErrorCode::BadSetting);
            assert!(refused.message().starts_with(setting), "{refused}");
        }
    }
}
