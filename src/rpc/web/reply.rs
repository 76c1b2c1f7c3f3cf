//! What goes back to whoever asks over plain HTTP.

use bytes::Bytes;
use http::{
    header::{HeaderName, CONTENT_LENGTH, CONTENT_TYPE},
    HeaderValue, Method, Response, StatusCode,
};
use http_body_util::Full;
use tonic::body::Body;

/// An answer.
pub(in crate::rpc) type Reply = Response<Body>;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A page of another site learns nothing from an answer, a browser keeps none, and takes none for what it is not.
const ALWAYS: [(HeaderName, &str); 5] = [
    (http::header::CACHE_CONTROL, "no-store"),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::X_FRAME_OPTIONS, "DENY"),
    (http::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Something whole.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut reply = Response::new(Body::new(Full::new(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CONTENT_LENGTH, length);
    reply
}

/// A sentence for people.
pub(super) fn sentence(status: StatusCode, text: &str) -> Reply {
    whole(status, TEXT, format!("{text}\n"))
}

/// A sentence with a header that says more to programs.
pub(super) fn sentence_with(status: StatusCode, text: &str, (name, value): (HeaderName, &'static str)) -> Reply {
    let mut reply = sentence(status, text);
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

/// What every answer has; `HEAD` has nothing else.
pub(super) fn finished(mut reply: Reply, method: &Method) -> Reply {
    for (name, value) in ALWAYS {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if method == Method::HEAD {
        *reply.body_mut() = Body::empty();
    }
    reply
}
