-- Why: a slot that goes to another shard while orders flow. Whatever a mover does to a shard is one
-- call of one function here, under the head lock, and each can be called again: a mover that dies at
-- any point, or comes back late, changes nothing that a later one decided.

ALTER TABLE slots
    -- A move has shut the slot here and has not opened it elsewhere yet. Nothing is appended; what was
    -- is still this shard's to publish.
    ADD COLUMN fenced boolean NOT NULL DEFAULT false,
    -- The last move that touched the slot here: an earlier one that comes late is refused.
    ADD COLUMN move bigint NOT NULL DEFAULT 0 CHECK (move >= 0),
    ADD CONSTRAINT slots_fenced_is_not_owned CHECK (NOT (owned AND fenced));

-- Held like append_events: from here to the end of the transaction nothing is appended. Judging comes
-- in the statements after, because one that waited for the lock sees what was before.
CREATE FUNCTION lock_open_head() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    state_here text;
BEGIN
    PERFORM lock_head();
    SELECT state INTO state_here FROM shard;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this shard was never given its slots' USING ERRCODE = 'CM003';
    END IF;
    IF state_here <> 'open' THEN
        RAISE EXCEPTION 'this shard was % and moves no slots until its own were compared', state_here
            USING ERRCODE = 'CM004', HINT = 'Run `comanda shards ' || state_here || '`.';
    END IF;
END $$;

