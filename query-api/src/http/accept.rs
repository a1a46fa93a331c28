//! Media types: what a client accepts, and what it sends.

use http::HeaderMap;
use http::header::ACCEPT;

/// How a GraphQL answer is labelled; it decides the status codes, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    GraphqlResponse,
    Json,
}

impl MediaType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }
}

/// What is sent to a client that accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    Json(MediaType),
    /// A browser asks for something to look at.
    Page,
}

/// What we can send, best first: between equals of the client's, the earlier is sent.
const OFFERS: [(&str, &str, Preference); 3] = [
    (
        "application",
        "graphql-response+json",
        Preference::Json(MediaType::GraphqlResponse),
    ),
    ("application", "json", Preference::Json(MediaType::Json)),
    ("text", "html", Preference::Page),
];

/// The best of what the client accepts; `None` where there is nothing. Without an `Accept` header,
/// and for `*/*`, it is `application/json`, which every client of GraphQL has always understood.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Preference> {
    let lines: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let ranges: Vec<_> = lines
        .iter()
        .flat_map(|line| split(line, b','))
        .filter_map(Range::parse)
        .collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        return Some(Preference::Json(MediaType::Json));
    }
    let mut best: Option<(f32, bool, Preference)> = None;
    for (kind, subtype, preference) in OFFERS {
        // The most specific range that fits an offer decides about it.
        let fitting = ranges.iter().filter(|range| range.fits(kind, subtype));
        let Some(range) = fitting.max_by_key(|range| range.specificity()) else {
            continue;
        };
        // A page is for those who name it: a wildcard is a program's.
        if range.quality <= 0.0 || (preference == Preference::Page && range.specificity() < 2) {
            continue;
        }
        let named = range.specificity() == 2;
        let better = match best {
            None => true,
            Some((quality, best_named, _)) => {
                range.quality > quality || (range.quality == quality && named && !best_named)
            }
        };
        // Under a wildcard plain JSON goes before the newer type.
        let wildcard_json = preference == Preference::Json(MediaType::Json)
            && best.is_some_and(|(quality, best_named, _)| !best_named && range.quality >= quality);
        if better || wildcard_json {
            best = Some((range.quality, named, preference));
        }
    }
    best.map(|(_, _, preference)| preference)
}

/// Whether a `Content-Type` is JSON in UTF-8.
pub(super) fn is_json_utf8(content_type: &str) -> bool {
    let mut parts = split(content_type, b';');
    let json = parts
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    json && parts
        .filter(|part| !part.trim().is_empty())
        .all(|part| match parameter(part) {
            Some((name, value)) => !name.eq_ignore_ascii_case("charset") || is_utf8(value),
            None => false,
        })
}

/// One element of an `Accept` header.
#[derive(Debug)]
struct Range<'h> {
    kind: &'h str,
    subtype: &'h str,
    quality: f32,
}

impl<'h> Range<'h> {
    /// `None` where it cannot be read, or asks for what we never send (another charset).
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = split(text, b';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let mut quality = 1.0;
        for part in parts.filter(|part| !part.trim().is_empty()) {
            let (name, value) = parameter(part)?;
            if name.eq_ignore_ascii_case("q") {
                quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
            } else if name.eq_ignore_ascii_case("charset") && !is_utf8(value) {
                return None;
            }
        }
        Some(Self { kind, subtype, quality })
    }

    fn fits(&self, kind: &str, subtype: &str) -> bool {
        let is = |pattern: &str, name: &str| pattern == "*" || pattern.eq_ignore_ascii_case(name);
        is(self.kind, kind) && is(self.subtype, subtype) && (self.kind != "*" || self.subtype == "*")
    }

    fn specificity(&self) -> u8 {
        u8::from(self.kind != "*") + u8::from(self.subtype != "*")
    }
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// `name=value`, quotes around the value taken off.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some((name.trim(), unquoted.unwrap_or(value)))
}

/// The parts of a header between separators that stand outside quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let at = text.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == separator && !quoted
        });
        rest = at.map(|at| &text[at + 1..]);
        Some(at.map_or(text, |at| &text[..at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GRAPHQL: Option<Preference> = Some(Preference::Json(MediaType::GraphqlResponse));
    const JSON: Option<Preference> = Some(Preference::Json(MediaType::Json));
    const PAGE: Option<Preference> = Some(Preference::Page);

    fn accepts(lines: &[&str]) -> Option<Preference> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_str(line).unwrap());
        }
        preferred(&headers)
    }

    #[test]
    fn the_client_decides_what_it_is_sent() {
        for (accept, expected) in [
            ("application/graphql-response+json", GRAPHQL),
            ("application/json", JSON),
            ("APPLICATION/JSON", JSON),
            ("*/*", JSON),
            ("application/*", JSON),
            ("", JSON),
            ("application/graphql-response+json, application/json", GRAPHQL),
            ("application/json, application/graphql-response+json", GRAPHQL),
            (
                "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
                GRAPHQL,
            ),
            ("application/json, application/graphql-response+json;q=0.9", JSON),
            ("application/graphql-response+json;q=0.5, */*;q=0.1", GRAPHQL),
            ("application/graphql-response+json;q=0, */*", JSON),
            (
                "application/graphql-response+json, application/json;q=0.9, */*;q=0.1",
                GRAPHQL,
            ),
            ("application/json; charset=\"UTF-8\"", JSON),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PAGE),
            ("text/html;q=0.5, application/json", JSON),
            ("text/*", None),
            ("text/plain", None),
            ("application/json; charset=iso-8859-1", None),
            ("application/json;q=0", None),
            ("application/json;q=2", None),
            ("nonsense", None),
            ("application/xml, */*;q=0", None),
        ] {
            assert_eq!(accepts(&[accept]), expected, "{accept}");
        }
    }

    #[test]
    fn given_several_headers_then_they_are_one_list() {
        assert_eq!(accepts(&["text/plain", "application/graphql-response+json"]), GRAPHQL);
        assert_eq!(accepts(&[]), JSON);
    }

    #[test]
    fn only_json_in_utf8_is_taken() {
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
        ] {
            assert!(is_json_utf8(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=utf-16",
            "application/graphql",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "application/json garbage",
        ] {
            assert!(!is_json_utf8(bad), "{bad}");
        }
    }
}
