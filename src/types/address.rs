//! Where a node is reached: `host:port`.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::error::{Error, ErrorCode};

/// A `host:port`: the host is a name, an IPv4 address or an IPv6 address in brackets, the port 1 to 65535.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

impl Address {
    /// An address from its parts; `host` without brackets.
    ///
    /// # Errors
    /// `BAD_ADDRESS` when the host is empty, too long or has characters no host has, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Address, Error> {
        let is_host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(is_host_char) {
            return Err(bad_address(&format!("{host}:{port}"), "the host is no name or IP address"));
        }
        if port == 0 {
            return Err(bad_address(&format!("{host}:{port}"), "the port must be 1 to 65535"));
        }
        Ok(Address { host: host.to_ascii_lowercase(), port })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is certainly one of this machine, so that nobody else sees what is sent to it.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Whether a host is certainly this machine: by its address, or by the one name that always means it.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bad_address(text: &str, why: &str) -> Error {
    Error::new(ErrorCode::BadAddress, format!("address {text:?}: {why}; expected \"host:port\""))
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad_address(text, "there is no port"))?;
        let port = port.parse().map_err(|_| bad_address(text, "the port must be 1 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(bad_address(text, "an IPv6 address needs brackets"));
        }
        Address::new(bare.unwrap_or(host), port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_come_back_as_they_went_in() {
        for text in ["127.0.0.1:7001", "db-1.example.org:65535", "[::1]:1", "node_a:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_what_is_certainly_this_machine_is_loopback() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_loopback(), expected, "{text}");
        }
        assert!(!is_loopback("localhost.example.org") && !is_loopback("0.0.0.0"));
    }

    #[test]
    fn bad_addresses_are_named() {
        for text in ["", ":", "host", "host:", ":7001", "host:0", "host:65536", "host:-1", "::1:7001", "a b:1", "h/x:1"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadAddress, "{text:?}");
            assert!(error.message().contains("host:port"), "{text:?}: {error}");
        }
    }
}
