//! Plain HTTP beside gRPC, on the same port, for people with a browser and for machines that watch: a node has it with the setting
//! `http`.
//!
//! | path | what | asks for the token |
//! | --- | --- | --- |
//! | `/` | the dashboard, which asks what is below: see [`page`] | no |
//! | `/healthz` | the process is there | no |
//! | `/readyz` | 200: the node takes requests; 503: it reads its data, has not caught up, is stopped or unfit | no |
//! | `/metrics` | every series, as Prometheus reads them | yes |
//! | `/api/v1/...` | JSON, and a live stream: see [`api`] | yes |
//!
//! Promises:
//! * Nothing is changed by what is asked here: `GET` and `HEAD` are all there is, and neither has a body.
//! * What is asked in the name of another host is refused before anything else is looked at: see [`names`].
//! * Connections and requests are counted apart from those of gRPC and are few; a slow or silent one loses its place: see
//!   [`connection`].
//!
//! HTTP/1.1 comes from [`connection`]; over HTTP/2 whatever is no gRPC call comes from the routes of the server.

mod api;
pub(super) mod connection;
mod data;
mod json;
mod live;
mod names;
mod page;
mod query;
mod reply;

use std::sync::Arc;

use http::{
    header::{ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE},
    request::Parts,
    HeaderMap, Method, StatusCode,
};
use tokio::sync::Semaphore;

use self::{
    api::Subject,
    names::NotOurs,
    page::Part,
    reply::{finished, sentence, sentence_with, whole},
};
pub(super) use self::{names::Names, reply::Reply};
use super::{connection::Standing, gate::Gate, host::Host, phase::PhaseWatch};
use crate::{
    limits::{HTTP_CONNECTIONS_MAX, HTTP_LIVE_MAX, HTTP_REQUESTS_MAX},
    types::{metrics, metrics_text},
};

/// The format that Prometheus has read from the beginning.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers what is asked over plain HTTP.
pub(super) struct Web {
    names: Arc<Names>,
    gate: Gate,
    /// `None`: the node still reads its data.
    host: Option<Arc<dyn Host>>,
    phase: PhaseWatch,
    /// Places for HTTP/1.1 connections.
    connections: Arc<Semaphore>,
    /// Places for requests that are worked on.
    requests: Semaphore,
    /// Places for live streams.
    streams: Arc<Semaphore>,
}

/// What there is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Health,
    Readiness,
    Metrics,
    Api(Subject),
    Dashboard(Part),
}

impl Page {
    fn at(path: &str) -> Option<Page> {
        match path {
            "/healthz" => Some(Page::Health),
            "/readyz" => Some(Page::Readiness),
            "/metrics" => Some(Page::Metrics),
            _ => match path.strip_prefix("/api/v1/") {
                Some(name) => Subject::named(name).map(Page::Api),
                None => Part::at(path).map(Page::Dashboard),
            },
        }
    }

    /// Load balancers have no token, and learn hardly anything.
    fn is_for_everybody(self) -> bool {
        match self {
            Page::Health | Page::Readiness | Page::Dashboard(_) => true,
            Page::Metrics | Page::Api(_) => false,
        }
    }
}

impl Web {
    /// What a node that is `host`, or one that still reads its data, answers; `None`: it speaks gRPC alone.
    pub(super) fn behind(gate: &Gate, host: Option<Arc<dyn Host>>, phase: &PhaseWatch) -> Option<Arc<Web>> {
        let names = gate.names()?.clone();
        let connections = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
        let requests = Semaphore::new(HTTP_REQUESTS_MAX);
        let streams = Arc::new(Semaphore::new(HTTP_LIVE_MAX));
        let (gate, phase) = (gate.clone(), phase.clone());
        Some(Arc::new(Web { names, gate, host, phase, connections, requests, streams }))
    }

    /// The answer to a request. Its body is not looked at: none has one.
    pub(super) async fn answer(&self, parts: &Parts) -> Reply {
        let reply = match self.admit(parts) {
            Ok(page) => self.page(page, parts.uri.query().unwrap_or_default()).await,
            Err(refusal) => *refusal,
        };
        finished(reply, &parts.method)
    }

