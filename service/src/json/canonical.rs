//! One spelling for each JSON value, so that equal bodies have equal fingerprints.
//!
//! Keys are sorted by code point, insignificant white space is gone, strings have one escaping.
//! Numbers keep the text they came in: `1.0` and `1` may be the same number, but they are not the
//! same request, and no conversion can then lose a digit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Deepest nesting accepted; serde_json's own limit.
const MAX_DEPTH: usize = 127;

/// Why bytes are not JSON that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("the body is not UTF-8 at byte {offset}")]
    InvalidUtf8 { offset: usize },
    #[error("the body is not JSON: {detail}")]
    Malformed { detail: String },
    #[error("the body nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("the key `{key}` appears twice in one object")]
    DuplicateKey { key: String, pointer: String },
}

/// SHA-256, in hex, of the canonical JSON.
///
/// # Errors
/// [`JsonError`] where the bytes are not JSON, or a key appears twice: then there is no telling
/// which value was meant.
pub fn fingerprint(body: &[u8]) -> Result<String, JsonError> {
    Ok(hex::encode(Sha256::digest(canonical(body)?.as_bytes())))
}

/// The canonical spelling.
///
/// # Errors
/// As [`fingerprint`].
pub fn canonical(body: &[u8]) -> Result<String, JsonError> {
    let mut out = String::with_capacity(body.len());
    parse(body)?.write(&mut out);
    Ok(out)
}

/// Whether the bytes are JSON that we read.
pub(super) fn check(body: &[u8]) -> Result<&str, JsonError> {
    parse(body)?;
    // `parse` has seen that it is UTF-8.
    std::str::from_utf8(body).map_err(|error| JsonError::InvalidUtf8 {
        offset: error.valid_up_to(),
    })
}

fn parse(body: &[u8]) -> Result<Node<'_>, JsonError> {
    let text = std::str::from_utf8(body).map_err(|error| JsonError::InvalidUtf8 {
        offset: error.valid_up_to(),
    })?;
    // serde_json judges the grammar and words the error; what follows may then rely on it.
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let detail = if text.trim().is_empty() {
            "it is empty".to_owned()
        } else {
            error.to_string()
        };
        return Err(JsonError::Malformed { detail });
    }
    Parser {
        text,
        at: 0,
        path: Vec::new(),
    }
    .value()
}

enum Node<'a> {
    /// Numbers, `true`, `false`, `null` as they came; strings in canonical escaping.
    Scalar(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(BTreeMap<String, Node<'a>>),
}

impl Node<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Node::Scalar(text) => out.push_str(text),
            Node::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Node::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(key));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Splits text already known to be JSON.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Keys and indices from the root to here, for pointers.
    path: Vec<Cow<'a, str>>,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Node<'a>, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Node::Scalar(quoted(&self.string()?).into())),
            _ => Ok(Node::Scalar(self.literal()?.into())),
        }
    }

    fn object(&mut self) -> Result<Node<'a>, JsonError> {
        self.enter()?;
        let mut members = BTreeMap::new();
        while !self.closes(b'}') {
            let key = self.string()?;
            self.skip_space();
            self.at += 1; // ':'
            self.path.push(key.clone().into());
            let value = self.value()?;
            if members.contains_key(&key) {
                return Err(JsonError::DuplicateKey {
                    key,
                    pointer: pointer(&self.path),
                });
            }
            self.path.pop();
            members.insert(key, value);
        }
        Ok(Node::Object(members))
    }

    fn array(&mut self) -> Result<Node<'a>, JsonError> {
        self.enter()?;
        let mut items = Vec::new();
        while !self.closes(b']') {
            self.path.push(items.len().to_string().into());
            items.push(self.value()?);
            self.path.pop();
        }
        Ok(Node::Array(items))
    }

    /// Steps over an opening bracket.
    fn enter(&mut self) -> Result<(), JsonError> {
        // The path has one part per enclosing bracket.
        if self.path.len() >= MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over a comma, or over the closing bracket, which it reports.
    fn closes(&mut self, bracket: u8) -> bool {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
        let closes = self.peek().is_none_or(|byte| byte == bracket);
        self.at += usize::from(closes);
        closes
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let token = self.text.get(self.at..=end).ok_or_else(|| unreadable(self.at))?;
        // Half a surrogate pair passes for grammar, but is no text.
        let text = serde_json::from_str(token).map_err(|_| JsonError::Malformed {
            detail: format!("the string at byte {} is not Unicode text", self.at),
        })?;
        self.at = end + 1;
        Ok(text)
    }

    fn literal(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.text.get(self.at..).ok_or_else(|| unreadable(self.at))?;
        let length = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        if length == 0 {
            return Err(unreadable(self.at));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

fn unreadable(at: usize) -> JsonError {
    JsonError::Malformed {
        detail: format!("cannot be read at byte {at}"),
    }
}

/// RFC 6901.
pub(super) fn pointer<T: AsRef<str>>(path: &[T]) -> String {
    let mut pointer = String::new();
    for part in path {
        pointer.push('/');
        pointer.push_str(&part.as_ref().replace('~', "~0").replace('/', "~1"));
    }
    pointer
}
