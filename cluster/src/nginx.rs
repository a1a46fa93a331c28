//! nginx: its settings from `deploy/nginx`, filled in for one machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Error;

const TEMPLATE: &str = include_str!("../../deploy/nginx/comanda.conf.template");
const MAIN: &str = include_str!("nginx.conf");

/// What stands in front of the APIs.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub listen: SocketAddr,
    pub command_apis: Vec<u16>,
    pub query_apis: Vec<u16>,
}

impl Gateway {
    /// Writes the settings into the folder that nginx works in; `nginx -p FOLDER -c nginx.conf`
    /// runs with them.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let temporary = folder.join("temporary");
        std::fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
        let main = MAIN.replace("${WORKERS}", "1");
        for (name, text) in [("nginx.conf", main), ("comanda.conf", self.render())] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    fn render(&self) -> String {
        TEMPLATE
            .replace("${COMMAND_API_SERVERS}", &servers(&self.command_apis))
            .replace("${QUERY_API_SERVERS}", &servers(&self.query_apis))
            // Addresses here are numbers.
            .replace("${RESOLVER}", "")
            .replace("${LISTEN}", &self.listen.to_string())
    }
}

fn servers(ports: &[u16]) -> String {
    let lines = ports
        .iter()
        .map(|port| format!("server 127.0.0.1:{port} max_fails=3 fail_timeout=2s;"));
    lines.collect::<Vec<_>>().join("\n    ")
}

/// The program; distributions put it where an ordinary user's PATH does not look.
pub(crate) fn program() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut programs = folders.map(|folder| folder.join("nginx"));
    programs.find(|program| program.is_file()).ok_or(Error::Missing {
        path: PathBuf::from("nginx"),
        remedy: "run `scripts/setup cluster`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_instances_then_every_word_of_the_template_is_filled_in() {
        let gateway = Gateway {
            listen: "127.0.0.1:8080".parse().unwrap(),
            command_apis: vec![1, 2],
            query_apis: vec![3],
        };
        let text = gateway.render();
        let body: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        assert!(!body.contains("${"), "{text}");
        assert!(text.contains("server 127.0.0.1:2 max_fails=3"), "{text}");
        assert!(text.contains("listen 127.0.0.1:8080 "), "{text}");
    }
}
