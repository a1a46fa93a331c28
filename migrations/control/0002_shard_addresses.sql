-- Why: a shard added while the platform runs is learnt from here, without a restart.

-- Where the shard is. NULL: the processes' own settings say it. It may hold a password, and then
-- this database must be guarded as the settings are; a process's settings win over it.
ALTER TABLE shards ADD COLUMN url text CHECK (url <> '');

-- The highest incarnation that any of the shard's slots was ever given. It stands outside of the
-- shard because a backup that is restored twice must not give out the same incarnation twice.
ALTER TABLE shards ADD COLUMN incarnation integer NOT NULL DEFAULT 1 CHECK (incarnation >= 1);
