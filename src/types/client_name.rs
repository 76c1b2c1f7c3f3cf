//! What a client calls itself.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, ErrorCode},
    limits::CLIENT_NAME_BYTES_MAX,
};

/// Visible ASCII characters, and spaces within: what fits into a header and a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ClientName, Error> {
        let is_visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if text.is_empty() || text.len() > CLIENT_NAME_BYTES_MAX || !is_visible || text.trim() != text {
            let why = format!("must be 1 to {CLIENT_NAME_BYTES_MAX} visible ASCII characters, with spaces only within");
            return Err(Error::new(ErrorCode::BadSetting, format!("name: {text:?} {why}")));
        }
        Ok(ClientName(text.to_string()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_header() {
        let longest = "n".repeat(CLIENT_NAME_BYTES_MAX);
        for text in ["web-1", "nightly report", "~", &longest] {
            assert_eq!(text.parse::<ClientName>().unwrap().to_string(), text);
        }
        let too_long = "n".repeat(CLIENT_NAME_BYTES_MAX + 1);
        for text in ["", " web", "web ", "a\nb", "a\tb", "grün", &too_long] {
            assert_eq!(text.parse::<ClientName>().unwrap_err().code(), ErrorCode::BadSetting, "{text:?}");
        }
    }
}
