-- Why: one row answers a whole order. Its items live on the row, because every reader of an order
-- wants them and joining them in cost four times as much; lists page by keyset over the indexes.

-- The words an order is found by. Immutable, so that a generated column may use it. The text is cut
-- because a tsvector holds at most 1 MB and an order's item names may be longer; nobody searches
-- for the ten-thousandth word.
CREATE FUNCTION meta.order_search(reference text, customer_name text, note text, items jsonb)
RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT to_tsvector(
        'pg_catalog.simple'::regconfig,
        left(
            concat_ws(
                ' ', reference, customer_name, note,
                (SELECT string_agg(item ->> 'name', ' ') FROM jsonb_array_elements(items) AS item)
            ),
            50000
        )
    )
$$;

-- Amounts are minor units of `currency`. `items` is an array of
-- {line_id, product_id?, name, quantity, unit_price, modifiers[], note?, line_total}.
CREATE FUNCTION meta.create_orders(schema_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    EXECUTE format($ddl$
        CREATE TABLE %I.orders (
            tenant_id        text        NOT NULL,
            order_id         uuid        NOT NULL,
            establishment_id text        NOT NULL,
            number           bigint      NOT NULL,
            business_date    date        NOT NULL,
            reference        text,
            status           text        NOT NULL,
            service_type     text        NOT NULL,
            channel          text,
            table_id         text,
            currency         text        NOT NULL,
            subtotal         bigint      NOT NULL,
            discount         bigint      NOT NULL,
            tax              bigint      NOT NULL,
            tip              bigint      NOT NULL,
            total            bigint      NOT NULL,
            item_count       integer     NOT NULL,
            items            jsonb       NOT NULL,
            customer_id      text,
            customer_name    text,
            customer_contact text,
            note             text,
            placed_at        timestamptz NOT NULL,
            updated_at       timestamptz NOT NULL,
            version          bigint      NOT NULL,
            search           tsvector    NOT NULL
                GENERATED ALWAYS AS (meta.order_search(reference, customer_name, note, items)) STORED,
            PRIMARY KEY (tenant_id, order_id)
        )
    $ddl$, schema_name);
    EXECUTE format(
        'CREATE INDEX orders_newest ON %I.orders (tenant_id, establishment_id, placed_at DESC, order_id)',
        schema_name);
    EXECUTE format(
        'CREATE INDEX orders_by_status ON %I.orders (tenant_id, establishment_id, status, placed_at DESC, order_id)',
        schema_name);
    EXECUTE format(
        'CREATE UNIQUE INDEX orders_by_number ON %I.orders (tenant_id, establishment_id, business_date, number)',
        schema_name);
    EXECUTE format('CREATE INDEX orders_by_text ON %I.orders USING gin (search)', schema_name);
END
$$;
