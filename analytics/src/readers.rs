//! Login roles that read the views and nothing else.

use domain::TenantId;
use event_store::Slot;
use sqlx::{Connection, Executor, PgConnection};

use crate::error::Error;
use crate::role::{RoleName, RolePassword};
use crate::{DatabaseAt, Databases};

/// What a reader is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sees {
    Tenant(TenantId),
    Everything,
}

/// What one session may cost. Only `temp_file_limit` and the number of connections bind a reader who
/// does not want to be bound; doctor names the sessions that stand in the way.
const LIMITS: [&str; 6] = [
    "default_transaction_read_only = on",
    "statement_timeout = '60s'",
    "idle_in_transaction_session_timeout = '30s'",
    "lock_timeout = '5s'",
    "search_path = analytics",
    "temp_file_limit = '1GB'",
];

/// Makes a reader on every shard and the hub, and returns its new password.
///
/// # Errors
/// [`Error::RoleTaken`], [`Error::OtherTenant`], [`Error::NoHub`], [`Error::Refused`].
pub async fn grant(databases: &Databases, role: &RoleName, sees: &Sees) -> Result<RolePassword, Error> {
    let mut hub = connect_to_hub(databases).await?;
    let password = draw(&mut hub).await.map_err(Error::refused(&databases.hub.name))?;
    for database in all(databases) {
        let mut connection = connect(database).await?;
        make(&mut connection, &database.name, role, &password, sees).await?;
    }
    Ok(password)
}

/// Takes a reader away everywhere. Interrupted, or while a shard is away, it may be run again: what is
/// done already is passed over. The hub comes first, since all shards are read through it.
///
/// # Errors
/// [`Error::RoleTaken`] for a role that is no reader; [`Error::Refused`].
pub async fn revoke(databases: &Databases, role: &RoleName) -> Result<(), Error> {
    connect_to_hub(databases).await?;
    let shards = databases.shards.iter().map(|(_, shard)| shard);
    for database in std::iter::once(&databases.hub).chain(shards) {
        let failed = || Error::refused(&database.name);
        let mut connection = connect(database).await?;
        let mut work = connection.begin().await.map_err(failed())?;
        let known = sqlx::query("DELETE FROM analytics.readers WHERE role_name = $1").bind(role.as_str());
        let known = known.execute(&mut *work).await.map_err(failed())?.rows_affected() > 0;
        let there = exists(&mut work, role).await.map_err(failed())?;
        // A shard that was added since never listed it, and one that was seen to before does so no more.
        if there && !known && !is_ours(&mut work, role).await.map_err(failed())? {
            return Err(Error::RoleTaken {
                role: role.as_str().to_owned(),
            });
        }
        if there {
            // Its rights in this database; the role itself goes once it has none anywhere.
            let drop_rights = format!("DROP OWNED BY {role}");
            work.execute(drop_rights.as_str()).await.map_err(failed())?;
        }
        work.commit().await.map_err(failed())?;
    }
    for database in all(databases) {
        let mut connection = connect(database).await?;
        let drop_role = format!("DROP ROLE IF EXISTS {role}");
        let dropped = connection.execute(drop_role.as_str()).await;
        dropped.map_err(Error::refused(&database.name))?;
    }
    Ok(())
}

async fn connect_to_hub(databases: &Databases) -> Result<PgConnection, Error> {
    let mut hub = connect(&databases.hub).await?;
    let set_up = sqlx::query_scalar("SELECT to_regclass('analytics.events') IS NOT NULL");
    let set_up: bool = set_up
        .fetch_one(&mut hub)
        .await
        .map_err(Error::refused(&databases.hub.name))?;
    if set_up { Ok(hub) } else { Err(Error::NoHub) }
}

fn all(databases: &Databases) -> impl Iterator<Item = &DatabaseAt> {
    let shards = databases.shards.iter().map(|(_, database)| database);
    shards.chain(std::iter::once(&databases.hub))
}

