#!/bin/sh
# Makes what is secret, once: passwords and URLs that carry them, a file each. The volume they lie
# in is mounted by the containers of this composition only, under users of many numbers.
set -eu
umask 022
cd /run/comanda

random() { od -An -N 32 -tx1 /dev/urandom | tr -d ' \n'; }

for name in token-secret postgres-password; do
    # Whole or not at all: a container may be killed at any time.
    [ -s "$name" ] || { random >"$name.new" && mv "$name.new" "$name"; }
done

url() { printf 'postgres://comanda:%s@%s:5432/%s' "$(cat postgres-password)" "$2" "$3" >"$1-url"; }
url control shards-a control
url shard-0 shards-a shard_0
url shard-1 shards-a shard_1
url shard-2 shards-b shard_2
url shard-3 shards-b shard_3
url read-0 read-0 read_store
url read-1 read-1 read_store
url read-2 read-2 read_store
