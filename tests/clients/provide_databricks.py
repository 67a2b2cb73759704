"""A provider's whole flow with the official `databricks-sdk` against a workspace: from storage credential to grant.

Usage: provide_databricks.py <url> <client id> <secret> <other client id> <other secret> <bucket>

Uses names that nobody else has, so that it can run twice. Prints what it saw as one line of JSON; any surprise ends it
with an error. The workspace must page by at most 3 items, or the paging shows nothing.
"""

import json
import sys
import time
import uuid

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import AlreadyExists, BadRequest, DatabricksError, NotFound, PermissionDenied, ResourceConflict
from databricks.sdk.service.catalog import (
    AwsIamRoleRequest,
    ColumnInfo,
    ColumnTypeName,
    DataSourceFormat,
    PermissionsChange as CatalogChange,
    Privilege as CatalogPrivilege,
    TableType,
)
from databricks.sdk.service.sharing import (
    AuthenticationType,
    FederationPolicy,
    IpAccessList,
    OidcFederationPolicy,
    Partition,
    PartitionValue,
    PartitionValueOp,
    PermissionsChange,
    SecurablePropertiesKvPairs,
    SharedDataObject,
    SharedDataObjectDataObjectType,
    SharedDataObjectHistoryDataSharingStatus,
    SharedDataObjectStatus,
    SharedDataObjectUpdate,
    SharedDataObjectUpdateAction,
)
from databricks.sdk.service.sql import (
    ExecuteStatementRequestOnWaitTimeout,
    StatementParameterListItem,
    StatementState,
)

DAY_MILLIS = 86_400_000


def client(url, client_id, secret):
    config = Config(
        host=url, client_id=client_id, client_secret=secret, auth_type="oauth-m2m", retry_timeout_seconds=20
    )
    return WorkspaceClient(config=config)


def refused(kind, text, call):
    """Expects the error that the SDK makes of a refusal."""
    try:
        call()
    except DatabricksError as error:
        expected = kind if isinstance(kind, tuple) else (kind,)
        assert isinstance(error, expected), f"{type(error).__name__}: {error}"
        assert text in str(error), f"{error} does not say {text!r}"
        request = error.get_error_details().request_info
        assert request and request.request_id, "the error names no request"
        return
    raise AssertionError(f"not refused: {text}")


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def whole(call, field):
    """Every item of a list that the SDK hands out by the page, and how many pages it had."""
    items, pages, page_token = [], 0, None
    while True:
        page = call(max_results=0, page_token=page_token)
        items += getattr(page, field) or []
        pages += 1
        page_token = page.next_page_token
        if not page_token:
            return items, pages


ALREADY = (AlreadyExists, ResourceConflict, BadRequest)


