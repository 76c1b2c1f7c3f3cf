//! Who may ask a node what.
//!
//! | service | asks for the token | asks for a certificate, where there is TLS |
//! | --- | --- | --- |
//! | health | no | no |
//! | of clients, of operators | yes | no; one that is presented has to be good |
//! | of other nodes | yes | yes |
//! | plain HTTP | yes, but for whether the node is there and ready | no; browsers and scrapers have none |
//!
//! It looks before anything else does: what is refused was not decoded, and had no effect. Whoever may ask one thing may ask
//! everything: there are no roles.

use std::sync::Arc;

use ring::digest::{digest, Digest, SHA256};
use subtle::ConstantTimeEq;
use tonic::{metadata::MetadataMap, Request, Status};

use super::{
    connection::{check_common, note_node, Standing},
    status::to_status,
    tls::ServerTls,
    web::Names,
};
use crate::{
    config::NodeConfig,
    env::Disk,
    error::{Error, ErrorCode, Result},
    types::Secret,
};

/// How clients say the token: `Bearer`, a space, and the token (RFC 6750, 2.1).
pub(super) const AUTHORIZATION: &str = "authorization";
const SCHEME: &str = "bearer ";

/// What a node asks of those who come. Clones share it.
#[derive(Clone, Default)]
pub struct Gate {
    tls: Option<Arc<ServerTls>>,
    token: Option<TokenHash>,
    /// By what names it may be asked over plain HTTP; `None`: it speaks gRPC alone.
    names: Option<Arc<Names>>,
}

impl Gate {
    /// It asks nothing.
    pub fn open() -> Gate {
        Gate::default()
    }

    /// What the settings say; reads the files.
    ///
    /// # Errors
    /// `BAD_SETTING`; the text names the setting and the file.
    pub fn read(config: &NodeConfig, disk: &dyn Disk) -> Result<Gate> {
        let tls = config.tls.as_ref().map(|files| ServerTls::read(files, config.http, disk)).transpose()?;
        let names = config.http.then(|| Arc::new(Names::of(config)));
        Ok(Gate { tls: tls.map(Arc::new), token: config.token.as_ref().map(TokenHash::of), names })
    }

    /// How connections are answered; `None`: in the clear.
    pub(super) fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// By what names the node may be asked over plain HTTP; `None`: it speaks gRPC alone.
    pub(super) fn names(&self) -> Option<&Arc<Names>> {
        self.names.as_ref()
    }

    /// Lets clients pass.
    ///
    /// # Errors
    /// `TOKEN_REFUSED`, and those of [`check_common`].
    pub(super) fn admit_client(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check_token(request.metadata())?;
        check_common(request)
    }

    /// Lets whoever asks for the state of the node pass, also over a place for nodes.
    ///
    /// # Errors
    /// `TOKEN_REFUSED`.
    pub(super) fn admit_operator(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check_token(request.metadata())?;
        Ok(request)
    }

    /// Lets other nodes pass.
    ///
    /// # Errors
    /// `TOKEN_REFUSED`, `CERTIFICATE_REFUSED`.
    pub(super) fn admit_node(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check_token(request.metadata())?;
        if self.tls.is_some() && !Standing::of(&request).has_certificate {
            let text = "tls: a node has to present a certificate of the cluster's authority";
            return Err(to_status(&Error::new(ErrorCode::CertificateRefused, text)));
        }
        note_node(request)
    }

    fn check_token(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let said = metadata.get(AUTHORIZATION).map(|value| value.as_encoded_bytes());
        self.judge(said).map_err(|refusal| to_status(&refusal))
    }

    /// Lets whoever says the token pass. `said`: what stands in the header [`AUTHORIZATION`], if there is one.
    ///
    /// # Errors
    /// `TOKEN_REFUSED`.
    pub(super) fn judge(&self, said: Option<&[u8]>) -> Result<()> {
        let Some(expected) = &self.token else { return Ok(()) };
        let text = match said.and_then(presented) {
            Some(token) if expected.is_of(token) => return Ok(()),
            Some(_) => "token: it is not that of the cluster",
            None => "token: the cluster wants one, and none was presented",
        };
        Err(Error::new(ErrorCode::TokenRefused, text))
    }
}

/// The token in a header.
fn presented(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME.as_bytes()).then_some(token)
}

/// The SHA-256 of a token. How long a comparison takes says nothing about the token, nor about its length.
#[derive(Clone)]
struct TokenHash(Digest);

impl TokenHash {
    fn of(token: &Secret) -> TokenHash {
        TokenHash(digest(&SHA256, token.expose().as_bytes()))
    }

    fn is_of(&self, token: &[u8]) -> bool {
        digest(&SHA256, token).as_ref().ct_eq(self.0.as_ref()).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate(token: &str) -> Gate {
        Gate { token: Some(TokenHash::of(&token.parse().unwrap())), ..Gate::default() }
    }

    fn saying(header: &str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(AUTHORIZATION, header.parse().unwrap());
        request
    }

    #[test]
    fn each_way_to_say_the_token_wrong_is_refused() {
        let gate = gate("sesame");
        for header in ["Bearer sesame", "bearer sesame", "BEARER sesame"] {
            assert!(gate.admit_client(saying(header)).is_ok(), "{header}");
        }
        for header in [
            "",
            "sesame",
            "Bearer",
            "Bearer ",
            "Bearer sesam",
            "Bearer sesame1",
            "Bearer Sesame",
            "Basic sesame",
            "Bearer  sesame",
        ] {
            for admit in [Gate::admit_client, Gate::admit_operator, Gate::admit_node] {
                let refused = admit(&gate, saying(header)).unwrap_err();
                assert_eq!(refused.code(), tonic::Code::Unauthenticated);
                assert_eq!(crate::rpc::from_status(&refused).code(), ErrorCode::TokenRefused, "{header}");
                assert!(!refused.message().contains("sesame"), "{refused}");
            }
        }
        assert!(gate.admit_client(Request::new(())).is_err());
    }

    #[test]
    fn without_a_token_nobody_is_asked_for_one() {
        for request in [Request::new(()), saying("Bearer whatever"), saying("Basic")] {
            assert!(Gate::open().admit_client(request).is_ok());
        }
    }

    proptest! {
        #[test]
        fn no_other_token_passes(ours in "[!-~]{1,64}", theirs in "[!-~]{1,64}") {
            let passes = gate(&ours).admit_operator(saying(&format!("Bearer {theirs}"))).is_ok();
            prop_assert_eq!(passes, ours == theirs);
        }
    }
}
