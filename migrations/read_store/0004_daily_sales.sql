-- Why: the daily report of an establishment without adding up its orders. Each order keeps what it
-- contributes, so that an event writes new minus old: a cancellation next week takes the order out
-- of the day it was placed on, and no event is ever counted twice or half.

CREATE FUNCTION meta.create_daily_sales(schema_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    -- A day whose orders were all rejected or cancelled has no row. sales: minor units of currency,
    -- tax included. unique_customers: known customers; guests are not counted.
    EXECUTE format($ddl$
        CREATE TABLE %I.days (
            tenant_id        text   NOT NULL,
            establishment_id text   NOT NULL,
            business_date    date   NOT NULL,
            currency         text   NOT NULL,
            orders           bigint NOT NULL CHECK (orders >= 0),
            sales            bigint NOT NULL CHECK (sales >= 0),
            unique_customers bigint NOT NULL CHECK (unique_customers >= 0),
            PRIMARY KEY (tenant_id, establishment_id, business_date)
        ) WITH (fillfactor = 70)
    $ddl$, schema_name);
    EXECUTE format($ddl$
        CREATE TABLE %I.contributions (
            tenant_id        text   NOT NULL,
            order_id         uuid   NOT NULL,
            establishment_id text   NOT NULL,
            business_date    date   NOT NULL,
            currency         text   NOT NULL,
            orders           bigint NOT NULL,
            sales            bigint NOT NULL,
            customer_id      text,
            PRIMARY KEY (tenant_id, order_id)
        )
    $ddl$, schema_name);
    -- Distinct customers by counting references: a row is gone when its last order is.
    EXECUTE format($ddl$
        CREATE TABLE %I.customers (
            tenant_id        text   NOT NULL,
            establishment_id text   NOT NULL,
            business_date    date   NOT NULL,
            customer_id      text   NOT NULL,
            refs             bigint NOT NULL CHECK (refs >= 0),
            PRIMARY KEY (tenant_id, establishment_id, business_date, customer_id)
        )
    $ddl$, schema_name);
END
$$;
