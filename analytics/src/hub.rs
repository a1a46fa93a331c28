//! The view across shards, in the hub.
//!
//! All of it is made anew in one transaction, so that readers find either the old or the new one, and
//! shards that were added since are in it. Conditions on the tenant and the slot are parameters of the
//! foreign scans: a shard sends a tenant's reader that tenant's events only.

use sqlx::{Connection, Executor, PgConnection};
use url::Url;

use crate::error::Error;
use crate::readers::{Sees, connect, draw, make};
use crate::role::{RoleName, RolePassword};
use crate::{DatabaseAt, Databases};

/// The reader that the hub connects to the shards as.
const LINK: &str = "comanda_analytics";

/// Who sees what, as in every shard.
const ACCESS: &str = include_str!("access.sql");

/// Columns of a shard's view, as the hub declares them: sorted as the shard sorts them, or conditions on
/// them would not be sent there.
const COLUMNS: &str = "tenant_id text COLLATE \"C\", establishment_id text, stream_type text COLLATE \"C\", \
    stream_id text COLLATE \"C\", sequence bigint, event_type text COLLATE \"C\", event_version text COLLATE \"C\", \
    event_id uuid, slot smallint, slot_position bigint, incarnation integer, recorded_at timestamptz, \
    occurred_at timestamptz, actor text, correlation_id text, causation_id text, order_number bigint, payload jsonb";

const VISIBLE: &str = "slot = ANY ((SELECT analytics.visible_slots())::smallint[]) \
    AND ((SELECT analytics.sees_all()) OR tenant_id = (SELECT analytics.visible_tenant()))";

/// Sets up the view across shards, or brings it up to date. Closes the doors that PostgreSQL leaves
/// open to every role: advisory locks, temporary tables and large objects in the platform's databases.
///
/// # Errors
/// [`Error::Refused`], [`Error::Url`].
pub async fn set_up(databases: &Databases) -> Result<(), Error> {
    let link: RoleName = LINK.parse()?;
    let mut hub = connect(&databases.hub).await?;
    let failed = || Error::refused(&databases.hub.name);
    let password = draw(&mut hub).await.map_err(failed())?;
    close_doors(&mut hub).await.map_err(failed())?;
    let mut control = connect(&databases.control).await?;
    close_doors(&mut control)
        .await
        .map_err(Error::refused(&databases.control.name))?;
    for (_, shard) in &databases.shards {
        let mut connection = connect(shard).await?;
        close_doors(&mut connection)
            .await
            .map_err(Error::refused(&shard.name))?;
        make(&mut connection, &shard.name, &link, &password, &Sees::Everything).await?;
    }
    let statements = statements(databases, &link, &password)?;
    let mut work = hub.begin().await.map_err(failed())?;
    work.execute(ACCESS).await.map_err(failed())?;
    for statement in statements {
        work.execute(statement.as_str()).await.map_err(failed())?;
    }
    let readers: Vec<String> = sqlx::query_scalar("SELECT role_name::text FROM analytics.readers")
        .fetch_all(&mut *work)
        .await
        .map_err(failed())?;
    for reader in readers {
        let reader: RoleName = reader.parse()?;
        let right = format!("GRANT SELECT ON analytics.events TO {reader}");
        work.execute(right.as_str()).await.map_err(failed())?;
    }
    work.commit().await.map_err(failed())?;
    tracing::info!(shards = databases.shards.len(), "the view across shards is set up");
    Ok(())
}

fn statements(databases: &Databases, link: &RoleName, password: &RolePassword) -> Result<Vec<String>, Error> {
    let mut statements = Vec::new();
    let mut branches = Vec::new();
    for (id, shard) in &databases.shards {
        let server = format!("comanda_shard_{id}");
        statements.push(format!(
            "CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})",
            options(shard)?
        ));
        statements.push(format!(
            "CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS (user {}, password {})",
            literal(link.as_str()),
            literal(password.expose())
        ));
        statements.push(format!(
            "CREATE FOREIGN TABLE analytics_shards.shard_{id} ({COLUMNS}) SERVER {server} \
             OPTIONS (schema_name 'analytics', table_name 'events')"
        ));
        branches.push(format!("SELECT * FROM analytics_shards.shard_{id} WHERE {VISIBLE}"));
    }
    statements.push(format!(
        "CREATE VIEW analytics.events WITH (security_barrier) AS {}",
        branches.join(" UNION ALL ")
    ));
    Ok(statements)
}

/// How the hub reaches a shard. What its URL says of TLS holds here too.
fn options(shard: &DatabaseAt) -> Result<String, Error> {
    let bad = || Error::Url {
        database: shard.name.clone(),
    };
    let url = Url::parse(&shard.url).map_err(|_| bad())?;
    let mut options = vec![
        ("host".to_owned(), url.host_str().ok_or_else(bad)?.to_owned()),
        ("port".to_owned(), url.port().unwrap_or(5432).to_string()),
        ("dbname".to_owned(), url.path().trim_start_matches('/').to_owned()),
        ("fetch_size".to_owned(), "10000".to_owned()),
        ("async_capable".to_owned(), "true".to_owned()),
    ];
    let kept = |name: &str| matches!(name, "sslmode" | "sslrootcert");
    let security = url.query_pairs().filter(|(name, _)| kept(name));
    options.extend(security.map(|(name, value)| (name.into_owned(), value.into_owned())));
    let options: Vec<String> = options
        .iter()
        .map(|(name, value)| format!("{name} {}", literal(value)))
        .collect();
    Ok(options.join(", "))
}

/// Text as a constant in a statement.
fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if escaped.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

/// Advisory locks above all: the head lock of a shard is one, and whoever may take it can halt appends.
/// The owner of the database's tables keeps them; other roles that append must be given them.
const CLOSE_DOORS: &str = "DO $$ \
    DECLARE \
        door regprocedure; \
        owner regrole; \
    BEGIN \
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); \
        SELECT relowner::regrole INTO owner FROM pg_class WHERE oid = 'public._sqlx_migrations'::regclass; \
        FOR door IN SELECT oid::regprocedure FROM pg_proc \
                     WHERE pronamespace = 'pg_catalog'::regnamespace \
                       AND (proname ~ '^pg_(try_)?advisory_(xact_)?lock' \
                            OR proname IN ('lo_create', 'lo_creat', 'lo_from_bytea')) LOOP \
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', door); \
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', door, owner); \
        END LOOP; \
    END $$";

async fn close_doors(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(CLOSE_DOORS).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_constant() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
