-- Why: someone must remember which shard was given which slots, so that a fresh platform is laid
-- out once and a lost shard is noticed instead of being laid out anew, empty. This is a record and
-- a hint. The authority over a slot is the shard's own table, and no command reads this database.

CREATE TABLE shards (
    shard_id       smallint    PRIMARY KEY CHECK (shard_id >= 0),
    -- When the shard's head and slots were created. A shard named here whose database is empty was
    -- lost: it must be restored, not created again.
    initialised_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE placement (
    slot     smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 1023),
    shard_id smallint NOT NULL CHECK (shard_id >= 0),
    -- Where the slot's data must stay, for the day when there is more than one region.
    region   text     NOT NULL DEFAULT 'local'
);
