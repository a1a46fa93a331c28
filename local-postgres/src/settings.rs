//! What PostgreSQL is started with. All of it stands on the command line, not in
//! `postgresql.conf`: one place to read, nothing for a supervising root to write
//! into a folder it does not own, and a server left running by a killed process
//! can be compared with what would be started now.
use std::path::Path;

/// What becomes of data when the machine (not only the server) dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// An acknowledged commit survives a power cut.
    Durable,
    /// It survives the server's death only; for databases that tests throw away.
    Throwaway,
}

/// Arguments of `postgres`. No socket file is opened: loopback is the one door,
/// behind one lock (see [`crate::secret`]), and no path can be too long for it.
pub(crate) fn arguments(cluster: &Path, port: u16, connections: u16, durability: Durability) -> Vec<String> {
    let on = if durability == Durability::Durable { "on" } else { "off" };
    let buffers = shared_buffers_mb(memory_mb());
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("unix_socket_directories", String::new()),
        ("max_connections", connections.to_string()),
        ("fsync", on.to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("full_page_writes", on.to_owned()),
        ("shared_buffers", format!("{buffers}MB")),
        // Recovery after a crash reads at most this much log.
        ("max_wal_size", "1GB".to_owned()),
        // Before it replays, recovery makes sure of every file: with one call per file system
        // instead of one per file, of which several databases have thousands.
        ("recovery_init_sync_method", "syncfs".to_owned()),
        ("wal_level", "replica".to_owned()),
        // Statements here are short; compiling them costs more than it saves.
        ("jit", "off".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("lc_messages", "C".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        ("cluster_name", "comanda".to_owned()),
    ];
    let mut arguments = vec![
        "-D".to_owned(),
        cluster.display().to_string(),
        "-p".to_owned(),
        port.to_string(),
    ];
    arguments.extend(
        settings
            .into_iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]),
    );
    arguments
}

/// An eighth of the memory: the process shares the machine with the rest of the
/// platform, and the kernel's cache holds what does not fit.
fn shared_buffers_mb(memory_mb: u64) -> u64 {
    (memory_mb / 8).clamp(64, 1024)
}

/// The machine's memory, or a small machine's where the kernel does not tell.
fn memory_mb() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(1024, |kilobytes| kilobytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_buffers_suit_small_and_large_machines() {
        assert_eq!(shared_buffers_mb(256), 64);
        assert_eq!(shared_buffers_mb(2048), 256);
        assert_eq!(shared_buffers_mb(65_536), 1024);
    }

    #[test]
    fn a_durable_server_never_skips_the_disk() {
        let arguments = arguments(Path::new("/data"), 1, 10, Durability::Durable).join(" ");
        for wanted in ["fsync=on", "synchronous_commit=on", "full_page_writes=on"] {
            assert!(arguments.contains(wanted), "{wanted} in {arguments}");
        }
    }
}
