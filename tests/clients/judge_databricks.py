"""What a Databricks workspace says of a connector, by the official `databricks-sdk`; or a stranger's recipient in it.

Usage: judge_databricks.py <url> <client id> <secret> share <share>
       judge_databricks.py <url> <client id> <secret> recipient <name> <sharing identifier>

`share` prints one line of JSON: the share's objects with their columns and places, and who was granted it, as both
ends say. `recipient` makes a recipient that belongs to this principal.
"""

import json
import sys

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.sharing import AuthenticationType


def objects(workspace, share):
    found = {}
    for shared in workspace.shares.get(share, include_shared_data=True).objects or []:
        table = workspace.tables.get(shared.name)
        found[shared.shared_as] = {
            "name": shared.name,
            "status": shared.status.value,
            "history": shared.history_data_sharing_status.value,
            "location": table.storage_location,
            "columns": [f"{column.name} {column.type_text}" for column in table.columns],
        }
    return found


def grants(workspace, share):
    """Recipients that both ends name, with how they show who they are."""
    found = {}
    for assignment in workspace.shares.share_permissions(share).privilege_assignments or []:
        recipient = workspace.recipients.get(assignment.principal)
        permitted = workspace.recipients.share_permissions(assignment.principal).permissions_out or []
        found[recipient.name] = {
            "privileges": [privilege.value for privilege in assignment.privileges],
            "agreed": share in [permission.share_name for permission in permitted],
            "authentication": recipient.authentication_type.value,
            "identifier": recipient.data_recipient_global_metastore_id,
            "tokens": len(recipient.tokens or []),
        }
    return found


def main(url, client_id, secret, what, *arguments):
    config = Config(host=url, client_id=client_id, client_secret=secret, auth_type="oauth-m2m")
    workspace = WorkspaceClient(config=config)
    if what == "recipient":
        name, identifier = arguments
        workspace.recipients.create(
            name, AuthenticationType.DATABRICKS, data_recipient_global_metastore_id=identifier
        )
        return
    (share,) = arguments
    print(json.dumps({"objects": objects(workspace, share), "grants": grants(workspace, share)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
