-- Why: what every read model shares: which generation of it is served, how far each generation
-- has read each slot of the log, and which streams it could not read. Rows and the checkpoint they
-- belong to commit together, so a read store is always a consistent fold of a prefix of every slot.

CREATE SCHEMA meta;

COMMENT ON SCHEMA meta IS 'Generations, checkpoints and parked streams of the read models.';

-- One generation of one read model, in a schema of its own. code_version is the version of the
-- projection that fills it: another version folds differently and needs another generation.
CREATE TABLE meta.generations (
    read_model   text        NOT NULL,
    generation   integer     NOT NULL CHECK (generation > 0),
    schema_name  text        NOT NULL UNIQUE,
    code_version integer     NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (read_model, generation)
);

-- The pointer: the generation that queries read. Switching (or rolling back) is one UPDATE here,
-- with no DDL and no lock that would cancel reads on a standby.
CREATE TABLE meta.read_models (
    read_model text    PRIMARY KEY,
    generation integer NOT NULL,
    FOREIGN KEY (read_model, generation) REFERENCES meta.generations
);

-- How far a generation has read a slot. Every slot has its row from the generation's first day, so
-- that a projector only ever compares and sets, and a missing row can only mean a dropped
-- generation. `parked` counts the slot's parked streams: the compare-and-set returns it, so a
-- projector looks the parked ones up only where there are any. Room is left on the page because
-- these rows change with every batch.
CREATE TABLE meta.checkpoints (
    read_model    text    NOT NULL,
    generation    integer NOT NULL,
    slot          integer NOT NULL,
    slot_position bigint  NOT NULL DEFAULT 0 CHECK (slot_position >= 0),
    incarnation   integer NOT NULL DEFAULT 0,
    parked        bigint  NOT NULL DEFAULT 0 CHECK (parked >= 0),
    PRIMARY KEY (read_model, generation, slot),
    FOREIGN KEY (read_model, generation) REFERENCES meta.generations
) WITH (fillfactor = 50);

-- A stream that a read model could not fold. It stands still for that read model only, from
-- first_sequence on, until it is retried with code that understands it.
CREATE TABLE meta.parked_streams (
    read_model     text        NOT NULL,
    generation     integer     NOT NULL,
    tenant_id      text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    slot           integer     NOT NULL,
    first_sequence bigint      NOT NULL,
    error          text        NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (read_model, generation, aggregate_type, aggregate_id),
    FOREIGN KEY (read_model, generation) REFERENCES meta.generations
);

-- A query tells a tenant when something of it is parked in a read model that the query touched.
CREATE INDEX parked_streams_by_tenant ON meta.parked_streams (tenant_id, read_model, generation);

-- The events waiting behind a parked stream, by reference: the log keeps their content.
CREATE TABLE meta.parked_events (
    read_model     text    NOT NULL,
    generation     integer NOT NULL,
    aggregate_type text    NOT NULL,
    aggregate_id   text    NOT NULL,
    sequence       bigint  NOT NULL,
    slot           integer NOT NULL,
    slot_position  bigint  NOT NULL,
    PRIMARY KEY (read_model, generation, aggregate_type, aggregate_id, sequence),
    FOREIGN KEY (read_model, generation, aggregate_type, aggregate_id) REFERENCES meta.parked_streams
);
