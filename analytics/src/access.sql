-- Why: the hub shows each reader what the shards would. As in the shards' schema, but that it can be
-- run again.

CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA IF NOT EXISTS analytics;

CREATE TABLE IF NOT EXISTS analytics.readers (
    role_name name     PRIMARY KEY,
    -- NULL: every tenant.
    tenant_id text     COLLATE "C",
    -- The tenant's, so that its events are found by index.
    slot      smallint CHECK (slot BETWEEN 0 AND 1023),
    CHECK ((tenant_id IS NULL) = (slot IS NULL))
);

CREATE OR REPLACE FUNCTION analytics.visible_tenant() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM analytics.readers WHERE role_name = session_user
$$;

-- Superusers read the tables anyway.
CREATE OR REPLACE FUNCTION analytics.sees_all() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT EXISTS (SELECT FROM analytics.readers WHERE role_name = session_user AND tenant_id IS NULL)
        OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper)
$$;

CREATE OR REPLACE FUNCTION analytics.visible_slots() RETURNS smallint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT CASE WHEN analytics.sees_all() THEN ARRAY(SELECT generate_series(0, 1023)::smallint)
                ELSE ARRAY(SELECT slot FROM analytics.readers WHERE role_name = session_user) END
$$;

-- Made anew, with the servers behind it. Readers' rights to the view are given again after it.
DROP VIEW IF EXISTS analytics.events;
DROP SCHEMA IF EXISTS analytics_shards CASCADE;
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT srvname FROM pg_catalog.pg_foreign_server WHERE srvname LIKE 'comanda\_shard\_%' LOOP
        EXECUTE pg_catalog.format('DROP SERVER %I CASCADE', old.srvname);
    END LOOP;
END $$;
CREATE SCHEMA analytics_shards;
