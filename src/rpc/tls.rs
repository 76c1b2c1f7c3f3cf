//! TLS 1.3 over a connection, whatever it is made of. It stands above [`Transport`](crate::env::Transport): what leans
//! against a connection in a test, or simulates one, leans against what TLS sends.
//!
//! Promises:
//! * A client that is given [`ClientTls`] speaks to nobody whose certificate is not signed by an authority that it believes,
//!   has expired, or bears another name.
//! * A node that is given [`ServerTls`] hears nobody who does not speak TLS 1.3. A certificate that is presented to it has to
//!   be one of its authority's; [`Gate`](super::Gate) says from whom it wants one.
//! * Every file is read, and every key tried on its certificate, when these are made: what is wrong there is told then.
//!
//! Not done here: certificates that were revoked are not known, and files that change are not read again.

use std::{io, sync::Arc, time::Duration};

use tokio::io::AsyncReadExt;
use tokio_rustls::{
    rustls::{
        crypto::{ring, CryptoProvider},
        pki_types::ServerName,
        server::WebPkiClientVerifier,
        version::TLS13,
        AlertDescription, ClientConfig, Error as TlsError, RootCertStore, ServerConfig,
    },
    TlsAcceptor, TlsConnector,
};

use super::{
    begun::Begun,
    pem::{bad, Files},
};
use crate::{
    env::{Connection, Disk},
    error::{Error, ErrorCode, Result},
    limits::TLS_HANDSHAKE_TIMEOUT,
    types::{Address, TlsFiles, Trust},
};

/// What both sides agree to speak inside.
const HTTP2: &[u8] = b"h2";
/// What a browser or a scraper may speak instead to a node that answers such.
const HTTP1: &[u8] = b"http/1.1";

/// How a node answers connections.
pub struct ServerTls {
    acceptor: TlsAcceptor,
    patience: Duration,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// A connection of a client that has proved what it could.
pub(super) struct Known {
    pub(super) connection: Box<dyn Connection>,
    /// It has presented a certificate, which is one of the authority's.
    pub(super) has_certificate: bool,
    /// What both sides have agreed to speak; `None`: they did not talk of it.
    pub(super) agreed: Option<Spoken>,
}

impl Known {
    /// A connection in the clear.
    pub(super) fn nobody(connection: Box<dyn Connection>) -> Known {
        Known { connection, has_certificate: false, agreed: None }
    }
}

impl ServerTls {
    /// Reads what a node needs: `ca`, `cert` and `key`. `takes_http`: it speaks HTTP/1.1, too.
    ///
    /// # Errors
    /// `BAD_SETTING`; the text names the setting and the file.
    pub fn read(files: &TlsFiles, takes_http: bool, disk: &dyn Disk) -> Result<ServerTls> {
        let files = Files { files, disk };
        let believed = Arc::new(files.authorities()?);
        let (chain, key) = files.identity()?.ok_or_else(|| bad("cert", "is missing"))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(believed, provider()).allow_unauthenticated();
        let verifier = verifier.build().map_err(|error| bad("ca", &format!("is of no use: {error}")))?;
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let config = config.map_err(|error| internal(&error))?.with_client_cert_verifier(verifier);
        let mut config = config.with_single_cert(chain, key).map_err(|error| files.unfit(&error))?;
        let spoken = if takes_http { &[HTTP2, HTTP1][..] } else { &[HTTP2][..] };
        config.alpn_protocols = spoken.iter().map(|name| name.to_vec()).collect();
        Ok(ServerTls { acceptor: TlsAcceptor::from(Arc::new(config)), patience: TLS_HANDSHAKE_TIMEOUT })
    }

