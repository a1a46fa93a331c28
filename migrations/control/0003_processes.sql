-- Why: a platform of many processes must be seen at a glance: who is there, doing what, where to
-- ask for its health. Each process writes its own row every few seconds; nothing depends on it.

CREATE TABLE processes (
    process       uuid        PRIMARY KEY,
    role          text        NOT NULL,
    -- host:process, for people.
    name          text        NOT NULL,
    -- Where its health and metrics are served.
    url           text        NOT NULL,
    version       text        NOT NULL,
    started_at    timestamptz NOT NULL,
    -- By this database's clock.
    present_until timestamptz NOT NULL
) WITH (fillfactor = 10);
