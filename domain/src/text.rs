//! Free text as it may be stored.

use serde::{Deserialize, Serialize};

/// The longest free text, in characters.
pub const MAX_TEXT_LEN: usize = 2_000;

/// Why a text cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_TEXT_LEN} characters")]
    TooLong,
    // PostgreSQL's text cannot hold it, and one such value would fail the whole batch it is
    // appended with.
    #[error("must not contain the NUL character (U+0000)")]
    Nul,
}

/// Non-empty text of at most 2,000 characters without NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(with = "String", extend("minLength" = 1, "maxLength" = MAX_TEXT_LEN))]
#[serde(try_from = "String", into = "String")]
pub struct Text(String);

impl Text {
    /// # Errors
    /// [`TextError`] where the text is empty, too long or contains NUL.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(TextError::Empty);
        }
        if text.contains('\0') {
            return Err(TextError::Nul);
        }
        if text.chars().count() > MAX_TEXT_LEN {
            return Err(TextError::TooLong);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
