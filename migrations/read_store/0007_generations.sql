-- Why: a read model is rebuilt beside the generation that is served, and its operator has to see how
-- far that is, who does it, and what became of it. So a generation has a state, and whoever fills one
-- keeps a row here: a lease, so that nobody else begins the same, and the progress, so that whoever
-- comes after a crash goes on.

-- filling:  only the rebuild that made it writes it.
-- live:     every projector of its code version feeds it, served or not.
-- scratch:  as of a position that has passed; nobody feeds it.
-- retired:  kept, but of a history of the log that ended before it did; nobody feeds it.
-- dropping: nobody feeds it, nobody may be sent to it, its tables are about to go.
ALTER TABLE meta.generations
    ADD COLUMN state text NOT NULL DEFAULT 'live'
        CHECK (state IN ('filling', 'live', 'scratch', 'retired', 'dropping')),
    -- When queries stopped being sent to it; null where they never were, or still are.
    ADD COLUMN served_until timestamptz;

-- A number is never given twice: a query that resolved a generation before it was dropped must not
-- read another one under its name.
CREATE TABLE meta.dropped_generations (
    read_model text        NOT NULL,
    generation integer     NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (read_model, generation)
);

-- filling:   reading the log.
-- verifying: compared with the log, and with the generation that is served.
-- ready:     verified; waits for an operator to switch.
-- differs:   is not what the log says, or not what is served; waits for an operator.
-- switched:  was made the generation that is served.
-- done:      as of a position, complete.
--
-- The lease is a convenience, not a lock: two that fill the same generation meet at the
-- compare-and-set of its checkpoints.
CREATE TABLE meta.rebuilds (
    read_model        text        NOT NULL,
    generation        integer     NOT NULL,
    -- The cursor up to which to read; null for the log's heads.
    as_of             text,
    state             text        NOT NULL DEFAULT 'filling'
        CHECK (state IN ('filling', 'verifying', 'ready', 'differs', 'switched', 'done')),
    lease             uuid        NOT NULL,
    holder            text        NOT NULL,
    lease_until       timestamptz NOT NULL,
    -- Events read and to be read, of all the read models that are rebuilt together.
    events_done       bigint      NOT NULL DEFAULT 0,
    events_total      bigint      NOT NULL DEFAULT 0,
    -- Over the last seconds; null where nothing can be said.
    events_per_second double precision,
    remaining_ms      double precision,
    started_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    filled_at         timestamptz,
    verified_at       timestamptz,
    switched_at       timestamptz,
    PRIMARY KEY (read_model, generation),
    FOREIGN KEY (read_model, generation) REFERENCES meta.generations
);