    /// What is asked for, if whoever asks may.
    fn admit(&self, parts: &Parts) -> Result<Page, Box<Reply>> {
        self.names.check(parts).map_err(|why| Box::new(refusal_of_name(&why)))?;
        let refuse = |status, text: &str| Err(Box::new(sentence(status, text)));
        let Some(page) = Page::at(parts.uri.path()) else {
            return refuse(
                StatusCode::NOT_FOUND,
                "there is nothing here; look at /, /api/v1/status, /metrics, /healthz or /readyz",
            );
        };
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let text = "this is read-only: GET and HEAD are all there is";
            return Err(Box::new(sentence_with(StatusCode::METHOD_NOT_ALLOWED, text, (ALLOW, "GET, HEAD"))));
        }
        if has_body(&parts.headers) {
            let text = "a request here has no body";
            return Err(Box::new(sentence_with(StatusCode::PAYLOAD_TOO_LARGE, text, (CONNECTION, "close"))));
        }
        if parts.extensions.get::<Standing>().is_some_and(Standing::is_for_nodes) {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "the places for connections that are left are for other nodes",
            );
        }
        if !page.is_for_everybody() {
            let said = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
            let challenge = (WWW_AUTHENTICATE, "Bearer");
            self.gate
                .judge(said)
                .map_err(|error| Box::new(sentence_with(StatusCode::UNAUTHORIZED, error.message(), challenge)))?;
        }
        Ok(page)
    }

    async fn page(&self, page: Page, query: &str) -> Reply {
        let Ok(_place) = self.requests.try_acquire() else {
            let text = format!("{HTTP_REQUESTS_MAX} requests are worked on; try again");
            return sentence_with(StatusCode::SERVICE_UNAVAILABLE, &text, (RETRY_AFTER, "1"));
        };
        match page {
            Page::Dashboard(part) => part.reply(),
            Page::Api(subject) => self.tell(subject, query).await,
            Page::Health => sentence(StatusCode::OK, "ok"),
            Page::Readiness => match self.ready_host() {
                Ok(_) => sentence(StatusCode::OK, "ready"),
                Err(why) => sentence(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            Page::Metrics => match &self.host {
                Some(host) => {
                    let text = metrics_text(&metrics(&host.status(false), &host.members()));
                    whole(StatusCode::OK, METRICS, text)
                }
                None => sentence(StatusCode::SERVICE_UNAVAILABLE, LOADING),
            },
        }
    }

    /// The node, if it takes requests; or else why it does not. No more than that: nobody has said yet who asks.
    fn ready_host(&self) -> Result<&Arc<dyn Host>, &'static str> {
        let host = self.host.as_ref().ok_or(LOADING)?;
        if self.phase.check_serving().is_err() {
            return Err("the node is being stopped");
        }
        let status = host.status(false);
        if !status.health.serving {
            return Err("the node takes no writes: its status says why");
        }
        if !status.ready {
            return Err("the node has not caught up with another one yet");
        }
        Ok(host)
    }
}

const LOADING: &str = "the node is reading its data";

fn refusal_of_name(why: &NotOurs) -> Reply {
    match why {
        NotOurs::Unnamed => {
            sentence(StatusCode::BAD_REQUEST, "host: a request says once, and only once, for whom it is")
        }
        NotOurs::Other(host) => {
            let text = format!(
                "host: {host:?} is no name of this node; use its IP address, localhost, or the host that it advertises"
            );
            sentence(StatusCode::MISDIRECTED_REQUEST, &text)
        }
    }
}

/// Whether something follows the head of a request.
fn has_body(headers: &HeaderMap) -> bool {
    let is_empty = |length: &http::HeaderValue| length.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(|length| !is_empty(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_follow_a_head_is_a_body() {
        let cases: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("content-length", "0")], false),
            (&[("content-length", "1")], true),
            (&[("content-length", "0"), ("content-length", "5")], true),
            (&[("content-length", "x")], true),
            (&[("transfer-encoding", "chunked")], true),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            assert_eq!(has_body(&headers), expected, "{lines:?}");
        }
    }
}
