//! What `up` prints when the platform serves: addresses, a token, an order to place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{ActorId, TenantId};
use serde_json::json;
use service::auth::TokenRequest;
use service::settings::AuthSettings;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::Format;
use crate::verbs::token::default_scopes;
use crate::{platform, seed};

const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Banner {
    url: String,
    data: PathBuf,
    /// Absent where the settings' own keys check tokens: then tokens come from elsewhere.
    token: Option<String>,
}

impl Banner {
    pub(super) fn new(
        address: SocketAddr,
        data: &Path,
        auth: &AuthSettings,
        development: bool,
    ) -> Result<Self, Failure> {
        let token = if development {
            Some(platform::issue(auth, &request()?)?)
        } else {
            None
        };
        Ok(Self {
            url: url_of(address),
            data: data.to_owned(),
            token,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn print(&self, context: &Context) -> Result<(), Failure> {
        match context.format {
            Format::Table | Format::Csv => Context::print_line(&self.text()),
            Format::Json | Format::Ndjson => context.print_json(&json!({
                "url": self.url,
                "rest": format!("{}/v1", self.url),
                "graphql": format!("{}/graphql", self.url),
                "health": format!("{}/health", self.url),
                "metrics": format!("{}/metrics", self.url),
                "data": self.data,
                "token": self.token,
            })),
        }
    }

    fn text(&self) -> String {
        let (url, data) = (&self.url, self.data.display());
        let addresses = format!(
            "Comanda is up.\n\n\
             REST       {url}/v1\n\
             API pages  {url}/docs\n\
             GraphQL    {url}/graphql\n\
             Health     {url}/health\n\
             Metrics    {url}/metrics\n\
             Data       {data}\n"
        );
        let Some(token) = &self.token else { return addresses };
        let (tenant, order) = (seed::TENANT, seed::example_order());
        format!(
            "{addresses}\n\
             Development token (tenant {tenant}, valid for {} hours):\n{token}\n\n\
             Place an order:\n\
             curl -sS {url}/v1/orders -H 'authorization: Bearer {token}' -H 'content-type: application/json' -d '{order}'",
            TOKEN_TTL.as_secs() / 3600
        )
    }
}

fn request() -> Result<TokenRequest, Failure> {
    Ok(TokenRequest {
        tenant: TenantId::new(seed::TENANT).map_err(Failure::failed)?,
        subject: ActorId("developer".to_owned()),
        scopes: default_scopes().into_iter().collect(),
        establishments: None,
        ttl: TOKEN_TTL,
    })
}

/// An address that a client on this machine can use.
fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_wildcard_address_then_the_url_is_one_that_clients_can_use() {
        assert_eq!(url_of("0.0.0.0:8080".parse().unwrap()), "http://127.0.0.1:8080");
        assert_eq!(url_of("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(url_of("10.0.0.7:80".parse().unwrap()), "http://10.0.0.7:80");
    }

    #[test]
    fn given_foreign_keys_then_no_token_is_shown() {
        let banner = Banner {
            url: "http://h".into(),
            data: "/d".into(),
            token: None,
        };
        assert!(!banner.text().contains("token"));
        assert!(!banner.text().contains("curl "));
    }

    #[test]
    fn given_a_token_then_the_first_command_shown_is_complete() {
        let banner = Banner {
            url: "http://h".into(),
            data: "/d".into(),
            token: Some("t.o.k".into()),
        };
        let text = banner.text();
        let line = &text[text.find("curl ").unwrap()..];
        assert!(
            line.contains("Bearer t.o.k'") && line.contains("\"product_id\"") && !line.contains('\n'),
            "{line}"
        );
        assert!(!text.contains('\u{1b}'));
    }
}
