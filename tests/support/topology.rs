//! A platform as its users meet it, whatever it is made of: what the same tests run on.

use std::path::PathBuf;
use std::process::Output;

use super::client::Client;
use super::platform::Databases;

/// A running platform.
pub(crate) trait Topology: Sync {
    /// Where clients go.
    fn url(&self) -> &str;

    fn databases(&self) -> &Databases;

    /// A folder for files of the test's own.
    fn folder(&self) -> PathBuf;

    /// Runs a verb of the binary against this platform.
    fn comanda(&self, arguments: &[&str]) -> Output;

    fn token(&self, arguments: &[&str]) -> String {
        let output = self.comanda(&[&["token"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// A client of this tenant with every right but operating the platform.
    fn client(&self, tenant: &str) -> Client {
        let scopes = ["orders:read", "orders:write", "catalog:write", "events:read"];
        let mut arguments = vec!["--tenant", tenant];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        Client::new(self.url(), &self.token(&arguments))
    }
}
