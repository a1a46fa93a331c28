//! One pass over a document's text, before it is parsed.

use async_graphql::ServerError;

use super::{Limits, exceeded};

/// Refuses a document that is too long, has too many tokens or nests its brackets too deep.
/// Whether it is GraphQL at all is the parser's to say.
pub(crate) fn scan(document: &str, limits: &Limits) -> Result<(), ServerError> {
    let as_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    if document.len() > limits.document_bytes {
        let message = format!("The document is longer than {} bytes.", limits.document_bytes);
        return Err(exceeded(
            "documentBytes",
            as_u64(limits.document_bytes),
            as_u64(document.len()),
            message,
        ));
    }
    let (mut tokens, mut nesting) = (0_usize, 0_usize);
    for token in Tokens(document.as_bytes()) {
        tokens += 1;
        match token {
            Token::Open => nesting += 1,
            Token::Close => nesting = nesting.saturating_sub(1),
            Token::Other => {}
        }
        if tokens > limits.tokens {
            let message = format!("The document has more than {} tokens.", limits.tokens);
            return Err(exceeded("tokens", as_u64(limits.tokens), as_u64(tokens), message));
        }
        if nesting > limits.nesting {
            let message = format!("The document nests brackets more than {} deep.", limits.nesting);
            return Err(exceeded("nesting", as_u64(limits.nesting), as_u64(nesting), message));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Token {
    Open,
    Close,
    Other,
}

struct Tokens<'d>(&'d [u8]);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let (&byte, rest) = self.0.split_first()?;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => self.0 = rest,
                b'#' => self.0 = after(rest, |byte| byte == b'\n'),
                b'{' | b'[' | b'(' => return self.take(1, Token::Open),
                b'}' | b']' | b')' => return self.take(1, Token::Close),
                b'"' if self.0.starts_with(b"\"\"\"") => {
                    let length = block_string(self.0);
                    return self.take(length, Token::Other);
                }
                b'"' => {
                    let length = string(self.0);
                    return self.take(length, Token::Other);
                }
                byte if is_word(byte) => {
                    let length = self.0.iter().position(|&byte| !is_word(byte)).unwrap_or(self.0.len());
                    return self.take(length, Token::Other);
                }
                _ => return self.take(1, Token::Other),
            }
        }
    }
}

impl Tokens<'_> {
    fn take(&mut self, length: usize, token: Token) -> Option<Token> {
        self.0 = &self.0[length.min(self.0.len())..];
        Some(token)
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What follows the first byte that ends a run.
fn after(bytes: &[u8], ends: impl Fn(u8) -> bool) -> &[u8] {
    bytes
        .iter()
        .position(|&byte| ends(byte))
        .map_or(&[], |at| &bytes[at + 1..])
}

/// The length of the string that `bytes` starts with; an unclosed one ends with its line.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' | b'\n' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of the block string that `bytes` starts with.
fn block_string(bytes: &[u8]) -> usize {
    let mut at = 3;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if bytes[at..].starts_with(b"\"\"\"") {
            return at + 3;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::code_of;
    use service::settings::QuerySettings;

    fn limits() -> Limits {
        Limits::new(&QuerySettings::default())
    }

    #[test]
    fn tokens_are_counted_as_graphql_counts_them() {
        let count = |text: &str| Tokens(text.as_bytes()).count();
        assert_eq!(count("{ order(id: \"a{{{\") { id } } # {{{"), 11);
        assert_eq!(count(r#"""" a \""" { "" """ b"#), 2);
        assert_eq!(count(r#""a \" b" c"#), 2);
        assert_eq!(count("\"unclosed\nname"), 2);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn given_brackets_inside_strings_and_comments_then_they_do_not_nest() {
        let text = format!("{{ a(b: \"{}\") }} # {}", "{".repeat(500), "{".repeat(500));
        assert!(scan(&text, &limits()).is_ok());
    }

    #[test]
    fn given_too_much_of_anything_then_the_limit_is_named() {
        for (text, limit) in [
            ("x".repeat(40_000), "documentBytes"),
            ("{a".repeat(60), "nesting"),
            ("[".repeat(10_000), "nesting"),
            ("a ".repeat(5_000), "tokens"),
        ] {
            let error = scan(&text, &limits()).unwrap_err();
            assert_eq!(code_of(&error), Some("LIMIT_EXCEEDED"));
            assert_eq!(
                error.extensions.unwrap().get("limit").unwrap(),
                &async_graphql::Value::from(limit)
            );
        }
    }
}
