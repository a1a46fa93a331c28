//! Where the data lies, when the server's user may not be able to go where the
//! person who runs us can.
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;
use crate::account::Account;

const SHARED: &str = "/var/lib/comanda";

/// The data folder as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataFolder {
    /// Nobody named it: it may lie elsewhere when it has to.
    Default(PathBuf),
    /// A person named it: there or nowhere.
    Explicit(PathBuf),
}

/// Where the data really lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub data: PathBuf,
    /// To be shown on screen: that the data is not where one would look for it.
    pub notice: Option<String>,
}

impl Located {
    fn at(data: PathBuf) -> Self {
        Self { data, notice: None }
    }

    fn elsewhere(wanted: &Path, data: PathBuf, why: &str) -> Self {
        let (shown, wanted) = (data.display(), wanted.display());
        let notice = format!("the data is in {shown}, not in {wanted}: {why} (choose with --data DIR)");
        Self {
            data,
            notice: Some(notice),
        }
    }
}

/// Settles where the data lies, and under root makes sure of the user that
/// PostgreSQL will run as. Data that exists stays where it is found.
pub fn locate(folder: &DataFolder) -> Result<Located, Error> {
    let (DataFolder::Default(path) | DataFolder::Explicit(path)) = folder;
    let wanted = absolute(path)?;
    let account = Account::for_cluster(&cluster(&wanted))?;
    decide(folder, wanted, &account)
}

/// Where [`locate`] put the data earlier; `None` where nothing was started yet.
/// For commands that look for a running platform and change nothing.
pub fn located_before(folder: &DataFolder) -> Option<PathBuf> {
    let (DataFolder::Default(path) | DataFolder::Explicit(path)) = folder;
    let wanted = absolute(path).ok()?;
    if cluster(&wanted).exists() {
        return Some(wanted);
    }
    let elsewhere = fallback(&wanted);
    (matches!(folder, DataFolder::Default(_)) && cluster(&elsewhere).exists()).then_some(elsewhere)
}

fn decide(folder: &DataFolder, wanted: PathBuf, account: &Account) -> Result<Located, Error> {
    let elsewhere = fallback(&wanted);
    let began_elsewhere = cluster(&elsewhere).exists() && !cluster(&wanted).exists();
    let reached = account.reaches(&wanted);
    match folder {
        DataFolder::Default(_) if !reached => {
            let why = format!(
                "PostgreSQL runs as the user {:?}, which cannot reach that",
                account.name()
            );
            Ok(Located::elsewhere(&wanted, elsewhere, &why))
        }
        DataFolder::Default(_) if began_elsewhere => {
            Ok(Located::elsewhere(&wanted, elsewhere, "it was begun there and stays"))
        }
        DataFolder::Explicit(_) if !reached => Err(Error::OutOfReach {
            folder: wanted,
            account: account.name(),
        }),
        DataFolder::Default(_) | DataFolder::Explicit(_) => Ok(Located::at(wanted)),
    }
}

fn cluster(data: &Path) -> PathBuf {
    data.join("postgres").join("cluster")
}

/// A folder below [`SHARED`] named after the one that is out of reach: the same
/// every time, another for every checkout, and readable.
pub(crate) fn fallback(wanted: &Path) -> PathBuf {
    let digest = hex::encode(Sha256::digest(wanted.as_os_str().as_encoded_bytes()));
    let parent = wanted
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned());
    let readable: String = parent
        .unwrap_or_else(|| "data".to_owned())
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    Path::new(SHARED).join(format!("{readable}-{}", &digest[..8]))
}

/// Absolute and, as far as it exists, free of links.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let whole = std::path::absolute(path).map_err(Error::io("find", path))?;
    let existing = whole.ancestors().find_map(|it| Some((it, it.canonicalize().ok()?)));
    Ok(match existing {
        Some((ancestor, real)) => match whole.strip_prefix(ancestor) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_is_stable_readable_and_one_per_checkout() {
        let one = fallback(Path::new("/root/my shop/.comanda"));
        assert_eq!(one, Path::new("/var/lib/comanda/my_shop-62eec54f"));
        assert_ne!(one, fallback(Path::new("/root/other/my shop/.comanda")));
        assert_eq!(fallback(Path::new("/")).parent(), Some(Path::new(SHARED)));
    }

    #[test]
    fn a_path_becomes_absolute_and_free_of_links() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        assert_eq!(
            absolute(&folder.path().join("link/new/data")).unwrap(),
            real.join("new/data")
        );
        assert_eq!(absolute(&folder.path().join("link")).unwrap(), real);
        assert_eq!(
            absolute(Path::new("new")).unwrap(),
            std::env::current_dir().unwrap().canonicalize().unwrap().join("new")
        );
    }
}
