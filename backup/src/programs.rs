//! PostgreSQL's own programs, run as ourselves.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::error::Error;
use crate::server::ServerAt;

/// A program of one version of PostgreSQL: no terminal, no variable of ours that changes what it
/// does, and gone with us.
pub(crate) fn command(major: u32, program: &str) -> Result<Command, Error> {
    let path: PathBuf = local_postgres::programs(major)?.join(program);
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// The same, connecting to a server.
pub(crate) fn client(server: &ServerAt, program: &str) -> Result<Command, Error> {
    let (conninfo, password) = server.conninfo()?;
    let mut command = command(server.postgres_major, program)?;
    command.args(["--dbname", &conninfo, "--no-password"]);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    Ok(command)
}

/// Runs it to its end; an error carries what it said.
pub(crate) async fn run(mut command: Command, program: &str) -> Result<String, Error> {
    let output = command.output().await.map_err(Error::io("run", program.as_ref()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Program {
        program: program.to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
