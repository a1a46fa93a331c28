"""Reads an exported folder of Parquet with DuckDB, as an analyst would, and prints as JSON lines:
what each tenant and day holds by the names of the folders, and the columns' types."""

import json
import sys

import duckdb

folder = sys.argv[1]
files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types = {{'tenant': VARCHAR}})"
database = duckdb.connect()
for name, kind, *_ in database.sql(f"DESCRIBE SELECT * FROM {files}").fetchall():
    print(json.dumps({"column": name, "type": kind}))
sums = f"""
    SELECT tenant, day::VARCHAR, count(*), coalesce(sum(total_minor), 0)::BIGINT
      FROM {files}
     WHERE tenant = tenant_id AND day = (recorded_at AT TIME ZONE 'UTC')::DATE
     GROUP BY ALL
"""
for tenant, day, events, total in database.sql(sums).fetchall():
    print(json.dumps({"tenant": tenant, "day": day, "events": events, "total": total}))
# What is inside the payload is there as well, and says the same.
inside = f"""
    SELECT count(*) FROM {files}
     WHERE (payload::JSON -> '$.totals.total')::BIGINT IS DISTINCT FROM total_minor
"""
print(json.dumps({"differ": database.sql(inside).fetchone()[0]}))
