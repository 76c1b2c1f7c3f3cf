//! By which names a node may be asked over plain HTTP. A page of another site can have its own name point to this machine ("DNS
//! rebinding"), and a browser then takes both for one site and shows the page what the node says. The name gives it away: it
//! stands in each request. An IP address cannot be made to point elsewhere, so each is good.

use std::net::IpAddr;

use http::{header::HOST, request::Parts, uri::Authority, Version};

use crate::config::NodeConfig;

/// The names of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rpc) struct Names(Vec<String>);

/// Why a request is not for this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOurs {
    /// It does not say for whom it is, or says it twice.
    Unnamed,
    /// It is for somebody of this name.
    Other(String),
}

impl Names {
    /// What the settings call the node: the host it listens on, the one it advertises, and the name in its certificate. This machine
    /// may always be called `localhost`.
    pub(in crate::rpc) fn of(config: &NodeConfig) -> Names {
        let advertised = config.advertise.iter().map(|address| address.host().to_string());
        let certified = config.tls.iter().filter_map(|files| files.server_name.clone());
        let all = ["localhost".to_string(), config.host.clone()].into_iter().chain(advertised).chain(certified);
        Names(all.map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Lets requests for this node pass. One of HTTP/1.0 need not say for whom it is: no browser sends such.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), NotOurs> {
        let mut headers = parts.headers.get_all(HOST).iter();
        let said = headers.next().map(|host| host.to_str().map_err(|_| NotOurs::Unnamed)).transpose()?;
        if headers.next().is_some() {
            return Err(NotOurs::Unnamed);
        }
        let target = parts.uri.authority().map(Authority::as_str);
        if said.is_none() && target.is_none() && parts.version > Version::HTTP_10 {
            return Err(NotOurs::Unnamed);
        }
        said.into_iter().chain(target).try_for_each(|authority| self.check_authority(authority))
    }

    fn check_authority(&self, authority: &str) -> Result<(), NotOurs> {
        let other = || NotOurs::Other(authority.to_string());
        let parsed = authority.parse::<Authority>().map_err(|_| NotOurs::Unnamed)?;
        // A name before an `@` would be that of a user.
        if authority.contains('@') {
            return Err(other());
        }
        let host = parsed.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_ours = bare.parse::<IpAddr>().is_ok() || self.0.iter().any(|name| name.eq_ignore_ascii_case(bare));
        is_ours.then_some(()).ok_or_else(other)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::types::TlsFiles;

    fn names() -> Names {
        let tls = TlsFiles { ca: None, cert: None, key: None, server_name: Some("kv.internal".into()) };
        Names::of(&NodeConfig {
            host: "0.0.0.0".into(),
            advertise: Some("Db-1.example.org:7001".parse().unwrap()),
            tls: Some(tls),
            ..NodeConfig::default()
        })
    }

    fn asked(uri: &str, hosts: &[&[u8]], version: Version) -> Parts {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_name_of_the_node_is_good_with_any_port() {
        for host in [
            "localhost",
            "localhost:7001",
            "LocalHost:1",
            "127.0.0.1",
            "127.0.0.1:7001",
            "10.1.2.3:80",
            "[::1]:7001",
            "[fe80::1]",
            "db-1.example.org:7001",
            "DB-1.EXAMPLE.ORG",
            "kv.internal",
        ] {
            assert_eq!(names().check(&asked("/", &[host.as_bytes()], Version::HTTP_11)), Ok(()), "{host}");
            let whole = format!("http://{host}/");
            assert_eq!(names().check(&asked(&whole, &[], Version::HTTP_2)), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_of_somebody_else_is_refused_wherever_it_stands() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.example:7001",
            "127.0.0.1.evil.example",
            "example.org",
            "localhost@evil.example",
            "127.0.0.1:7001@evil.example",
            "xlocalhost",
            "0x7f.1",
        ] {
            let refused = names().check(&asked("/", &[host.as_bytes()], Version::HTTP_11));
            assert_eq!(refused, Err(NotOurs::Other(host.to_string())));
        }
        let good: &[u8] = b"localhost";
        let mixed = asked("http://evil.example/", &[good], Version::HTTP_11);
        assert_eq!(names().check(&mixed), Err(NotOurs::Other("evil.example".into())));
    }

    #[test]
    fn a_request_says_once_for_whom_it_is() {
        let unnamed: [&[&[u8]]; 5] = [&[], &[b"localhost", b"localhost"], &[b"a b"], &[b"\xff"], &[b""]];
        for hosts in unnamed {
            assert_eq!(names().check(&asked("/", hosts, Version::HTTP_11)), Err(NotOurs::Unnamed), "{hosts:?}");
        }
        assert_eq!(names().check(&asked("/", &[], Version::HTTP_10)), Ok(()));
    }
}