/// Makes a reader in one database. The role is its server's and may be there from another database.
pub(crate) async fn make(
    connection: &mut PgConnection,
    name: &str,
    role: &RoleName,
    password: &RolePassword,
    sees: &Sees,
) -> Result<(), Error> {
    let failed = || Error::refused(name);
    let mut work = connection.begin().await.map_err(failed())?;
    refuse_another(&mut work, name, role, sees).await?;
    let (tenant, slot) = match sees {
        Sees::Everything => (None, None),
        Sees::Tenant(tenant) => (Some(tenant.as_str()), i16::try_from(Slot::of(tenant).0).ok()),
    };
    let mut statements = Vec::new();
    if !exists(&mut work, role).await.map_err(failed())? {
        statements.push(format!("CREATE ROLE {role}"));
        // What makes the role one of ours on its server, before any database lists it.
        statements.push(format!("COMMENT ON ROLE {role} IS '{MARK}'"));
    }
    statements.push(format!(
        "ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS \
         CONNECTION LIMIT 10 PASSWORD '{}'",
        password.expose()
    ));
    statements.extend(LIMITS.map(|limit| format!("ALTER ROLE {role} SET {limit}")));
    statements.push(format!("GRANT USAGE ON SCHEMA analytics TO {role}"));
    statements.push(format!("GRANT SELECT ON analytics.events TO {role}"));
    for statement in statements {
        work.execute(statement.as_str()).await.map_err(failed())?;
    }
    sqlx::query(
        "INSERT INTO analytics.readers (role_name, tenant_id, slot) VALUES ($1, $2, $3) \
         ON CONFLICT (role_name) DO NOTHING",
    )
    .bind(role.as_str())
    .bind(tenant)
    .bind(slot)
    .execute(&mut *work)
    .await
    .map_err(failed())?;
    work.commit().await.map_err(failed())
}

const MARK: &str = "reader of Comanda''s log";

/// A role of somebody else's is left alone, and a reader's tenant never changes silently.
async fn refuse_another(work: &mut PgConnection, name: &str, role: &RoleName, sees: &Sees) -> Result<(), Error> {
    let known: Option<Option<String>> =
        sqlx::query_scalar("SELECT tenant_id FROM analytics.readers WHERE role_name = $1")
            .bind(role.as_str())
            .fetch_optional(&mut *work)
            .await
            .map_err(Error::refused(name))?;
    let same = known.as_ref().map(|tenant| match (tenant, sees) {
        (None, Sees::Everything) => true,
        (Some(known), Sees::Tenant(tenant)) => known == tenant.as_str(),
        (None, Sees::Tenant(_)) | (Some(_), Sees::Everything) => false,
    });
    let ours = is_ours(work, role).await.map_err(Error::refused(name))?;
    let role = role.as_str().to_owned();
    match same {
        _ if !ours => Err(Error::RoleTaken { role }),
        Some(false) => Err(Error::OtherTenant { role }),
        Some(true) | None => Ok(()),
    }
}

/// Whether the server's role of this name was made here, or there is none.
async fn is_ours(connection: &mut PgConnection, role: &RoleName) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) OR EXISTS ( \
             SELECT FROM pg_roles WHERE rolname = $1 AND NOT rolsuper \
                AND shobj_description(oid, 'pg_authid') = 'reader of Comanda''s log')",
    )
    .bind(role.as_str())
    .fetch_one(connection)
    .await
}

async fn exists(connection: &mut PgConnection, role: &RoleName) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role.as_str())
        .fetch_one(connection)
        .await
}

/// 244 bits from the server's generator for keys.
pub(crate) async fn draw(connection: &mut PgConnection) -> Result<RolePassword, sqlx::Error> {
    let drawn = "SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')";
    sqlx::query_scalar(drawn).fetch_one(connection).await.map(RolePassword)
}

pub(crate) async fn connect(database: &DatabaseAt) -> Result<PgConnection, Error> {
    PgConnection::connect(&database.url)
        .await
        .map_err(Error::refused(&database.name))
}
