//! What PostgreSQL is started with. All of it stands on the command line, not in
//! `postgresql.conf`: one place to read, nothing for a supervising root to write
//! into a folder it does not own, and a server left running by a killed process
//! can be compared with what would be started now.
use std::path::Path;

use crate::recovery::Recovering;
use crate::tls::TlsFiles;

/// What becomes of data when the machine (not only the server) dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// An acknowledged commit survives a power cut.
    Durable,
    /// It survives the server's death only; for databases that tests throw away.
    Throwaway,
}

/// What differs between servers.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) connections: u16,
    pub(crate) durability: Durability,
    /// `None` takes a share of the machine's memory.
    pub(crate) shared_buffers_mb: Option<u32>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) following: Option<Following>,
    /// Until it is open; afterwards these settings count no longer.
    pub(crate) recovering: Option<Recovering>,
}

/// Where a standby gets the log from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Following {
    /// Without a password, which every user of the machine could read there.
    pub(crate) conninfo: String,
    pub(crate) slot: String,
}

/// Arguments of `postgres`. No socket file is opened: loopback is the one door,
/// behind one lock (see [`crate::secret`]), and no path can be too long for it.
pub(crate) fn arguments(cluster: &Path, port: u16, options: &Options) -> Vec<String> {
    let settings = general(options)
        .into_iter()
        .chain(replication(options.following.as_ref()))
        .chain(options.tls.iter().flat_map(encryption))
        .chain(options.recovering.iter().flat_map(Recovering::settings));
    let mut arguments = vec![
        "-D".to_owned(),
        cluster.display().to_string(),
        "-p".to_owned(),
        port.to_string(),
    ];
    arguments.extend(settings.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
    arguments
}

type Setting = (&'static str, String);

fn general(options: &Options) -> Vec<Setting> {
    let durable = options.durability == Durability::Durable;
    let on = if durable { "on" } else { "off" };
    let share = || shared_buffers_mb(memory_mb());
    let buffers = options.shared_buffers_mb.unwrap_or_else(share);
    vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("unix_socket_directories", String::new()),
        ("max_connections", options.connections.to_string()),
        ("fsync", on.to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("full_page_writes", on.to_owned()),
        ("shared_buffers", format!("{buffers}MB")),
        // Recovery after a crash reads at most this much log.
        ("max_wal_size", "1GB".to_owned()),
        // Before it replays, recovery makes sure of every file: with one call per file system
        // instead of one per file, of which several databases have thousands.
        ("recovery_init_sync_method", "syncfs".to_owned()),
        // Statements here are short; compiling them costs more than it saves.
        ("jit", "off".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("lc_messages", "C".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        ("cluster_name", "comanda".to_owned()),
    ]
}

/// Every server may have standbys, and one that was a standby may be promoted,
/// so both sides are set on each.
fn replication(following: Option<&Following>) -> Vec<Setting> {
    let mut settings = vec![
        ("wal_level", "replica".to_owned()),
        ("max_wal_senders", "10".to_owned()),
        ("max_replication_slots", "10".to_owned()),
        // A standby that never comes back must not fill the disk of its primary.
        ("max_slot_wal_keep_size", "4GB".to_owned()),
        ("hot_standby", "on".to_owned()),
        // Readers of a standby must not hold back the primary's clean-up; and they are short:
        // one that replay waits for longer than this is cancelled, and may be sent elsewhere.
        ("hot_standby_feedback", "off".to_owned()),
        ("max_standby_streaming_delay", "2s".to_owned()),
        // Both ends notice soon that the other hangs or is back.
        ("wal_sender_timeout", "10s".to_owned()),
        ("wal_receiver_timeout", "10s".to_owned()),
        ("wal_receiver_status_interval", "1s".to_owned()),
        ("wal_retrieve_retry_interval", "200ms".to_owned()),
    ];
    if let Some(Following { conninfo, slot }) = following {
        settings.push(("primary_conninfo", conninfo.clone()));
        settings.push(("primary_slot_name", slot.clone()));
    }
    settings
}

fn encryption(tls: &TlsFiles) -> [Setting; 5] {
    [
        ("ssl", "on".to_owned()),
        ("ssl_min_protocol_version", "TLSv1.2".to_owned()),
        ("ssl_cert_file", tls.certificate.display().to_string()),
        ("ssl_key_file", tls.key.display().to_string()),
        ("hba_file", tls.doors.display().to_string()),
    ]
}

/// An eighth of the memory: the process shares the machine with the rest of the
/// platform, and the kernel's cache holds what does not fit.
fn shared_buffers_mb(memory_mb: u64) -> u32 {
    u32::try_from((memory_mb / 8).clamp(64, 1024)).unwrap_or(1024)
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
        let options = Options {
            connections: 10,
            durability: Durability::Durable,
            shared_buffers_mb: None,
            tls: None,
            following: None,
            recovering: None,
        };
        let arguments = arguments(Path::new("/data"), 1, &options).join(" ");
        for wanted in ["fsync=on", "synchronous_commit=on", "full_page_writes=on"] {
            assert!(arguments.contains(wanted), "{wanted} in {arguments}");
        }
    }
}
