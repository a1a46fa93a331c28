//! How a client speaks to Kafka, and where what it says goes.

use std::path::Path;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use service::settings::{KafkaSettings, SaslMechanism, SecurityProtocol};

use crate::error::Error;
use crate::metric;

/// What every client starts from; each adds its own.
///
/// # Errors
/// [`Error::Settings`] where the settings contradict themselves, [`Error::File`] where the file of
/// the password cannot be read.
pub fn client_config(kafka: &KafkaSettings) -> Result<ClientConfig, Error> {
    if kafka.bootstrap.trim().is_empty() {
        return Err(Error::Settings("kafka.bootstrap names no broker".to_owned()));
    }
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap)
        .set("client.id", "comanda");
    // Topics are made on purpose, never by being asked about.
    config.set("allow.auto.create.topics", "false");
    // A broker that stands still keeps its connections open: this long it is waited for.
    config
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "5000");
    config
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000");
    config.set("topic.metadata.refresh.interval.ms", "10000");
    config.set_log_level(RDKafkaLogLevel::Info);
    secure(kafka, &mut config)?;
    Ok(config)
}

fn secure(kafka: &KafkaSettings, config: &mut ClientConfig) -> Result<(), Error> {
    let (protocol, tls, sasl) = match kafka.security {
        SecurityProtocol::Plaintext => ("PLAINTEXT", false, false),
        SecurityProtocol::Tls => ("SSL", true, false),
        SecurityProtocol::SaslTls => ("SASL_SSL", true, true),
        SecurityProtocol::SaslPlaintext => ("SASL_PLAINTEXT", false, true),
    };
    config.set("security.protocol", protocol);
    match &kafka.ca_file {
        Some(file) if tls => drop(config.set("ssl.ca.location", text(file)?)),
        Some(_) => {
            return Err(Error::Settings(
                "kafka.ca_file is given, but kafka.security has no TLS".to_owned(),
            ));
        }
        None => {}
    }
    let (username, file) = match (&kafka.username, &kafka.password_file) {
        (Some(username), Some(file)) if sasl => (username, file),
        (None, None) if !sasl => return Ok(()),
        _ if sasl => {
            return Err(Error::Settings(
                "kafka.security asks for kafka.username and kafka.password_file".to_owned(),
            ));
        }
        _ => {
            return Err(Error::Settings(
                "a user of Kafka is given, but kafka.security has no SASL".to_owned(),
            ));
        }
    };
    let read = std::fs::read_to_string(file);
    let password = read.map_err(|source| Error::File {
        path: file.clone(),
        source,
    })?;
    let mechanism = match kafka.mechanism {
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    };
    config.set("sasl.mechanism", mechanism).set("sasl.username", username);
    config.set("sasl.password", password.trim_end_matches(['\r', '\n']));
    Ok(())
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str()
        .ok_or_else(|| Error::Settings(format!("{} is not UTF-8", path.display())))
}

/// Writes what librdkafka says to the log. It speaks of brokers that come and go as of errors;
/// what matters of that, the relay says itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logging;

impl Logging {
    pub(crate) fn line(level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::info!(kafka.facility = facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(kafka.facility = facility, "{message}");
            }
        }
    }

    pub(crate) fn trouble(error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            metric::kafka_reachable(false);
        }
        tracing::warn!(error = %error, reason, "Kafka");
    }
}

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Self::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Self::trouble(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Logging {}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(security: SecurityProtocol) -> KafkaSettings {
        KafkaSettings {
            security,
            ..KafkaSettings::default()
        }
    }

    #[test]
    fn a_password_comes_from_its_file_and_is_asked_for_only_with_sasl() {
        let file = std::env::temp_dir().join(format!("comanda-relay-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        let mut settings = kafka(SecurityProtocol::SaslTls);
        settings.username = Some("relay".to_owned());
        settings.password_file = Some(file.clone());
        let config = client_config(&settings).unwrap();
        assert_eq!(config.get("sasl.password"), Some("s3cret"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(client_config(&settings), Err(Error::File { .. })));
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        let ca = |security| KafkaSettings {
            ca_file: Some("/ca.pem".into()),
            ..kafka(security)
        };
        let user = |security| KafkaSettings {
            username: Some("relay".to_owned()),
            ..kafka(security)
        };
        for settings in [
            kafka(SecurityProtocol::SaslTls),
            user(SecurityProtocol::SaslPlaintext),
            user(SecurityProtocol::Tls),
            ca(SecurityProtocol::Plaintext),
            KafkaSettings {
                bootstrap: " ".to_owned(),
                ..KafkaSettings::default()
            },
        ] {
            assert!(
                matches!(client_config(&settings), Err(Error::Settings(_))),
                "{settings:?}"
            );
        }
        assert!(client_config(&ca(SecurityProtocol::Tls)).is_ok());
    }
}