class Provider:
    def __init__(self, arguments):
        self.url, client_id, secret, other_id, other_secret, bucket = arguments
        self.ours, self.theirs = client(self.url, client_id, secret), client(self.url, other_id, other_secret)
        self.me, self.other = client_id, other_id
        self.mark = uuid.uuid4().hex[:8]
        self.location = f"s3://{bucket}-{self.mark}"

    def storage(self):
        """Storage credential, external location, catalog, schema: as the operator makes them once."""
        self.catalog = f"catalog_{self.mark}"
        credential = self.ours.storage_credentials.create(
            f"credential_{self.mark}",
            aws_iam_role=AwsIamRoleRequest(role_arn="arn:aws:iam::111122223333:role/tables"),
            read_only=True,
            skip_validation=True,
        )
        assert credential.aws_iam_role.external_id and credential.aws_iam_role.unity_catalog_iam_arn
        self.ours.external_locations.create(
            f"location_{self.mark}", self.location, credential.name, read_only=True, skip_validation=True
        )
        self.ours.catalogs.create(self.catalog, storage_root=f"{self.location}/managed")
        schema = self.ours.schemas.create("acme", self.catalog)
        equal(schema.full_name, f"{self.catalog}.acme")
        refused(ALREADY, "already exists", lambda: self.ours.schemas.create("ACME", self.catalog))
        refused(NotFound, "does not exist", lambda: self.ours.schemas.get(f"{self.catalog}.nobody"))
        refused(PermissionDenied, "CREATE SCHEMA", lambda: self.theirs.schemas.create("x", self.catalog))

    def table(self, name, path=None, partitioned_by=None):
        fields = [("id", "long", "bigint", ColumnTypeName.LONG), ("title", "string", "string", ColumnTypeName.STRING)]
        columns = [
            ColumnInfo(
                name=name,
                type_text=text,
                type_name=type_name,
                type_json=json.dumps({"name": name, "type": delta, "nullable": True, "metadata": {}}),
                position=position,
                nullable=True,
                partition_index=0 if name == partitioned_by else None,
            )
            for position, (name, delta, text, type_name) in enumerate(fields)
        ]
        return self.ours.tables.create(
            name,
            self.catalog,
            "acme",
            TableType.EXTERNAL,
            DataSourceFormat.DELTA,
            f"{self.location}/{path or f'acme/{name}'}",
            columns=columns,
        )

    def tables(self):
        refused(PermissionDenied, "EXTERNAL USE SCHEMA", lambda: self.table("WF_A__V1"))
        self.allow("CATALOG", self.catalog, [CatalogPrivilege.EXTERNAL_USE_SCHEMA])
        refused(PermissionDenied, "EXTERNAL USE LOCATION", lambda: self.table("WF_A__V1"))
        self.allow("EXTERNAL_LOCATION", f"location_{self.mark}", [CatalogPrivilege.EXTERNAL_USE_LOCATION])
        first = self.table("WF_A__V1")
        equal((first.name, first.owner, first.storage_location), ("wf_a__v1", self.me, f"{self.location}/acme/WF_A__V1"))
        refused(ALREADY, "already exists", lambda: self.table("WF_A__V1"))
        for path in ["acme/WF_A__V1", "acme", "acme/WF_A__V1/inside", "managed/t"]:
            refused(BadRequest, "LOCATION_OVERLAP", lambda path=path: self.table("WF_OVER", path))
        self.names = [f"{self.catalog}.acme.wf_a__v1"]
        for number in range(2, 9):
            self.names.append(self.table(f"WF_A__V{number}").full_name)
        listed = list(self.ours.tables.list(self.catalog, "acme", max_results=0))
        equal(sorted(table.full_name for table in listed), self.names)
        equal([column.type_text for column in self.ours.tables.get(self.names[0]).columns], ["bigint", "string"])
        equal(self.ours.tables.exists(self.names[0]).table_exists, True)
        equal(self.ours.tables.exists(f"{self.catalog}.acme.nobody").table_exists, False)

    def allow(self, kind, name, privileges):
        answer = self.ours.grants.update(
            kind, name, changes=[CatalogChange(principal=self.me, add=privileges)]
        )
        held = [assignment for assignment in answer.privilege_assignments if assignment.principal == self.me]
        assert set(privileges) <= set(held[0].privileges), f"{held} lacks {privileges}"

    def statements(self):
        """The same by the SQL warehouse."""
        path = f"{self.location}/acme/by_statement"
        name = f"{self.catalog}.acme.by_statement"
        for text in [
            f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION '{path}'",
            f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION '{path}'",
            f"MSCK REPAIR TABLE {name} SYNC METADATA",
        ]:
            equal(self.statement(text).state, StatementState.SUCCEEDED)
        equal(self.ours.tables.get(name).storage_location, path)
        failed = self.statement("SELEC 1")
        equal(failed.state, StatementState.FAILED)
        assert "PARSE_SYNTAX_ERROR" in failed.error.message, failed.error
        refused(BadRequest, "wait_timeout", lambda: self.execute("SELECT 1", wait_timeout="3s"))
        parameter = StatementParameterListItem(name="id", value="1", type="INT")
        equal(self.execute(f"MSCK REPAIR TABLE {name} SYNC METADATA", parameters=[parameter]).status.error, None)
        twice = lambda: self.execute("SELECT :id", parameters=[parameter, parameter])
        refused(BadRequest, "each its own", twice)

    def execute(self, text, wait_timeout="30s", parameters=None):
        continue_ = ExecuteStatementRequestOnWaitTimeout.CONTINUE
        return self.ours.statement_execution.execute_statement(
            text, "warehouse-1", wait_timeout=wait_timeout, on_wait_timeout=continue_, parameters=parameters
        )

    def statement(self, text):
        answer = self.execute(text)
        while answer.status.state in (StatementState.PENDING, StatementState.RUNNING):
            answer = self.ours.statement_execution.get_statement(answer.statement_id)
        return answer.status

    def recipients(self):
        identifier = f"aws:us-west-2:{uuid.uuid4()}"
        self.databricks = f"Databricks-{self.mark}"
        create = lambda name: self.ours.recipients.create(
            name,
            AuthenticationType.DATABRICKS,
            data_recipient_global_metastore_id=identifier,
            comment="a test",
            properties_kvpairs=SecurablePropertiesKvPairs(properties={"mark": self.mark}),
        )
        made = create(self.databricks)
        equal((made.cloud, made.region, made.tokens), ("aws", "us-west-2", []))
        refused(ALREADY, "already exists", lambda: create(self.databricks.upper()))
        refused(ALREADY, "same sharing identifier", lambda: create(f"second-{self.mark}"))
        found = list(self.ours.recipients.list(data_recipient_global_metastore_id=identifier))
        equal([recipient.name for recipient in found], [self.databricks])
        equal(list(self.theirs.recipients.list(data_recipient_global_metastore_id=identifier)), [])
        refused(NotFound, "does not exist", lambda: self.theirs.recipients.get(self.databricks))
        refused(NotFound, "does not exist", lambda: self.theirs.recipients.share_permissions(self.databricks))
        self.ours.recipients.update(
            self.databricks, properties_kvpairs=SecurablePropertiesKvPairs(properties={"other": "x"})
        )
        equal(self.ours.recipients.get(self.databricks).properties_kvpairs.properties, {"other": "x"})
        refused(BadRequest, "no fields to update", lambda: self.ours.recipients.update(self.databricks))
        refused(PermissionDenied, "not an owner", lambda: self.theirs.recipients.delete(self.databricks))
        refused(
            BadRequest,
            "reserved",
            lambda: self.ours.recipients.update(
                self.databricks, properties_kvpairs=SecurablePropertiesKvPairs(properties={"databricks.x": "y"})
            ),
        )

    def tokens(self):
        self.token = f"token-{self.mark}"
        expires = int(time.time() * 1000) + 30 * DAY_MILLIS
        allowed = IpAccessList(allowed_ip_addresses=["198.51.100.0/24", "2001:db8::/32"])
        made = self.ours.recipients.create(
            self.token, AuthenticationType.TOKEN, expiration_time=expires, ip_access_list=allowed
        )
        equal((made.activated, len(made.tokens), made.tokens[0].expiration_time), (False, 1, expires))
        too_long = expires + 366 * DAY_MILLIS
        wrong = lambda **more: self.ours.recipients.create(f"no-{self.mark}", AuthenticationType.TOKEN, **more)
        refused(BadRequest, "within one year", lambda: wrong(expiration_time=too_long))
        refused(BadRequest, "CIDR", lambda: wrong(ip_access_list=IpAccessList(allowed_ip_addresses=["x"])))
        code = made.tokens[0].activation_url.split("?")[1]
        credential = self.ours.recipient_activation.retrieve_token(code)
        equal(credential.share_credentials_version, 1)
        assert credential.bearer_token and credential.endpoint
        refused(NotFound, "used before", lambda: self.ours.recipient_activation.retrieve_token(code))
        equal(self.ours.recipients.get(self.token).activated, True)
        rotated = self.ours.recipients.rotate_token(self.token, 3_600)
        equal(len(rotated.tokens), 2)
        assert rotated.tokens[0].expiration_time < expires, "rotation shortens the life of the token before"
        refused(BadRequest, "two active tokens", lambda: self.ours.recipients.rotate_token(self.token, 60))
        equal(len(self.ours.recipients.rotate_token(self.token, 0).tokens), 1)
        refused(BadRequest, "negative", lambda: self.ours.recipients.rotate_token(self.token, -1))

    def federation(self):
        name, policies = f"oidc-{self.mark}", self.ours.recipient_federation_policies
        self.ours.recipients.create(name, AuthenticationType.OIDC_FEDERATION)
        oidc = lambda claim: OidcFederationPolicy("https://issuer.test/v2.0", claim, "reader", audiences=["us"])
        policy = lambda of="a-team", claim="sub": FederationPolicy(name=of, oidc_policy=oidc(claim))
        made = policies.create(name, policy())
        equal((made.name, made.oidc_policy.as_dict()), ("a-team", oidc("sub").as_dict()))
        refused(ALREADY, "already exists", lambda: policies.create(name, policy()))
        refused(BadRequest, "lowercase", lambda: policies.create(name, policy("A Team")))
        refused(BadRequest, "subject_claim", lambda: policies.create(name, policy("other", "email")))
        refused(BadRequest, "OIDC_FEDERATION only", lambda: policies.create(self.token, policy()))
        refused(PermissionDenied, "not an owner", lambda: self.theirs.recipient_federation_policies.create(name, policy()))
        policies.create(name, policy("b-team"))
        equal(sorted(policy.name for policy in policies.list(name, max_results=0)), ["a-team", "b-team"])
        equal(policies.get_federation_policy(name, "a-team").id, made.id)
        policies.delete(name, "a-team")
        refused(NotFound, "does not exist", lambda: policies.get_federation_policy(name, "a-team"))
        self.ours.recipients.delete(name)

    def share(self):
        add, remove = SharedDataObjectUpdateAction.ADD, SharedDataObjectUpdateAction.REMOVE
        self.share_name = f"share_{self.mark}"

        def updates(action, names, **more):
            kind = SharedDataObjectDataObjectType.TABLE
            objects = [SharedDataObject(name=name, data_object_type=kind, **more) for name in names]
            return [SharedDataObjectUpdate(action=action, data_object=data_object) for data_object in objects]

        def update(*changes):
            return self.ours.shares.update(self.share_name, updates=[update for some in changes for update in some])

        self.ours.shares.create(self.share_name, comment="a test")
        refused(ALREADY, "already exists", lambda: self.ours.shares.create(self.share_name))
        refused(BadRequest, "no fields to update", lambda: self.ours.shares.update(self.share_name))
        first, second, *others = self.names
        refused(BadRequest, "duplicate updates", lambda: update(updates(add, [first, first.upper()])))
        many = [f"{self.catalog}.acme.t{number}" for number in range(101)]
        refused(BadRequest, "100", lambda: update(updates(add, many)))
        refused(NotFound, "does not exist", lambda: update(updates(add, [many[0]])))
        refused(BadRequest, "shared_as", lambda: update(updates(add, [first], shared_as="")))
        refused(BadRequest, "shared_as", lambda: update(updates(add, [first], shared_as="a.b.c")))
        history = SharedDataObjectHistoryDataSharingStatus.ENABLED
        update(updates(add, [first], shared_as="data.WF_A__V1", history_data_sharing_status=history))
        refused(ALREADY, "already exists", lambda: update(updates(add, [first], shared_as="data.other")))
        refused(ALREADY, "already exists", lambda: update(updates(add, [second], shared_as="data.wf_a__v1")))
        equal(self.ours.shares.get(self.share_name).objects, [])
        update(updates(add, [second]), updates(add, others))
        refused(NotFound, "does not exist", lambda: update(updates(remove, [many[0]])))
        update(updates(remove, others))
        objects = self.ours.shares.get(self.share_name, include_shared_data=True).objects
        equal([shared.shared_as for shared in objects], ["data.WF_A__V1", "acme.wf_a__v2"])
        equal({shared.status for shared in objects}, {SharedDataObjectStatus.ACTIVE})
        quota = lambda client, name: client.resource_quotas.get_quota("SHARE", self.share_name, name)
        counted = quota(self.ours, "table-quota").quota_info
        equal((counted.quota_name, counted.quota_count, counted.quota_limit), ("table-quota", 2, 1_000))
        refused(NotFound, "does not exist", lambda: quota(self.ours, "volume-quota"))
        refused(NotFound, "does not exist", lambda: quota(self.theirs, "table-quota"))
        equal([share.name for share in self.theirs.shares.list_shares()], [])
        refused(NotFound, "does not exist", lambda: self.theirs.shares.get(self.share_name))
        refused(NotFound, "does not exist", lambda: self.theirs.shares.share_permissions(self.share_name))
        self.parts_of_tables(updates, update)
        self.ours.api_client.do(
            "PATCH", f"/api/2.1/unity-catalog/tables/{second}", body={"owner": "somebody"}
        )
        objects = self.ours.shares.get(self.share_name, include_shared_data=True).objects
        equal([shared.status.value for shared in objects], ["ACTIVE", "PERMISSION_DENIED"])

    def parts_of_tables(self, updates, update):
        """Partitions and versions of a table, when it joins and later."""
        action = SharedDataObjectUpdateAction
        name = self.table("WF_PARTS", partitioned_by="title").full_name
        equal_to = lambda column, **more: Partition([PartitionValue(name=column, op=PartitionValueOp.EQUAL, **more)])
        wrong = lambda *parts: update(updates(action.ADD, [name], partitions=list(parts)))
        refused(BadRequest, "not a partition column", lambda: wrong(equal_to("id", value="1")))
        both = equal_to("title", value="x", recipient_property_key="title")
        refused(BadRequest, "exclude each other", lambda: wrong(both))
        part = equal_to("title", recipient_property_key="title")
        shared = lambda: self.ours.shares.get(self.share_name, include_shared_data=True).objects[-1]
        update(updates(action.ADD, [name], partitions=[part]))
        equal([partition.as_dict() for partition in shared().partitions], [part.as_dict()])
        status = SharedDataObjectHistoryDataSharingStatus
        equal(shared().history_data_sharing_status, status.DISABLED)
        change = lambda **more: update(updates(action.UPDATE, [name], **more))
        change(history_data_sharing_status=status.ENABLED, start_version=3)
        equal((shared().history_data_sharing_status, shared().start_version), (status.ENABLED, 3))
        equal([partition.as_dict() for partition in shared().partitions], [part.as_dict()])
        both = lambda: change(history_data_sharing_status=status.ENABLED, cdf_enabled=True)
        refused(BadRequest, "exclude each other", both)
        change(history_data_sharing_status=status.DISABLED)
        equal(shared().history_data_sharing_status, status.DISABLED)
        update(updates(action.REMOVE, [name]))
        self.ours.tables.delete(name)

    def readable(self, recipient):
        """The shares that a recipient may read."""
        found, self.pages = whole(
            lambda **page: self.ours.recipients.share_permissions(recipient, **page), "permissions_out"
        )
        return [permission.share_name for permission in found]

    def grants(self):
        select = lambda who, **change: self.ours.shares.update_permissions(
            self.share_name, changes=[PermissionsChange(principal=who, **change)]
        )
        refused(NotFound, "does not exist", lambda: select("nobody", add=["SELECT"]))
        refused(BadRequest, "only SELECT", lambda: select(self.token, add=["MODIFY"]))
        for recipient in [self.databricks, self.token, self.token]:
            select(recipient, add=["SELECT"])
        granted = lambda **page: self.ours.shares.share_permissions(self.share_name, **page)
        held, _ = whole(granted, "privilege_assignments")
        equal(sorted(assignment.principal for assignment in held), [self.databricks.lower(), self.token])
        equal(self.readable(self.token), [self.share_name])
        select(self.token, remove=["SELECT"])
        equal(self.readable(self.token), [])
        foreign = f"foreign-{self.mark}"
        self.theirs.recipients.create(foreign, AuthenticationType.TOKEN)
        refused(PermissionDenied, "not an owner", lambda: select(foreign, add=["SELECT"]))

    def paging(self):
        """More than a page of everything, each item once."""
        shares = [f"paged_{self.mark}_{number}" for number in range(7)]
        for share in shares:
            self.ours.shares.create(share)
            changes = [PermissionsChange(principal=self.databricks, add=["SELECT"])]
            self.ours.shares.update_permissions(share, changes=changes)
        listed = [share.name for share in self.ours.shares.list_shares() if share.name.startswith(f"paged_{self.mark}")]
        equal(sorted(listed), shares)
        equal(sorted(self.readable(self.databricks)), sorted([*shares, self.share_name]))
        pages = self.pages
        assert pages > 2, "the workspace does not page"
        for share in shares:
            self.ours.shares.delete(share)
        names = [recipient.name for recipient in self.ours.recipients.list()]
        equal(len(names), len(set(names)))
        assert {self.databricks, self.token} <= set(names), names
        return pages

    def end(self):
        self.ours.shares.delete(self.share_name)
        refused(NotFound, "does not exist", lambda: self.ours.shares.get(self.share_name))
        equal(self.readable(self.databricks), [])
        self.ours.recipients.delete(self.databricks)
        self.ours.recipients.delete(self.token)
        for name in [self.names[0], *self.names[2:]]:
            self.ours.tables.delete(name)
        refused(NotFound, "does not exist", lambda: self.ours.tables.get(self.names[0]))


def main():
    provider = Provider(sys.argv[1:])
    provider.storage()
    provider.tables()
    provider.statements()
    provider.recipients()
    provider.tokens()
    provider.federation()
    provider.share()
    provider.grants()
    pages = provider.paging()
    provider.end()
    print(json.dumps({"tables": len(provider.names), "pages": pages}))


if __name__ == "__main__":
    main()
