//! Ports for the processes.

use std::net::{Ipv4Addr, TcpListener};

/// Below the range that the kernel gives to outgoing connections, so that nobody takes a process'
/// port by chance while the process is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// `count` ports that nobody listens on. They are not held.
pub(crate) fn free(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        // Held until all are found, so that none is found twice.
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, rand::random_range(RANGE))));
    }
    held.iter()
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| address.port())
        .collect()
}
