//! The dashboard: one page, its style and its script, which are in the program and need no other file. They say nothing about the
//! node, so they are for everybody; what the script then asks is not. The page may load, run and ask nothing but what comes from
//! the node, and runs no script that stands in it.

use http::{header::CONTENT_SECURITY_POLICY, HeaderValue, StatusCode};

use super::reply::{whole, Reply};

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/dashboard.css");
const SCRIPT: &str = include_str!("page/dashboard.js");

/// Where a browser can, the last rule makes it refuse to turn any text into HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// A part of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Page,
    Style,
    Script,
}

impl Part {
    /// That of a path.
    pub(super) fn at(path: &str) -> Option<Part> {
        match path {
            "/" => Some(Part::Page),
            "/ui/dashboard.css" => Some(Part::Style),
            "/ui/dashboard.js" => Some(Part::Script),
            _ => None,
        }
    }

    /// The part.
    pub(super) fn reply(self) -> Reply {
        let (kind, text) = match self {
            Part::Page => ("text/html; charset=utf-8", HTML),
            Part::Style => ("text/css; charset=utf-8", STYLE),
            Part::Script => ("text/javascript; charset=utf-8", SCRIPT),
        };
        let mut reply = whole(StatusCode::OK, kind, text);
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What turns text into HTML or code, or keeps a token beyond the page.
    const NEVER: [&str; 9] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "localStorage",
        "document.cookie",
        "DOMParser",
    ];

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(HTML.len() + STYLE.len() + SCRIPT.len() < 60_000);
        for text in [HTML, STYLE, SCRIPT] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("@import"));
        }
    }

    #[test]
    fn the_page_obeys_its_policy() {
        for text in ["<script>", "<style", " style=", " onclick", " onload", "javascript:"] {
            assert!(!HTML.contains(text), "{text}");
        }
        for text in NEVER {
            assert!(!SCRIPT.contains(text), "{text}");
        }
        for path in ["/ui/dashboard.css", "/ui/dashboard.js"] {
            assert!(HTML.contains(path) && Part::at(path).is_some(), "{path}");
        }
    }
}
