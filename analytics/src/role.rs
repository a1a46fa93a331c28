//! Names and passwords of roles, which go into statements that take no parameters.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A role's name, safe in any statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl FromStr for RoleName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        // PostgreSQL keeps names that begin with pg_ for itself.
        if begins && name.len() <= 63 && name.chars().all(legal) && !name.starts_with("pg_") {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::RoleName(name.to_owned()))
        }
    }
}

/// A password of hexadecimal digits, drawn by the server.
#[derive(Clone, PartialEq, Eq)]
pub struct RolePassword(pub(crate) String);

impl RolePassword {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RolePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RolePassword")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_end_a_statement_is_none() {
        assert_eq!("analyst_1".parse::<RoleName>().unwrap().to_string(), "\"analyst_1\"");
        for name in ["", "1a", "a\"b", "a;b", "A", "pg_x", "a b", &"a".repeat(64)] {
            assert!(name.parse::<RoleName>().is_err(), "{name}");
        }
    }
}
