-- Why: an operator may give up the events that wait behind a parked stream. The stream is then out of
-- that generation for good: its rows stay as of the last event that was applied, later events pass it
-- by, and queries go on saying that it is parked. Only a new generation tries its events again.

ALTER TABLE meta.parked_streams
    -- Null where the stream's events wait.
    ADD COLUMN dropped_at timestamptz;
