//! The headers of a command: `Idempotency-Key`, `If-Match`, `If-None-Match`, `Comanda-Position`.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, header};
use domain::Sequence;
use event_store::PositionToken;
use service::problem::Problem;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub(crate) const POSITION: HeaderName = HeaderName::from_static("comanda-position");

/// The longest idempotency key, in characters.
const MAX_KEY_LEN: usize = 255;

/// A client's name for one attempt at a command, so that it can be repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key, bare or quoted.
    ///
    /// # Errors
    /// 400 where it is empty, too long, or not printable ASCII.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        let bare = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let readable = bare.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"');
        if bare.trim().is_empty() || bare.len() > MAX_KEY_LEN || !readable {
            return Err(Problem::invalid_parameter(
                IDEMPOTENCY_KEY.as_str(),
                format!("Idempotency-Key must be 1 to {MAX_KEY_LEN} printable ASCII characters"),
            ));
        }
        Ok(Self(bare.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The one value of a header, as text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::invalid_parameter(
            name.as_str(),
            format!("{name} must be sent once"),
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| Problem::invalid_parameter(name.as_str(), format!("{name} must be printable ASCII")))?;
    Ok(Some(text.trim()))
}

/// The `Idempotency-Key`, bare or quoted.
///
/// # Errors
/// 400 where it is empty, too long, or not printable ASCII.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    IdempotencyKey::read(text).map(Some)
}

/// What must hold of the stored version for a command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    if_match: Option<Tags>,
    /// `If-None-Match: *`: only where nothing is there yet.
    if_absent: bool,
}

impl Precondition {
    /// # Errors
    /// 400 where a header cannot be read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let if_match = tags(headers, &header::IF_MATCH)?;
        let if_absent = match tags(headers, &header::IF_NONE_MATCH)? {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::Listed(_)) => {
                return Err(Problem::invalid_parameter(
                    "if-none-match",
                    "a command takes only If-None-Match: *",
                ));
            }
        };
        Ok(Self { if_match, if_absent })
    }

    pub(crate) fn forbids_existing(&self) -> bool {
        self.if_absent
    }

    /// Whether `If-Match` holds. Weak tags never do: they promise no more than a likeness.
    pub(crate) fn holds(&self, current: Sequence) -> bool {
        match &self.if_match {
            None => true,
            Some(Tags::Any) => current > Sequence::NONE,
            Some(Tags::Listed(tags)) => tags.iter().any(|tag| !tag.weak && tag.names(current)),
        }
    }
}

/// Whether a reader's copy is still current (`If-None-Match`, compared weakly).
///
/// # Errors
/// 400 where the header cannot be read.
pub(crate) fn is_current(headers: &HeaderMap, current: Sequence) -> Result<bool, Problem> {
    Ok(match tags(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::Listed(tags)) => tags.iter().any(|tag| tag.names(current)),
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    Listed(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: String,
}

impl Tag {
    fn names(&self, version: Sequence) -> bool {
        self.opaque == version.to_string()
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let Some(text) = single(headers, name)? else {
        return Ok(None);
    };
    if text == "*" {
        return Ok(Some(Tags::Any));
    }
    let listed: Option<Vec<Tag>> = text.split(',').map(|tag| parse_tag(tag.trim())).collect();
    listed.map(|tags| Some(Tags::Listed(tags))).ok_or_else(|| {
        Problem::invalid_parameter(
            name.as_str(),
            format!("{name} must be * or quoted entity tags such as \"3\""),
        )
    })
}

/// Our tags hold no commas, so that splitting at them tears none of ours.
fn parse_tag(text: &str) -> Option<Tag> {
    let (weak, text) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
    let opaque = text.strip_prefix('"')?.strip_suffix('"')?;
    (!opaque.contains('"')).then(|| Tag {
        weak,
        opaque: opaque.to_owned(),
    })
}

/// How far the client has read. A command that carries it is judged by the log itself.
///
/// # Errors
/// 400 where it is not a position token.
pub(crate) fn position(headers: &HeaderMap) -> Result<Option<PositionToken>, Problem> {
    let Some(text) = single(headers, &POSITION)? else {
        return Ok(None);
    };
    let token = text.parse().map_err(|_| {
        Problem::invalid_parameter(
            POSITION.as_str(),
            "Comanda-Position must be a token that an answer carried",
        )
    })?;
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn given_a_quoted_key_then_it_equals_the_bare_one() {
        let bare = idempotency_key(&headers(&[("idempotency-key", "abc-1")])).unwrap();
        let quoted = idempotency_key(&headers(&[("idempotency-key", "\"abc-1\"")])).unwrap();
        assert_eq!(bare, quoted);
        assert_eq!(bare.unwrap().as_str(), "abc-1");
    }

    #[test]
    fn given_an_unusable_key_then_it_is_refused() {
        let long = "k".repeat(256);
        for key in ["", "\"\"", "a\"b", long.as_str()] {
            assert!(
                idempotency_key(&headers(&[("idempotency-key", key)])).is_err(),
                "{key:?}"
            );
        }
        let twice = headers(&[("idempotency-key", "a"), ("idempotency-key", "b")]);
        assert!(idempotency_key(&twice).is_err());
    }

    #[test]
    fn given_if_match_then_only_the_strong_current_tag_holds() {
        let holds = |value: &str| {
            Precondition::of(&headers(&[("if-match", value)]))
                .unwrap()
                .holds(Sequence(3))
        };
        assert!(holds("\"3\""));
        assert!(holds("\"2\", \"3\""));
        assert!(holds("*"));
        assert!(!holds("\"2\""));
        assert!(!holds("W/\"3\""));
        assert!(!holds("\"03\""));
    }

    #[test]
    fn given_if_match_any_and_nothing_stored_then_it_does_not_hold() {
        assert!(
            !Precondition::of(&headers(&[("if-match", "*")]))
                .unwrap()
                .holds(Sequence::NONE)
        );
    }

    #[test]
    fn given_unreadable_tags_then_they_are_refused() {
        for value in ["3", "\"3", "", "\"1\" \"2\""] {
            assert!(Precondition::of(&headers(&[("if-match", value)])).is_err(), "{value:?}");
        }
        assert!(Precondition::of(&headers(&[("if-none-match", "\"1\"")])).is_err());
    }

    #[test]
    fn given_a_reader_s_weak_tag_then_it_is_compared_weakly() {
        assert!(is_current(&headers(&[("if-none-match", "W/\"3\"")]), Sequence(3)).unwrap());
        assert!(!is_current(&headers(&[("if-none-match", "\"2\"")]), Sequence(3)).unwrap());
    }
}