    /// Comes to know a client, or gives up after [`TLS_HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// It does not speak TLS 1.3, presents a certificate of another authority, is gone, or too slow.
    pub(super) async fn shake(&self, connection: Box<dyn Connection>) -> io::Result<Known> {
        let shaken = tokio::time::timeout(self.patience, self.acceptor.accept(connection)).await;
        let stream = shaken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
        let session = stream.get_ref().1;
        let has_certificate = session.peer_certificates().is_some();
        let agreed = session.alpn_protocol().map(|name| if name == HTTP1 { Spoken::Http1 } else { Spoken::Http2 });
        Ok(Known { connection: Box::new(stream), has_certificate, agreed })
    }
}

/// How a client, or a node that turns to its peers, opens connections.
pub struct ClientTls {
    connector: TlsConnector,
    /// The name that every node's certificate has to bear; `None`: the host that was connected to.
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads whom to believe, and our own certificate if there is one.
    ///
    /// # Errors
    /// `BAD_SETTING`; the text names the setting and the file.
    pub fn read(trust: &Trust, disk: &dyn Disk) -> Result<ClientTls> {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let config = config.map_err(|error| internal(&error))?;
        let (mut config, name) = match trust {
            Trust::System => (config.with_root_certificates(system_authorities()?).with_no_client_auth(), None),
            Trust::Files(files) => {
                let (name, files) = (files.server_name.clone(), Files { files, disk });
                let config = config.with_root_certificates(files.authorities()?);
                let config = match files.identity()? {
                    Some((chain, key)) => {
                        config.with_client_auth_cert(chain, key).map_err(|error| files.unfit(&error))?
                    }
                    None => config.with_no_client_auth(),
                };
                let parse = |name: String| {
                    ServerName::try_from(name).map_err(|_| bad("server_name", "is no host name or IP address"))
                };
                (config, name.map(parse).transpose()?)
            }
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(ClientTls { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Makes sure that it is the right node that listens there, and that it hears us: in TLS 1.3 a node refuses our certificate
    /// only after it has shown its own, so this waits for the first byte that comes.
    ///
    /// # Errors
    /// `CERTIFICATE_REFUSED` by either side; `UNREACHABLE`: the other side speaks no TLS 1.3, or breaks off.
    pub(super) async fn shake(&self, to: &Address, connection: Box<dyn Connection>) -> Result<Box<dyn Connection>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(to.host().to_string())
                .map_err(|_| Error::new(ErrorCode::BadAddress, format!("{to}: no certificate can bear such a name")))?,
        };
        let mut stream = self.connector.connect(name, connection).await.map_err(|error| refusal(&error))?;
        let first = stream.read_u8().await.map_err(|error| refusal(&error))?;
        Ok(Box::new(Begun::new(&[first], stream)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn internal(error: &TlsError) -> Error {
    Error::new(ErrorCode::Internal, format!("TLS 1.3 cannot be set up: {error}"))
}

/// Whom the system believes.
fn system_authorities() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut believed = RootCertStore::empty();
    // Systems have some that are too old to be understood, which nobody uses any more.
    let (added, _ignored) = believed.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let text = format!("tls: the system has no certificate authorities: {}", why.join("; "));
        return Err(Error::new(ErrorCode::BadSetting, text));
    }
    Ok(believed)
}

/// Why the two do not know each other, in words that say who has to change what.
fn refusal(error: &io::Error) -> Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return Error::new(ErrorCode::Unreachable, format!("it broke off the TLS handshake: {error}"));
    };
    match tls {
        TlsError::InvalidCertificate(why) => {
            Error::new(ErrorCode::CertificateRefused, format!("tls: the node's certificate is not believed: {why}"))
        }
        TlsError::AlertReceived(alert) if is_about_certificate(*alert) => {
            Error::new(ErrorCode::CertificateRefused, format!("tls: the node refused our certificate: {alert:?}"))
        }
        TlsError::InvalidMessage(_) => Error::new(ErrorCode::Unreachable, "it does not speak TLS"),
        other => Error::new(ErrorCode::Unreachable, format!("the TLS handshake failed: {other}")),
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}
