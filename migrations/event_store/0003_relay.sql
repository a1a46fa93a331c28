-- Why: how far the log has been published to Kafka, and by whom. Both stand in the shard itself, so
-- that they are restored and promoted together with the events they speak of, and so that a relay
-- needs nothing but the shards and Kafka.
--
-- Time in these tables is the database's own: relays' clocks are never compared.

-- One row per topic that this shard is published to; a new topic begins at the log's beginning.
CREATE TABLE relay_cursors (
    topic            text        COLLATE "C" PRIMARY KEY,
    -- Everything up to this position of the shard was acknowledged by Kafka.
    position         bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- How often it was set back, by an operator or because Kafka lost what it had acknowledged.
    rewinds          bigint      NOT NULL DEFAULT 0,
    -- A position that was acknowledged so long ago that Kafka's own disks have it, and the ends of
    -- the topic's partitions then: where they are found shorter, the topic is not the one it was.
    settled_position bigint      NOT NULL DEFAULT 0 CHECK (settled_position >= 0),
    settled_ends     bigint[]    NOT NULL DEFAULT '{}',
    -- The lease. The term rises with each holder; who comes with an older one has lost it.
    holder           uuid,
    term             bigint      NOT NULL DEFAULT 0,
    lease_until      timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

-- The relays that were here a moment ago, so that each knows its share of the shards.
CREATE TABLE relay_members (
    topic         text        COLLATE "C" NOT NULL,
    relay         uuid        NOT NULL,
    -- host:process, for people.
    name          text        NOT NULL,
    present_until timestamptz NOT NULL,
    PRIMARY KEY (topic, relay)
) WITH (fillfactor = 10);

-- A cursor that fell back unnoticed would be harmless (records twice), one that is set wrongly
-- forward loses records; so every change but a counted rewind goes forward.
CREATE FUNCTION refuse_cursor_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position < OLD.position AND NEW.rewinds <= OLD.rewinds THEN
        RAISE EXCEPTION 'the relay''s cursor for % cannot go back from % to %', OLD.topic, OLD.position, NEW.position
            USING ERRCODE = 'CM011';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER relay_cursor_goes_forward BEFORE UPDATE OF position ON relay_cursors
    FOR EACH ROW EXECUTE FUNCTION refuse_cursor_going_back();
