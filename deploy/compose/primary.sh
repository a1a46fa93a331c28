#!/bin/sh
# Run once by the postgres image on a new server: its databases, and a slot for each standby, which
# keeps the log that the standby has not got yet.
set -eu

# Words, not one name.
# shellcheck disable=SC2153,SC2086
{
    for database in $DATABASES; do
        createdb --username "$POSTGRES_USER" "$database"
    done
    for standby in $STANDBYS; do
        psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 --quiet \
            --command "select pg_create_physical_replication_slot('$standby', true)" >/dev/null
    done
}
echo 'host replication all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
