//! Personal data as it is stored.

use serde::{Deserialize, Serialize};

use crate::Text;

/// How the text of a personal field is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// Stored as it is.
    #[default]
    None,
}

/// A field about a person: a name, a contact, a free note.
///
/// An append-only log cannot delete, so such fields carry whom they are about (`subject`) and how
/// they are encrypted (`enc`). Today that is `none`; with a key per subject, destroying the key
/// erases the field everywhere without rewriting one event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// Whom the field is about: `customer/<id>` or, for a guest, `order/<id>`.
    pub subject: String,
    pub enc: Encryption,
    /// The text, encrypted as `enc` says.
    pub ct: Text,
}

impl Personal {
    pub fn plain(subject: &str, text: Text) -> Self {
        Self {
            subject: subject.to_owned(),
            enc: Encryption::None,
            ct: text,
        }
    }

    /// The readable text.
    pub fn text(&self) -> &str {
        match self.enc {
            Encryption::None => self.ct.as_str(),
        }
    }
}
