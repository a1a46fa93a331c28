-- Why: a move of a slot takes many steps on three databases, and whoever does them may die between any
-- two. What was decided stands here: before 'opening' a move can be undone, from there on it can only
-- be finished, and the one update that says so is the decision. Only these states are needed to go on;
-- where exactly it stood, the shards' own tables say.

CREATE TABLE moves (
    -- Rises: of two moves of a slot, the later one has the higher number.
    move              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot              smallint    NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    source            smallint    NOT NULL CHECK (source >= 0),
    target            smallint    NOT NULL CHECK (target >= 0),
    state             text        NOT NULL DEFAULT 'planned' CHECK (state IN (
        'planned', 'copying', 'fencing', 'catching_up', 'verifying', 'draining', 'opening', 'done', 'undoing', 'undone')),
    -- Up to here source and target were compared and found equal.
    verified_position bigint      NOT NULL DEFAULT 0 CHECK (verified_position >= 0),
    -- How many events the slot had when it was opened.
    events            bigint,
    begun_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    fenced_at         timestamptz,
    ended_at          timestamptz,
    -- How long the slot took no appends.
    pause_ms          double precision,
    -- Why it was undone.
    reason            text,
    CHECK (source <> target),
    CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'undone')))
);

-- Two moves of a slot at once are refused, those of different slots are not.
CREATE UNIQUE INDEX moves_one_at_a_time ON moves (slot) WHERE ended_at IS NULL;
