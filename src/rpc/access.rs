//! How nodes are reached: over which network, whether TLS hides what is said, and which token is presented.

use std::{fmt, sync::Arc};

use tokio::sync::Mutex;

use super::{
    admin_client::node_status,
    channel::{authorization, open, Channel},
    tls::ClientTls,
};
use crate::{
    config::NodeConfig,
    env::{BoxFuture, Disk, Env, Transport},
    error::{Error, ErrorCode, Result},
    types::{Address, Secret, TlsFiles, Trust},
};

/// Gives a token whenever it is asked: one that a program fetches from where it is kept.
pub trait TokenSource: Send + Sync + 'static {
    /// The token that holds now. It is not asked again before it has answered.
    ///
    /// # Errors
    /// `DENIED`: there is none; the text says why.
    fn ask(&self) -> BoxFuture<'_, Result<Secret>>;
}

/// What is presented to nodes.
#[derive(Clone, Default)]
pub enum Token {
    /// Nothing.
    #[default]
    None,
    /// Always the same.
    Fixed(Secret),
    /// What a source says, which is asked at the first connection, and again after its token was refused.
    Asked(Arc<dyn TokenSource>),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::None => "None",
            Token::Fixed(_) => "Fixed(set)",
            Token::Asked(_) => "Asked",
        })
    }
}

/// How nodes are reached. Clones share what they know.
#[derive(Clone)]
pub struct Access {
    transport: Arc<dyn Transport>,
    tls: Option<Arc<ClientTls>>,
    token: Token,
    /// The token may be sent in the clear to other machines.
    is_careless: bool,
    /// The last answer of a source. Guarded by a lock that is held while it is asked, so that it is asked once.
    answer: Arc<Mutex<Option<Secret>>>,
}

impl Access {
    /// In the clear, without a token.
    pub fn plain(transport: Arc<dyn Transport>) -> Access {
        Access { transport, tls: None, token: Token::None, is_careless: false, answer: Arc::default() }
    }

    /// As a client is told; reads the files of `trust`. `is_careless`: the token may be sent in the clear to other machines.
    ///
    /// # Errors
    /// `BAD_SETTING`; the text names the setting and the file.
    pub fn of_client(env: &Env, trust: Option<&Trust>, token: Token, is_careless: bool) -> Result<Access> {
        Access::plain(env.transport.clone()).with(trust, token, is_careless, &*env.disk)
    }

    /// As a node reaches its peers; reads the files.
    ///
    /// # Errors
    /// `BAD_SETTING`; the text names the setting and the file.
    pub fn of_node(env: &Env, config: &NodeConfig) -> Result<Access> {
        let trust = config.tls.clone().map(|files: TlsFiles| Trust::Files(files));
        let token = config.token.clone().map_or(Token::None, Token::Fixed);
        Access::plain(env.transport.clone()).with(trust.as_ref(), token, config.insecure, &*env.disk)
    }

    fn with(self, trust: Option<&Trust>, token: Token, is_careless: bool, disk: &dyn Disk) -> Result<Access> {
        let tls = trust.map(|trust| ClientTls::read(trust, disk)).transpose()?.map(Arc::new);
        Ok(Access { tls, token, is_careless, ..self })
    }

    /// Connects to a node within [`CONNECT_TIMEOUT`](crate::limits::CONNECT_TIMEOUT). A connection that falls silent is ended by
    /// keepalive. With a token that a source gives, the node is asked whether it takes it.
    ///
    /// # Errors
    /// `UNREACHABLE` when nobody listens there or nothing happens in time, `BAD_ADDRESS`, `CERTIFICATE_REFUSED`; `BAD_SETTING`
    /// when the token would be sent in the clear; `DENIED` when its source has none.
    pub async fn connect(&self, to: &Address) -> Result<Channel> {
        self.check_careful(to)?;
        let source = match &self.token {
            Token::None => return self.open(to).await,
            Token::Fixed(token) => return Ok(self.open(to).await?.presenting(authorization(token))),
            Token::Asked(source) => source,
        };
        let token = self.current(source, None).await?;
        let channel = self.open(to).await?.presenting(authorization(&token));
        match node_status(channel.clone(), false).await {
            Err(error) if error.code() == ErrorCode::TokenRefused => {
                let token = self.current(source, Some(token)).await?;
                Ok(channel.presenting(authorization(&token)))
            }
            // Whatever else is wrong, whoever asks something over it is told.
            Ok(_) | Err(_) => Ok(channel),
        }
    }

    async fn open(&self, to: &Address) -> Result<Channel> {
        open(&*self.transport, self.tls.as_deref(), to).await
    }

    /// A token must not be read by whoever is between this machine and another.
    fn check_careful(&self, to: &Address) -> Result<()> {
        let is_safe = self.tls.is_some() || self.is_careless || to.is_loopback();
        match self.token {
            Token::Fixed(_) | Token::Asked(_) if !is_safe => {
                let text = format!("token: {to} is another machine, and without tls the token can be read on its way");
                Err(Error::new(ErrorCode::BadSetting, text))
            }
            Token::None | Token::Fixed(_) | Token::Asked(_) => Ok(()),
        }
    }

    /// What the source said, or says now if that was refused. Asked by a task of its own: a caller that cannot wait gives up, and
    /// the next one finds the answer.
    async fn current(&self, source: &Arc<dyn TokenSource>, refused: Option<Secret>) -> Result<Secret> {
        let (source, answer) = (source.clone(), self.answer.clone());
        let asking = tokio::spawn(async move {
            let mut answer = answer.lock().await;
            if let Some(known) = answer.as_ref().filter(|known| refused.as_ref() != Some(*known)) {
                return Ok(known.clone());
            }
            // What was refused is not presented again when there is no answer.
            *answer = None;
            Ok(answer.insert(source.ask().await?).clone())
        });
        asking.await.map_err(|error| Error::new(ErrorCode::Internal, format!("nobody asked for the token: {error}")))?
    }
}
