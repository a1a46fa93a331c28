-- Why: analysts ask the log in SQL, and what they are shown must not change with the tables behind it,
-- nor let one tenant's analyst see another's events. Columns of the view may be added, never renamed.
--
-- Readers have rights to the view and to nothing else: it reads the log with its owner's. What each
-- may see goes by who connected (session_user), which no SET changes, and the view is a security
-- barrier: conditions of the reader that could tell what they are given, by an error or otherwise, are
-- only given rows that may be seen.

CREATE SCHEMA analytics;

CREATE TABLE analytics.readers (
    role_name name     PRIMARY KEY,
    -- NULL: every tenant.
    tenant_id text     COLLATE "C",
    -- The tenant's, so that its events are found by index.
    slot      smallint CHECK (slot BETWEEN 0 AND 1023),
    CHECK ((tenant_id IS NULL) = (slot IS NULL))
);

CREATE FUNCTION analytics.visible_tenant() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM analytics.readers WHERE role_name = session_user
$$;

-- Superusers read the tables anyway.
CREATE FUNCTION analytics.sees_all() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT EXISTS (SELECT FROM analytics.readers WHERE role_name = session_user AND tenant_id IS NULL)
        OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper)
$$;

CREATE FUNCTION analytics.visible_slots() RETURNS smallint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT CASE WHEN analytics.sees_all() THEN ARRAY(SELECT generate_series(0, 1023)::smallint)
                ELSE ARRAY(SELECT slot FROM analytics.readers WHERE role_name = session_user) END
$$;

-- Each event once, in the shard that owns its slot: copies that a move left behind are not shown, and
-- while a slot is being handed over its events are shown by neither shard.
CREATE VIEW analytics.events WITH (security_barrier) AS
SELECT e.tenant_id,
       e.metadata ->> 'establishment_id' AS establishment_id,
       e.aggregate_type AS stream_type,
       substr(e.aggregate_id, length(e.tenant_id) + 2) AS stream_id,
       e.sequence,
       e.event_type,
       e.event_version,
       e.event_id,
       e.slot,
       e.slot_position,
       s.incarnation,
       e.recorded_at,
       (e.metadata ->> 'occurred_at')::timestamptz AS occurred_at,
       e.metadata ->> 'actor' AS actor,
       e.metadata ->> 'correlation_id' AS correlation_id,
       e.metadata ->> 'causation_id' AS causation_id,
       (e.metadata ->> 'number')::bigint AS order_number,
       e.payload::jsonb AS payload
  FROM public.events e
  JOIN public.slots s ON s.slot = e.slot AND s.owned
 WHERE e.slot = ANY ((SELECT analytics.visible_slots())::smallint[])
   AND ((SELECT analytics.sees_all()) OR e.tenant_id = (SELECT analytics.visible_tenant()));
