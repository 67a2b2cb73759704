"""Asks the operator's table of reads what a connector's recipient read, as docs/operations.md does it.

usage: query_reads.py BUCKET CONNECTOR
Prints one JSON line for each table and kind of read, then one with the number of rows and of different rows.
"""

import json
import os
import sys

import duckdb
from deltalake import DeltaTable

bucket, connector = sys.argv[1], sys.argv[2]
options = {"aws_endpoint": os.environ["AWS_ENDPOINT_URL"], "aws_allow_http": "true"}
reads = DeltaTable(f"s3://{bucket}/audit/SHARE_READS", storage_options=options).to_pyarrow_table()
asked = duckdb.sql(
    """
    SELECT table_name, kind, holder, count(*) AS reads, sum(files) AS files, sum(bytes) AS bytes,
           max(table_version) AS table_version
    FROM reads WHERE connector_id = ? AND read_at >= now() - INTERVAL 1 DAY GROUP BY ALL ORDER BY ALL
    """,
    params=[connector],
)
for row in asked.fetchall():
    print(json.dumps({name: int(v) if not isinstance(v, str) else v for name, v in zip(asked.columns, row)}))
[(rows, different)] = duckdb.sql("SELECT count(*), count(DISTINCT r) FROM reads r").fetchall()
print(json.dumps({"rows": rows, "different": different}))
sys.stdout.flush()
# The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
