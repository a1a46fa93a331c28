//! How Kafka's programs are run: small, quick to start, and quiet.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// `java` of `JAVA_HOME`, or else of the path.
fn program() -> Result<PathBuf, Error> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = home.into_iter().chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join("java"))
        .find(|java| java.is_file())
        .ok_or(Error::NoJava)
}

/// A run of one of the classes in `jars`. Written for short lives on a busy machine: the first
/// compiler only and the simplest collector start in a third of the time and keep fewer threads.
pub(crate) fn command(jars: &Path, heap_mb: u16, class: &str) -> Result<Command, Error> {
    let jars = jars.canonicalize().map_err(Error::io("find", jars))?;
    let mut java = Command::new(program()?);
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-Xms64m"])
        .arg(format!("-Xmx{heap_mb}m"))
        .args(["-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        // Says when it is ready.
        .arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS")
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg(class);
    Ok(java)
}
