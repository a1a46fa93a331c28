-- Why: a standby that was promoted and a backup that was restored may lack events that were
-- acknowledged, and do not know it. Were they appended to at once, positions that readers have seen
-- would be given out again for other events. So the shard remembers which server, and which history
-- of it, it was last opened on; whoever is about to append compares, and where they differ the shard
-- refuses appends until its slots were compared and given a new incarnation.
--
-- Compared once per session and not in append_events: promotion and restoration end every session
-- that could append, and a session is only made on a server that is not in recovery.
--
-- What is recognised: promotion and point-in-time recovery (both begin a new timeline; a crash and
-- its recovery do not), a dump loaded elsewhere (another server or database), a copy of the database.
-- What cannot be recognised from inside: a base backup or a disk's snapshot started as if after a
-- crash, without recovery.signal, which goes on in the old timeline. A process that appended before
-- finds that out, if it still runs, because the log ends before what was acknowledged to it.
-- Otherwise an operator must say so with `shards restored`. Nor does anything here end an old
-- primary that still runs beside its promoted standby: it must be stopped before the promotion.

-- The timeline as of now. Not pg_control_checkpoint(): that is the last checkpoint's, which after a
-- promotion may stay the old one for minutes.
CREATE FUNCTION server_timeline() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
$$;

CREATE FUNCTION server_identifier() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT system_identifier FROM pg_control_system()
$$;

CREATE FUNCTION server_database() RETURNS oid LANGUAGE sql VOLATILE AS $$
    SELECT oid FROM pg_database WHERE datname = current_database()
$$;

-- What the shard was last opened on. A shard that is there already counts as opened here.
ALTER TABLE shard
    ADD COLUMN system_identifier bigint NOT NULL DEFAULT server_identifier(),
    ADD COLUMN database_oid oid NOT NULL DEFAULT server_database(),
    ADD COLUMN timeline bigint NOT NULL DEFAULT server_timeline(),
    -- How often it was opened again after a promotion or restoration.
    ADD COLUMN reopened integer NOT NULL DEFAULT 0 CHECK (reopened >= 0);

-- What a slot's later incarnations began behind: everything up to there is common to it and the
-- incarnation before. A reader of an older incarnation that is beyond has seen events that no longer
-- exist. A slot's first incarnation has no row. Moves with its slot.
CREATE TABLE incarnations (
    slot         smallint    NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    incarnation  integer     NOT NULL CHECK (incarnation >= 2),
    began_behind bigint      NOT NULL CHECK (began_behind >= 0),
    reason       text        NOT NULL CHECK (reason IN ('restored', 'promoted')),
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (slot, incarnation)
);

-- What makes the shard doubtful: 'restored', 'promoted', or nothing. `p_reopened` and `p_position`
-- are what the caller last knew of it: how often it was opened again, and a position acknowledged.
CREATE FUNCTION doubt_server(s shard, p_reopened integer, p_position bigint) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE
        WHEN s.system_identifier <> server_identifier() OR s.database_oid <> server_database() THEN 'restored'
        WHEN s.timeline <> server_timeline() THEN 'promoted'
        WHEN (s.reopened, s.position) < (p_reopened, CASE s.reopened WHEN p_reopened THEN p_position ELSE 0 END)
            THEN 'restored'
    END
$$;

-- The first statement of a session that will append. What it finds it writes down, so that sessions
-- that know less refuse as well.
CREATE FUNCTION recognise_server(p_reopened integer, p_position bigint)
RETURNS TABLE (shard_id smallint, state text, reopened integer) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this server is a standby and takes no appends' USING ERRCODE = 'CM005';
    END IF;
    IF EXISTS (SELECT FROM shard s WHERE s.state = 'open' AND doubt_server(s, p_reopened, p_position) IS NOT NULL) THEN
        PERFORM lock_head();
        -- Judged again: it may have been opened while this waited.
        UPDATE shard s SET state = doubt_server(s, p_reopened, p_position)
         WHERE s.state = 'open' AND doubt_server(s, p_reopened, p_position) IS NOT NULL;
    END IF;
    RETURN QUERY SELECT s.shard_id, s.state, s.reopened FROM shard s;
END $$;
