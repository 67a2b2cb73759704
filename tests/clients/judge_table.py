"""Opens tables in storage with the official deltalake package, which knows nothing of us, and prints what it sees.

usage: judge_table.py TABLE_URI    (endpoint and credentials come from the environment)
"""

import json
import sys

from deltalake import DeltaTable

table = DeltaTable(sys.argv[1], storage_options={"AWS_ALLOW_HTTP": "true"})
actions = table.get_add_actions(flatten=True)
batch = actions.to_pylist() if hasattr(actions, "to_pylist") else __import__("pyarrow").table(actions).to_pylist()
print(
    json.dumps(
        {
            "version": table.version(),
            "rows": table.to_pyarrow_table().num_rows,
            "files": len(table.file_uris()),
            "records": sum(action["num_records"] or 0 for action in batch),
            "protocol": [table.protocol().min_reader_version, table.protocol().min_writer_version],
            "transactions": len(table.transaction_versions()) if hasattr(table, "transaction_versions") else None,
        }
    )
)
