//! What stands after the `?` of a request: names and values, percent-encoded, so that a value may be any bytes.

use percent_encoding::{percent_decode_str, percent_encode, AsciiSet, NON_ALPHANUMERIC};

use crate::error::{Error, ErrorCode, Result};

/// Each name once, with its value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Takes a query apart.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: a name stands there twice, or is none of `known`; something is not percent-encoded.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Query> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                return Err(bad(format!("{name:?}: there is no such parameter; there are: {}", known.join(", "))));
            }
            if found.iter().any(|(other, _)| other == name) {
                return Err(bad(format!("{name}: it is said twice")));
            }
            let value = decode(value).ok_or_else(|| bad(format!("{name}: it is not percent-encoded")))?;
            found.push((name.to_string(), value));
        }
        Ok(Query(found))
    }

    /// The bytes of a value; `None`: it was not said.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }

    /// A value as text, or an empty one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it is none.
    pub(super) fn text(&self, name: &str) -> Result<&str> {
        let bytes = self.bytes(name).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| bad(format!("{name}: it is no UTF-8")))
    }

    /// A value as a number of at least 1 and at most `most`; `default` when it was not said.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it is no such number.
    pub(super) fn count(&self, name: &str, default: usize, most: usize) -> Result<usize> {
        let Some(bytes) = self.bytes(name) else { return Ok(default) };
        let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<usize>().ok());
        let within = number.filter(|number| (1..=most).contains(number));
        within.ok_or_else(|| bad(format!("{name}: it is no number from 1 to {most}")))
    }

    /// Whether something was said to be so: `1` or `true`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: neither yes nor no was said.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.bytes(name) {
            None | Some(b"0" | b"false") => Ok(false),
            Some(b"1" | b"true") => Ok(true),
            Some(_) => Err(bad(format!("{name}: it is neither 1 nor 0"))),
        }
    }
}

fn bad(text: String) -> Error {
    Error::new(ErrorCode::InvalidArgument, text)
}

/// The bytes of a value; a `+` is a space, as forms write it. `None`: a `%` is not followed by two hexadecimal digits, which
/// the library would let stand.
fn decode(text: &str) -> Option<Vec<u8>> {
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_encoded = text.split('%').skip(1).all(is_escape);
    is_encoded.then(|| percent_decode_str(&text.replace('+', " ")).collect())
}

/// Bytes as a value of a query has them, in ASCII letters, digits and what needs no escape (RFC 3986, section 2.3).
pub(super) fn encode(bytes: &[u8]) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encode(bytes, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_value_is_found_by_its_name() {
        let query = Query::parse("prefix=user%3A&limit=7&fold=1&key=a+b%2Bc", &["prefix", "limit", "fold", "key"]);
        let query = query.unwrap();
        assert_eq!(query.text("prefix"), Ok("user:"));
        assert_eq!(query.count("limit", 1, 7), Ok(7));
        assert_eq!(query.flag("fold"), Ok(true));
        assert_eq!(query.bytes("key"), Some(&b"a b+c"[..]));
        assert_eq!((query.bytes("after"), query.text("after"), query.count("x", 3, 9)), (None, Ok(""), Ok(3)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [
            ("limt=1", "limt"),
            ("limit=1&limit=2", "limit"),
            ("key=%", "key"),
            ("key=%f", "key"),
            ("key=%zz", "key"),
            ("key=%+1", "key"),
        ] {
            let refused = Query::parse(text, &["limit", "key"]).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::InvalidArgument);
            assert!(refused.message().contains(named), "{refused}");
        }
        let query = Query::parse("limit=0&key=%ff", &["limit", "key"]).unwrap();
        assert!(query.count("limit", 1, 7).is_err() && query.text("key").is_err() && query.flag("key").is_err());
        for limit in ["8", "-1", "x", "", "99999999999999999999"] {
            let query = Query::parse(&format!("limit={limit}"), &["limit"]).unwrap();
            assert!(query.count("limit", 1, 7).is_err(), "{limit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&bytes);
            prop_assert!(text.is_ascii());
            let query = Query::parse(&format!("key={text}"), &["key"]).unwrap();
            prop_assert_eq!(query.bytes("key"), Some(&bytes[..]));
        }

        #[test]
        fn no_query_is_too_strange_to_be_looked_at(text in "\\PC{0,40}") {
            let _outcome = Query::parse(&text, &["key"]);
        }
    }
}
