-- Why: the log. Everything that ever happened is a row of `events`, and everything else in the
-- platform can be built again from here.
--
-- Text keys are compared byte by byte (COLLATE "C"): faster, and an upgrade of the operating
-- system's collations cannot corrupt an index of the log.

-- The head: one row, read and advanced by every append under the head lock.
CREATE TABLE shard (
    only_row boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    shard_id smallint NOT NULL CHECK (shard_id >= 0),
    -- The last position given out.
    position bigint   NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- A restored or promoted shard takes no appends until its slots were compared with the other
    -- shards': it may have lost slots, or a tail of events, without knowing.
    state    text     NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'restored', 'promoted'))
) WITH (fillfactor = 10);

-- The head of each slot that this shard owns, or owned once. The authority over ownership.
-- Pages are left half empty so that updates stay on their page and touch no index.
CREATE TABLE slots (
    slot          smallint    PRIMARY KEY CHECK (slot BETWEEN 0 AND 1023),
    slot_position bigint      NOT NULL DEFAULT 0 CHECK (slot_position >= 0),
    incarnation   integer     NOT NULL DEFAULT 1 CHECK (incarnation >= 1),
    ownership     bigint      NOT NULL DEFAULT 1 CHECK (ownership >= 1),
    owned         boolean     NOT NULL DEFAULT true,
    -- The last event's: the next is never earlier, whatever the clock does.
    recorded_at   timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

-- The last order number given out, per establishment and business day. Keyed by slot first, because
-- it moves with its slot.
CREATE TABLE order_numbers (
    slot             smallint NOT NULL,
    tenant_id        text     COLLATE "C" NOT NULL,
    establishment_id text     COLLATE "C" NOT NULL,
    business_date    date     NOT NULL,
    last_number      bigint   NOT NULL CHECK (last_number >= 1),
    PRIMARY KEY (slot, tenant_id, establishment_id, business_date)
) WITH (fillfactor = 50);

-- The first seven columns and the primary key are those of postgres-es, whose readers work here
-- unchanged. `json`, not `jsonb`: the exact bytes are kept.
--
-- Three indexes, because each one costs every append: the primary key finds streams, `position`
-- serves the tail, (slot, slot_position) serves refills and pages. There is none on event_id: an id
-- is only ever looked up at a stream's position, and it is 122 random bits minted once per append,
-- so a fourth index would pay on every append for what cannot happen.
CREATE TABLE events (
    aggregate_type text        COLLATE "C" NOT NULL,
    -- tenant/id
    aggregate_id   text        COLLATE "C" NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 1),
    event_type     text        COLLATE "C" NOT NULL,
    event_version  text        COLLATE "C" NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    position       bigint      NOT NULL,
    slot_position  bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    event_id       uuid        NOT NULL,
    slot           smallint    NOT NULL,
    -- Brought here by a move of its slot: readers of the shard's tail have seen it elsewhere.
    copied         boolean     NOT NULL DEFAULT false,
    tenant_id      text        COLLATE "C" NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_position_key UNIQUE (position),
    CONSTRAINT events_slot_position_key UNIQUE (slot, slot_position),
    -- The last line of defence between tenants.
    CONSTRAINT events_stream_of_tenant CHECK (starts_with(aggregate_id, tenant_id || '/'))
);

-- Append-only by a statement trigger: INSERT pays nothing for it, and unlike revoked rights it also
-- binds the table's owner and superusers, which is who a small installation connects as.
CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: % refused', TG_OP USING ERRCODE = 'CM010';
END $$;

CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();

-- What an aggregate is loaded from, through postgres-es: the same columns, with what the log
-- assigned added to the metadata. A slot that moved away shows nothing, so that nobody decides on a
-- copy left behind.
CREATE VIEW stream_events AS
SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload,
       (e.metadata::jsonb || jsonb_build_object(
           'event_id', e.event_id,
           'slot', e.slot::text,
           'slot_position', e.slot_position::text,
           'incarnation', s.incarnation::text,
           'recorded_at', to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
       ))::json AS metadata
  FROM events e
  JOIN slots s ON s.slot = e.slot AND s.owned;
