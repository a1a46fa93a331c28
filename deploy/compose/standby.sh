#!/bin/sh
# A standby: copies its primary where there is no copy yet, then follows it.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # What a copy that was cut off has left.
    find "$PGDATA" -mindepth 1 -delete
    chown postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export PGPASSWORD
    copy=$PGDATA/copy
    gosu postgres pg_basebackup --pgdata "$copy" --host "$PRIMARY" --username "$POSTGRES_USER" \
        --slot "$SLOT" --wal-method=stream --checkpoint=fast --write-recovery-conf --no-password
    # PG_VERSION last: with it the copy counts as whole.
    find "$copy" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
    mv "$copy/PG_VERSION" "$PGDATA/"
    rmdir "$copy"
    unset PGPASSWORD
fi
exec docker-entrypoint.sh "$@"
