-- Why: the places of business a tenant has, with the terms that new orders are placed under.

CREATE FUNCTION meta.create_establishments(schema_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    -- tax_rate_ppm: parts per million (8.875 % is 88750).
    EXECUTE format($ddl$
        CREATE TABLE %I.establishments (
            tenant_id        text        NOT NULL,
            establishment_id text        NOT NULL,
            name             text        NOT NULL,
            time_zone        text        NOT NULL,
            currency         text        NOT NULL,
            tax_mode         text        NOT NULL,
            tax_rate_ppm     integer     NOT NULL,
            kind             text        NOT NULL,
            version          bigint      NOT NULL,
            updated_at       timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, establishment_id)
        )
    $ddl$, schema_name);
END
$$;
