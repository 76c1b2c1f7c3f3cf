//! By what nodes and clients know each other: a secret word, and files with certificates.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{
    error::{Error, ErrorCode},
    limits::TOKEN_BYTES_MAX,
};

/// The token of a cluster: whoever has it may ask everything. It is never shown, whoever prints what holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// What must be said to nobody but who is to check it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Error;

    /// Visible ASCII characters without spaces: what fits into a header. The error does not repeat the text.
    fn from_str(text: &str) -> Result<Secret, Error> {
        if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("token: it must be 1 to {TOKEN_BYTES_MAX} visible ASCII characters without spaces");
            return Err(Error::new(ErrorCode::BadSetting, why));
        }
        Ok(Secret(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(set)")
    }
}

/// PEM files, and the name that a certificate has to bear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities whose certificates are believed.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and those between it and its authority.
    pub cert: Option<PathBuf>,
    /// The key of our certificate.
    pub key: Option<PathBuf>,
    /// The name that the certificate of a node has to bear; `None`: the host that was connected to.
    pub server_name: Option<String>,
}

/// Whom a client believes that a node is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The certificate authorities of the system.
    System,
    /// Those of a file.
    Files(TlsFiles),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_fits_into_a_header_and_is_in_no_text() {
        let longest = "s".repeat(TOKEN_BYTES_MAX);
        for text in ["sesame-4711", "~", &longest] {
            let secret: Secret = text.parse().unwrap();
            assert_eq!(secret.expose(), text);
            assert!(!format!("{secret:?}").contains("sesame"));
        }
        let too_long = "s".repeat(TOKEN_BYTES_MAX + 1);
        for text in ["", "open sesame", "sesame\n", "sésame", &too_long] {
            let refused = text.parse::<Secret>().unwrap_err();
            assert_eq!(refused.code(), ErrorCode::BadSetting);
            assert!(!refused.message().contains("same") && !refused.message().contains("sss"), "{refused}");
        }
    }
}
