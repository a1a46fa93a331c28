//! The port of the server: a configured one, or a free one that is kept, so that
//! a second start is found where the first was.
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::Error;

pub(crate) fn free() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    listener.map(|address| address.port()).map_err(Error::io("find a free port on", Path::new("127.0.0.1")))
}
