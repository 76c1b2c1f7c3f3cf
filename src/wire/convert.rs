//! Conversions, both ways; a message that cannot be converted is refused with the name of the bad field.

use crate::error::{Error, ErrorCode};

/// A message that breaks a rule of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct ConvertError {
    /// The path of the field, such as `changes.key`.
    pub field: &'static str,
    /// Which rule it breaks.
    pub why: String,
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Error {
        Error::new(ErrorCode::MalformedMessage, error.to_string())
    }
}
