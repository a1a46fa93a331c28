-- Why: what happened to an order and when, one row an event, so that a screen can show an order's
-- history without folding the log.

CREATE FUNCTION meta.create_order_timeline(schema_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    -- from_status is null on the first entry; reason and actor where there was none. occurred_at is
    -- the device's time, recorded_at the log's.
    EXECUTE format($ddl$
        CREATE TABLE %I.entries (
            tenant_id   text        NOT NULL,
            order_id    uuid        NOT NULL,
            sequence    bigint      NOT NULL,
            event_type  text        NOT NULL,
            from_status text,
            status      text        NOT NULL,
            reason      text,
            actor       text,
            occurred_at timestamptz NOT NULL,
            recorded_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, order_id, sequence)
        )
    $ddl$, schema_name);
END
$$;
