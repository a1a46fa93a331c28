//! Reading settings from their sources.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{DatabaseUrl, Settings};

/// The file read where none is named.
pub const DEFAULT_FILE: &str = "comanda.toml";

/// What the names of environment variables begin with.
const PREFIX: &str = "COMANDA_";

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the settings file {0} does not exist")]
    NoFile(PathBuf),
    #[error("settings: {0}")]
    Invalid(String),
    #[error("{variable} is not a setting; settings are named {PREFIX}<SECTION>__<KEY>, with two underscores")]
    Variable { variable: String },
    #[error("cannot read {path}, named by {setting}")]
    SecretFile {
        setting: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{setting}: {problem}")]
    Value { setting: String, problem: String },
}

/// Collects the sources, then reads them.
#[derive(Debug, Default)]
pub struct Loader {
    file: Option<PathBuf>,
    variables: Vec<(String, String)>,
    flags: Vec<(String, Value)>,
}

impl Loader {
    pub fn new() -> Self {
        Self::default()
    }

    /// The settings file. Without one, `comanda.toml` in the working directory is read if it is
    /// there.
    #[must_use]
    pub fn file(mut self, path: Option<&Path>) -> Self {
        self.file = path.map(Path::to_owned);
        self
    }

    /// The environment, usually `std::env::vars()`. Names that are no settings are passed over.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables
            .extend(variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)));
        self
    }

    /// A flag, by the dotted name of the setting it stands for (`http.port`).
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.flags.push((key.to_owned(), value.into()));
        self
    }

    /// Reads all sources, then the files that hold secrets, and checks the values.
    ///
    /// # Errors
    /// [`SettingsError`], naming the source and key to blame.
    pub fn load(self) -> Result<Settings, SettingsError> {
        let mut figment = Figment::new();
        if let Some(path) = settings_file(self.file)? {
            figment = figment.merge(Toml::file_exact(path));
        }
        for (name, value) in self.variables {
            if let Some(key) = setting_of(&name)? {
                let Ok(value) = value.parse::<Value>();
                figment = figment.merge(One {
                    source: format!("environment variable {name}"),
                    key,
                    value,
                });
            }
        }
        for (key, value) in self.flags {
            figment = figment.merge(One {
                source: format!("flag for {key}"),
                key,
                value,
            });
        }
        let mut settings: Settings = figment
            .extract()
            .map_err(|error| SettingsError::Invalid(describe(error)))?;
        read_url_files(&mut settings)?;
        super::check::check(&settings)?;
        Ok(settings)
    }
}

/// The file to read: the one named, which must exist, or the default where it does.
fn settings_file(named: Option<PathBuf>) -> Result<Option<PathBuf>, SettingsError> {
    match named {
        Some(path) if path.is_file() => Ok(Some(path)),
        Some(path) => Err(SettingsError::NoFile(path)),
        None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file())),
    }
}

/// `COMANDA_HTTP__MAX_BODY_BYTES` to `http.max_body_bytes`; `None` for variables that are not
/// settings but belong to other programs, such as a test database.
fn setting_of(variable: &str) -> Result<Option<String>, SettingsError> {
    let name = variable.trim_start_matches(PREFIX).to_lowercase();
    if name.contains("__") {
        return Ok(Some(name.replace("__", ".")));
    }
    // The one list that is in no section.
    if name == "read_stores" {
        return Ok(Some(name));
    }
    // One underscore where two belong would otherwise be ignored in silence.
    let sections = [
        "http",
        "auth",
        "control",
        "event_store",
        "read_stores",
        "kafka",
        "relay",
        "command",
        "projector",
        "query",
        "backup",
        "log",
    ];
    let meant_as_setting = sections.iter().any(|section| {
        name.strip_prefix(section)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    });
    if meant_as_setting {
        Err(SettingsError::Variable {
            variable: variable.to_owned(),
        })
    } else {
        Ok(None)
    }
}

/// One value from one named source, so that an error can name it.
struct One {
    source: String,
    key: String,
    value: Value,
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

/// Every error on one line, each with its key and source. Values are left out: one may be a secret.
fn describe(errors: figment::Error) -> String {
    let lines: Vec<String> = errors
        .into_iter()
        .map(|error| {
            let source = error.metadata.as_ref().map_or_else(String::new, |metadata| {
                let place = metadata
                    .source
                    .as_ref()
                    .map_or_else(String::new, |source| format!(" ({source})"));
                format!(" in {}{place}", metadata.name)
            });
            let key = error.path.join(".");
            let key = if key.is_empty() {
                String::new()
            } else {
                format!("{key}: ")
            };
            format!("{key}{}{source}", kind(&error.kind))
        })
        .collect();
    lines.join("; ")
}

fn kind(kind: &figment::error::Kind) -> String {
    use figment::error::Kind;
    match kind {
        Kind::InvalidType(_, expected) => format!("must be {expected}"),
        Kind::InvalidValue(_, expected) => format!("must be {expected}"),
        other => other.to_string(),
    }
}

fn read_url_files(settings: &mut Settings) -> Result<(), SettingsError> {
    let control = &mut settings.control;
    read_url_file("control", &mut control.url, control.url_file.as_deref())?;
    for store in &mut settings.read_stores {
        let name = format!("read_stores[name={}]", store.name);
        read_url_file(&name, &mut store.url, store.url_file.as_deref())?;
        for replica in &mut store.replicas {
            let name = format!("{name}.replicas[name={}]", replica.name);
            read_url_file(&name, &mut replica.url, replica.url_file.as_deref())?;
        }
    }
    for shard in &mut settings.event_store.shards {
        let name = format!("event_store.shards[id={}]", shard.id);
        read_url_file(&name, &mut shard.url, shard.url_file.as_deref())?;
    }
    Ok(())
}

fn read_url_file(setting: &str, url: &mut DatabaseUrl, file: Option<&Path>) -> Result<(), SettingsError> {
    let Some(path) = file else { return Ok(()) };
    if !url.is_empty() {
        return Err(SettingsError::Value {
            setting: setting.to_owned(),
            problem: "give either url or url_file, not both".to_owned(),
        });
    }
    *url = DatabaseUrl::new(read_secret_file(&format!("{setting}.url_file"), path)?);
    Ok(())
}

/// A secret that stands alone in a file; the line break at its end is not part of it.
pub(crate) fn read_secret_file(setting: &str, path: &Path) -> Result<String, SettingsError> {
    let content = std::fs::read_to_string(path).map_err(|source| SettingsError::SecretFile {
        setting: setting.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    let secret = content.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(SettingsError::Value {
            setting: setting.to_owned(),
            problem: format!("{} is empty", path.display()),
        });
    }
    Ok(secret.to_owned())
}
