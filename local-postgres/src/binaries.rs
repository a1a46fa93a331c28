//! Finding PostgreSQL's programs. Debian and Ubuntu keep them outside `PATH`,
//! one folder per major version; elsewhere `pg_config` or `PATH` knows.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The oldest major version that Comanda runs on.
pub(crate) const OLDEST: u32 = 15;

const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    folder: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    /// The newest installation, or the one of the major version that existing
    /// data asks for. `only` restricts the search to one folder.
    pub(crate) fn find(only: Option<&Path>, wanted: Option<u32>) -> Result<Self, Error> {
        let folders = only.map_or_else(candidates, |folder| vec![folder.to_owned()]);
        let found = folders.iter().filter_map(|folder| Self::in_folder(folder));
        choose(found, wanted).ok_or_else(|| Error::NoPostgres {
            looked_in: folders
                .iter()
                .map(|f| f.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let said = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&said.stdout))?;
        Some(Self {
            folder: folder.to_owned(),
            major,
        })
    }
}

fn choose(found: impl Iterator<Item = Binaries>, wanted: Option<u32>) -> Option<Binaries> {
    found
        .filter(|it| it.major >= OLDEST && wanted.is_none_or(|major| it.major == major))
        // The first of equals: the order of the search is an order of preference.
        .fold(None, |best: Option<Binaries>, it| match best {
            Some(best) if best.major >= it.major => Some(best),
            _ => Some(it),
        })
}

fn candidates() -> Vec<PathBuf> {
    let debian = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|it| PathBuf::from(String::from_utf8_lossy(&it.stdout).trim()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = debian.chain(told).chain(std::env::split_paths(&path)).collect();
    all.retain(|folder| folder.join("postgres").is_file());
    if all.is_empty() {
        all.extend([PathBuf::from(DEBIAN), PathBuf::from("PATH")]);
    }
    all
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15; `17beta1` is 17.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &str, major: u32) -> Binaries {
        Binaries {
            folder: folder.into(),
            major,
        }
    }

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(major_of("bash 5.2"), None);
    }

    #[test]
    fn the_newest_is_chosen_and_old_ones_never() {
        let found = || [at("/a", 15), at("/b", 17), at("/c", 17), at("/d", 13)].into_iter();
        assert_eq!(choose(found(), None), Some(at("/b", 17)));
        assert_eq!(choose(found(), Some(15)), Some(at("/a", 15)));
        assert_eq!(choose(found(), Some(16)), None);
        assert_eq!(choose(found(), Some(13)), None);
    }

    #[test]
    fn a_folder_without_postgres_is_refused_with_a_remedy() {
        let error = Binaries::find(Some(Path::new("/nowhere")), None).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
        assert!(error.remedy().contains("scripts/setup"));
    }
}