-- At the source: no append from here on. Answers where the slot ends. In another incarnation than the
-- one that was compared with the target, other events may stand where those were: then it is refused.
CREATE FUNCTION fence_slot(p_slot smallint, p_move bigint, p_ownership bigint, p_incarnation integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here slots%ROWTYPE;
BEGIN
    PERFORM lock_open_head();
    SELECT * INTO here FROM slots WHERE slot = p_slot;
    IF here.fenced AND here.move = p_move THEN
        RETURN here.slot_position;
    END IF;
    IF here.owned IS NOT TRUE OR here.ownership <> p_ownership OR here.move >= p_move THEN
        RAISE EXCEPTION 'slot % is not for move % to shut', p_slot, p_move USING ERRCODE = 'CM020';
    END IF;
    IF here.incarnation <> p_incarnation THEN
        RAISE EXCEPTION 'slot % was promoted or restored since move % compared it: move it again', p_slot, p_move
            USING ERRCODE = 'CM020';
    END IF;
    UPDATE slots SET owned = false, fenced = true, move = p_move WHERE slot = p_slot;
    RETURN here.slot_position;
END $$;

-- At the source: the move is off. Also where it had not come as far as the fence, so that a fence
-- that is still on its way finds itself refused.
CREATE FUNCTION unfence_slot(p_slot smallint, p_move bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM lock_head();
    UPDATE slots SET owned = owned OR fenced, fenced = false, move = p_move WHERE slot = p_slot AND move <= p_move;
END $$;

-- At the source: the slot is open elsewhere, and what is left here is a copy.
CREATE FUNCTION release_slot(p_slot smallint, p_move bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM lock_head();
    UPDATE slots SET fenced = false WHERE slot = p_slot AND move = p_move AND fenced;
END $$;

-- At the target: stores a run of a slot's events, neighbours in the slot. What is here already stays,
-- and must be the same. Answers how far the slot reaches here.
CREATE FUNCTION receive_events(
    p_slot smallint, p_ownership bigint,
    p_slot_position bigint[], p_type text[], p_id text[], p_sequence bigint[], p_tenant text[],
    p_event_id uuid[], p_event_type text[], p_event_version text[], p_payload text[], p_metadata text[],
    p_recorded_at timestamptz[]
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    here slots%ROWTYPE;
    first_due bigint := p_slot_position[1];
    last_due bigint := p_slot_position[cardinality(p_slot_position)];
    differs bigint;
    received bigint;
BEGIN
    PERFORM lock_open_head();
    INSERT INTO slots (slot, ownership, owned) VALUES (p_slot, p_ownership, false) ON CONFLICT (slot) DO NOTHING;
    SELECT * INTO here FROM slots WHERE slot = p_slot;
    IF here.owned OR here.fenced THEN
        RAISE EXCEPTION 'slot % is this shard''s own', p_slot USING ERRCODE = 'CM021';
    END IF;
    IF first_due > here.slot_position + 1 OR last_due - first_due + 1 <> cardinality(p_slot_position) THEN
        RAISE EXCEPTION 'slot % goes on behind %, not at % to %', p_slot, here.slot_position, first_due, last_due
            USING ERRCODE = 'CM022';
    END IF;
    IF first_due <= here.slot_position THEN
        SELECT i.slot_position INTO differs
          FROM unnest(p_slot_position, p_event_id) AS i (slot_position, event_id)
          JOIN events e ON e.slot = p_slot AND e.slot_position = i.slot_position
         WHERE e.event_id <> i.event_id LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'slot % has another event at % here', p_slot, differs USING ERRCODE = 'CM023';
        END IF;
    END IF;
    IF last_due <= here.slot_position THEN
        RETURN here.slot_position;
    END IF;
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        position, slot, slot_position, tenant_id, event_id, recorded_at, copied)
    SELECT i.type, i.id, i.sequence, i.event_type, i.event_version, i.payload::json, i.metadata::json,
           (SELECT h.position FROM shard h) + i.slot_position - here.slot_position,
           p_slot, i.slot_position, i.tenant, i.event_id, i.recorded_at, true
      FROM unnest(p_slot_position, p_type, p_id, p_sequence, p_tenant, p_event_id, p_event_type, p_event_version,
                  p_payload, p_metadata, p_recorded_at)
           AS i (slot_position, type, id, sequence, tenant, event_id, event_type, event_version,
                 payload, metadata, recorded_at)
     WHERE i.slot_position > here.slot_position;
    GET DIAGNOSTICS received = ROW_COUNT;
    UPDATE shard SET position = position + received;
    UPDATE slots SET slot_position = last_due WHERE slot = p_slot;
    RETURN last_due;
END $$;

-- At the target: the last order numbers given out, as the source has them.
CREATE FUNCTION receive_order_numbers(
    p_slot smallint, p_tenant text[], p_establishment text[], p_date date[], p_number bigint[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM lock_open_head();
    IF EXISTS (SELECT FROM slots WHERE slot = p_slot AND (owned OR fenced)) THEN
        RAISE EXCEPTION 'slot % is this shard''s own', p_slot USING ERRCODE = 'CM021';
    END IF;
    INSERT INTO order_numbers AS c (slot, tenant_id, establishment_id, business_date, last_number)
    SELECT p_slot, i.tenant, i.establishment, i.date, i.number
      FROM unnest(p_tenant, p_establishment, p_date, p_number) AS i (tenant, establishment, date, number)
        ON CONFLICT (slot, tenant_id, establishment_id, business_date)
        -- One that comes late brings no number back.
        DO UPDATE SET last_number = greatest(c.last_number, excluded.last_number);
END $$;

-- At the target: appends are taken from here on, under a higher ownership than any before. Where the
-- slot is here at that ownership already, or came and went since, nothing happens.
CREATE FUNCTION open_slot(
    p_slot smallint, p_move bigint, p_ownership bigint, p_slot_position bigint, p_incarnation integer,
    p_recorded_at timestamptz,
    p_branch integer[], p_behind bigint[], p_reason text[], p_began_at timestamptz[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here slots%ROWTYPE;
BEGIN
    PERFORM lock_open_head();
    -- A slot without events has nothing to be received.
    INSERT INTO slots (slot, ownership, owned) VALUES (p_slot, p_ownership - 1, false) ON CONFLICT (slot) DO NOTHING;
    SELECT * INTO here FROM slots WHERE slot = p_slot;
    IF here.ownership >= p_ownership THEN
        RETURN;
    END IF;
    -- A slot's moves come one after the other: where a later one was, this one had ended.
    IF here.move > p_move THEN
        RAISE EXCEPTION 'slot % is not for move % to open: move % was here since', p_slot, p_move, here.move
            USING ERRCODE = 'CM020';
    END IF;
    IF here.owned OR here.fenced OR here.slot_position <> p_slot_position THEN
        RAISE EXCEPTION 'slot % reaches to % here, not to %', p_slot, here.slot_position, p_slot_position
            USING ERRCODE = 'CM022';
    END IF;
    -- What this shard gave its copies in a promotion or restoration of its own was never the slot's.
    DELETE FROM incarnations WHERE slot = p_slot;
    INSERT INTO incarnations (slot, incarnation, began_behind, reason, began_at)
    SELECT p_slot, i.branch, i.behind, i.reason, i.began_at
      FROM unnest(p_branch, p_behind, p_reason, p_began_at) AS i (branch, behind, reason, began_at);
    UPDATE slots SET owned = true, ownership = p_ownership, incarnation = p_incarnation, recorded_at = p_recorded_at,
                     move = greatest(move, p_move)
     WHERE slot = p_slot;
END $$;
