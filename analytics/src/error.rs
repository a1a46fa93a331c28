/// Why analysts cannot be given SQL. `Display` says what is wrong, [`Error::remedy`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a role's name: a-z, 0-9 and _, starting with a letter, at most 63")]
    RoleName(String),
    #[error("the role {role} is there already, and is no reader of the log")]
    RoleTaken { role: String },
    #[error("the role {role} reads another tenant already")]
    OtherTenant { role: String },
    #[error("the view across shards was not set up yet")]
    NoHub,
    #[error("the URL of {database} cannot be used")]
    Url { database: String },
    #[error("{database} refuses: connecting, or making roles and views")]
    Refused { database: String, source: sqlx::Error },
}

impl Error {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::RoleName(_) | Self::RoleTaken { .. } => "choose another name",
            Self::OtherTenant { .. } => "take it away first with `comanda sql revoke`, or choose another name",
            Self::NoHub => "run `comanda sql setup` first",
            Self::Url { .. } => "write it as postgres://user:password@host:port/database",
            Self::Refused { .. } => {
                "connect as a superuser, and install postgres_fdw (Debian: postgresql-contrib is part of the server)"
            }
        }
    }

    pub(crate) fn refused(database: &str) -> impl FnOnce(sqlx::Error) -> Self {
        let database = database.to_owned();
        move |source| Self::Refused { database, source }
    }
}
