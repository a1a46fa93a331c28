//! Who PostgreSQL runs as. It refuses to run as root, and should: so under root
//! it gets a system user of its own, and otherwise it runs as whoever runs us.
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User, geteuid};

use crate::Error;

/// The system user that is created when the supervising process is root.
const OWN_USER: &str = "comanda";

/// The user that PostgreSQL's programs run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// Our own user; nothing to drop.
    Ourselves,
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl Account {
    /// The account for this process: our own, or under root the user `comanda`,
    /// which is created when it is missing.
    pub(crate) fn of_this_process() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        match lookup(OWN_USER) {
            Some(account) => Ok(account),
            None => create(OWN_USER),
        }
    }

    /// Like [`Account::of_this_process`], but existing data keeps its owner: what
    /// an ordinary user began, root continues as that user.
    pub(crate) fn for_cluster(cluster: &Path) -> Result<Self, Error> {
        let Ok(metadata) = cluster.metadata() else {
            return Self::of_this_process();
        };
        let (ours, owner) = (geteuid(), Uid::from_raw(metadata.uid()));
        if ours.is_root() && !owner.is_root() {
            let user = User::from_uid(owner).ok().flatten();
            let name = user.map_or_else(|| owner.to_string(), |user| user.name);
            return Ok(Self::Other {
                name,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
        if !ours.is_root() && owner != ours {
            return Err(Error::ForeignData {
                folder: cluster.to_owned(),
                owner: metadata.uid(),
            });
        }
        Self::of_this_process()
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ourselves => geteuid().to_string(),
            Self::Other { name, .. } => name.clone(),
        }
    }

    /// A program run as this account, cut off from our terminal, environment and
    /// signals: Ctrl-C must reach us alone, so that we stop PostgreSQL last, and no
    /// `PG…` or locale variable may change what it does or which language it speaks.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if let Self::Other { uid, gid, .. } = self {
            // Setting the uid as root also drops the supplementary groups.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Hands a file or folder that we made over to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(Error::io("change the owner of", path))
            }
        }
    }

    /// Whether this account can pass through the folders down to `folder`, asked
    /// of the kernel by trying it as that user: modes alone do not tell (access
    /// lists, mounts). Folders that do not exist yet are not in the way.
    pub(crate) fn reaches(&self, folder: &Path) -> bool {
        let Self::Other { .. } = self else { return true };
        let existing = folder.ancestors().find(|it| it.symlink_metadata().is_ok());
        let Some(existing) = existing else { return true };
        let mut test = self.command(Path::new("/usr/bin/test"));
        test.arg("-x").arg(existing).stdout(Stdio::null()).stderr(Stdio::null());
        test.status().is_ok_and(|status| status.success())
    }
}

fn lookup(name: &str) -> Option<Account> {
    let user = User::from_name(name).ok().flatten()?;
    Some(Account::Other {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    })
}

/// Several processes may try at once: whoever finds the password file locked
/// or the user just made looks again.
fn create(name: &str) -> Result<Account, Error> {
    let failed = |reason: String| Error::NoAccount {
        account: name.to_owned(),
        reason,
    };
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let mut useradd = Command::new("useradd");
        useradd.args([
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            "/var/lib/comanda",
        ]);
        useradd
            .args(["--shell", "/usr/sbin/nologin", name])
            .stdin(Stdio::null());
        let said = useradd.output().map_err(|error| failed(error.to_string()))?;
        if let Some(account) = lookup(name) {
            return Ok(account);
        }
        if Instant::now() > give_up {
            return Err(failed(String::from_utf8_lossy(&said.stderr).trim().to_owned()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
