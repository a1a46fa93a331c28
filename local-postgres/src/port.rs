//! The port of the server: a configured one, or a free one that is kept, so that
//! a second start is found where the first was.
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::Error;

/// A port that nobody listens on. It is not held: whoever uses it must be ready
/// to find it taken after all.
pub(crate) fn free() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    listener
        .map(|address| address.port())
        .map_err(Error::io("find a free port on", Path::new("127.0.0.1")))
}

/// The port of the last start, where there was one.
pub(crate) fn remembered(path: &Path) -> Option<u16> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(crate) fn remember(path: &Path, port: u16) -> Result<(), Error> {
    std::fs::write(path, port.to_string()).map_err(Error::io("write", path))
}
