-- Why: the catalogue as menus and dashboards list it. Pricing never reads this: commands follow the
-- log itself.

CREATE FUNCTION meta.create_products(schema_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    -- price: minor units of currency. establishment_id is null where the product is sold everywhere.
    -- modifiers: array of {id, name, price}.
    EXECUTE format($ddl$
        CREATE TABLE %I.products (
            tenant_id        text        NOT NULL,
            product_id       text        NOT NULL,
            establishment_id text,
            name             text        NOT NULL,
            category         text,
            price            bigint      NOT NULL,
            currency         text        NOT NULL,
            available        boolean     NOT NULL,
            modifiers        jsonb       NOT NULL,
            version          bigint      NOT NULL,
            updated_at       timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, product_id)
        )
    $ddl$, schema_name);
END
$$;
